"""``mimickit doctor --smoke``: the run as a test of two short episodes in one environment."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from mimickit_hydra.doctor.health import FAIL, OK, Finding
from mimickit_hydra.doctor.trial import run_program

PRESET = "smoke"
_OWN = ("debug", "resume", "out_dir", "launch", "video")  # of the given overrides: not the test's business


def smoke_test(train: Sequence[str], overrides: Sequence[str], timeout: float) -> Finding:
    """Run the command ``train`` in a process of its own. A value that the preset sets wins over a given one."""
    from mimickit_hydra.config.overrides import parse
    from mimickit_hydra.runs.rebase import under_preset

    kept = [text for text in under_preset(overrides, PRESET) if parse(text).key not in _OWN]
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mimickit_smoke_") as folder:
        out = Path(folder) / "run"
        command = [*train, *kept]
        error = run_program([*command, f"debug={PRESET}", "launch=local", "logger=txt", f"out_dir={out}"], timeout)
        if error is not None:
            again = " ".join(["python train.py", *kept, f"debug={PRESET}"])
            return Finding("debug=smoke", FAIL, error, again)
        metrics = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    seconds = time.monotonic() - began
    steps = metrics["episodes"] * metrics["episode_length"]
    text = f"{metrics['episodes']:.0f} episodes, {steps:.0f} steps, return {metrics['return']:.3g}, in {seconds:.0f} s"
    return Finding("debug=smoke", OK, text, details=metrics)
