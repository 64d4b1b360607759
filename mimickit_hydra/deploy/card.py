"""The model card of an exported policy."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any, NamedTuple

from mimickit_hydra.config.resolved import CONFIG_FILE
from mimickit_hydra.config.schema import RunConfig
from mimickit_hydra.errors import UserError
from mimickit_hydra.foreign import read_json, read_text, sha256_of
from mimickit_hydra.motion.dataset import run_clips
from mimickit_hydra.motion.importers import import_clip
from mimickit_hydra.runs.files import files_of

_SHOWN = 50  # clips


class Compared(NamedTuple):
    """A file beside torch: differences of joint targets (rad), and seconds of an inference on one core."""

    worst: float
    mean: float
    seconds: float


def model_card(run: RunConfig, checkpoint: Path, facts: dict[str, Any], compared: Compared) -> str:
    """What a policy is, of what it was made, and how it was seen to do, in Markdown."""
    folder = checkpoint.parent if (checkpoint.parent / CONFIG_FILE).is_file() else checkpoint.parent.parent
    clip = facts["clip"]
    about = [
        ("method", facts["method"]), ("env", facts["env"]), ("character", facts["character"]),
        ("clip", f"{clip['name']}, {clip['seconds']:.2f} s" if clip else "none"), ("weights", checkpoint.name),
        ("form", f"{facts['form']}, {facts['precision']}"),
        ("rates", f"{facts['control_freq']} Hz control, {facts['sim_freq']} Hz physics"),
        ("beside torch", f"targets differ by {compared.worst:.2g} rad at most, {compared.mean:.2g} on average"),
        ("made by", facts["made_by"]),
    ]  # fmt: skip
    inputs = [(name, str(one["size"]), one["is"]) for name, one in facts["inputs"].items()]
    terms = [(one["name"], str(one["size"]), str(one["history"])) for one in facts["observations"]]
    files = [
        (file.path, sha256_of(file.found))
        for file in files_of(run)
        if file.found is not None and file.key != "model_file"
    ]
    files.append((checkpoint.name, sha256_of(checkpoint)))
    return "\n".join(
        [
            f"# {facts['method']} on {facts['character']}", "", *_table(("", ""), about),
            "", "## Inputs", "", *_table(("name", "numbers", "meaning"), inputs),
            "", "## Observation", "", *_table(("term", "numbers", "readings"), terms),
            "", "## Test", "", *_metrics(folder),
            "", "## Clips", "", *_licences(run),
            "", "## Files", "", *_table(("file", "sha256"), files),
            "", "## Config", "", "```yaml", _config(folder), "```", "",
        ]
    )  # fmt: skip


def _table(head: tuple[str, ...], rows: list[Any]) -> list[str]:
    lines = [head, tuple("---" for _ in head), *rows]
    return [f"| {' | '.join(str(cell).replace('|', '/') for cell in line)} |" for line in lines]


def _metrics(folder: Path) -> list[str]:
    found: Any = None
    with contextlib.suppress(UserError):
        found = read_json(folder / "metrics.json")
    if not isinstance(found, dict):
        return ["The run has no metrics.json: it was not tested."]
    rows = [(name, f"{value:.4g}") for name, value in found.items() if isinstance(value, int | float)]
    return _table(("metric", "value"), rows)


def _licences(run: RunConfig) -> list[str]:
    if not hasattr(run.env, "motion_file"):
        return ["none"]
    rows = []
    clips = run_clips(run)
    for entry in clips[:_SHOWN]:
        meta = import_clip(entry.file).meta if entry.file.suffix == ".npz" else {}
        rows.append((entry.file.name, meta.get("source", "not stated"), meta.get("licence", "not stated")))
    more = [f"and {len(clips) - _SHOWN} more"] if len(clips) > _SHOWN else []
    return [*_table(("clip", "source", "licence"), rows), *more]


def _config(folder: Path) -> str:
    try:
        return read_text(folder / CONFIG_FILE).strip()
    except UserError:
        return "# the run directory has no config.yaml"
