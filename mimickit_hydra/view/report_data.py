"""The data of a report as plain values: runs, the settings in which they differ, figures, and curves over seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from mimickit_hydra.config.compose import leaves
from mimickit_hydra.config.overrides import parse
from mimickit_hydra.errors import UserError
from mimickit_hydra.foreign import read_json, read_yaml
from mimickit_hydra.runs.find import Run, find_runs
from mimickit_hydra.runs.log_table import read_log

SEED = "rand_seed"
_NO_SETTING = ("out_dir", "resume", "model_file")  # say where, not what
SINGLE_RUNS = 40  # up to so many can be told apart in a picture
GROUPINGS = 8
MAX_POINTS = 200  # of a curve: more cannot be seen
RESAMPLES = 1000
CONFIDENCE = 0.95
VIDEOS = ("video.mp4", "video.gif", "video.webm")
# key in the log, title, unit
CURVES = (
    ("Test_Return", "Test return", "per episode"),
    ("Test_Episode_Length", "Test episode length", "steps"),
    ("Dtw_Pose_Err", "Pose error, time-warped", "m"),
    ("Train_Return", "Train return", "per episode"),
    ("Samples_Per_Second", "Speed", "samples/s"),
)
# name, heading, unit; the first five come from the log, the others from metrics.json
FIGURES = (
    ("samples", "samples", ""),
    ("final_return", "final return", ""),
    ("best_return", "best return", ""),
    ("episode_length", "episode", "steps"),
    ("samples_per_second", "samples/s", ""),
    ("success_rate", "success", ""),
    ("dtw_pose_err", "pose error", "m"),
    ("body_pos_err", "body error", "m"),
    ("joint_rot_err", "joint error", "rad"),
    ("failed_clips", "failed clips", ""),
    ("mpkpe", "MPKPE", "m"),
)
# key of a clip's row in metrics.json, heading, unit
CLIP_FIGURES = (
    ("progress", "played", ""),
    ("failure_time", "fails at", "s"),
    ("cause", "cause", ""),
    ("return", "return", ""),
    ("mean_reward", "reward a step", ""),
    ("mpkpe", "MPKPE", "m"),
    ("mpkpe_local", "MPKPE, aligned", "m"),
    ("seconds", "length", "s"),
    ("split", "split", ""),
)


@dataclass(frozen=True)
class RunData:
    run: Run
    settings: dict[str, Any]  # dotted key -> value, of the resolved config
    figures: dict[str, float]  # see FIGURES; missing where unknown
    log: dict[str, np.ndarray]
    video: Path | None
    clips: list[dict[str, Any]]  # of a test on a set, hardest first; see CLIP_FIGURES

    @property
    def name(self) -> str:
        return self.run.path.name


@dataclass(frozen=True)
class Curve:
    """Mean and band of one group of runs. All ``[P]``; the band is NaN where there is one run only."""

    group: str
    x: np.ndarray  # samples
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    runs: int


@dataclass(frozen=True)
class Grouping:
    """Runs that share a curve, and the curves."""

    title: str
    keys: list[str]  # settings that the runs of a group have in common
    groups: dict[str, list[RunData]]  # in order of their names
    curves: dict[str, list[Curve]]  # by the log's key


@dataclass(frozen=True)
class Report:
    path: Path
    runs: list[RunData]
    varied: list[str]  # keys of the settings in which the runs differ
    groupings: list[Grouping]  # ways to look at them; the first is what was asked for

    @property
    def group_by(self) -> list[str]:
        return self.groupings[0].keys

    @property
    def groups(self) -> dict[str, list[RunData]]:
        return self.groupings[0].groups

    @property
    def curves(self) -> dict[str, list[Curve]]:
        return self.groupings[0].curves


def collect(path: Path, *, group_by: Sequence[str] | None = None) -> Report:
    """Read every run at or below ``path``.

    Runs with the same values of ``group_by`` share a curve; by default that is every setting in which the runs differ
    except the seed. UserError where there is no run or ``group_by`` names no setting.
    """
    found = find_runs([path])
    if not found:
        raise UserError(f"{path}: no runs in there; a run directory holds config.yaml or state.json")
    runs = [_read(run) for run in found]
    varied = differing([data.settings for data in runs])
    return Report(Path(path), runs, varied, _groupings(runs, _group_keys(group_by, varied, runs), varied))


def _groupings(runs: Sequence[RunData], keys: list[str], varied: Sequence[str]) -> list[Grouping]:
    """By ``keys``, by each single setting in which the runs differ, and every run for itself; no partition twice."""
    wanted = [(", ".join(map(short, keys)) or "all runs", keys)]
    wanted += [(short(key), [key]) for key in varied if key != SEED]
    if len(runs) <= SINGLE_RUNS:
        wanted.append(("each run", [*(key for key in varied if key != SEED), SEED]))
    found: list[Grouping] = []
    for title, chosen in wanted:
        groups: dict[str, list[RunData]] = {}
        for data in runs:
            groups.setdefault(_label(data, chosen), []).append(data)
        partition = sorted([id(data) for data in members] for members in groups.values())
        if any(partition == sorted([id(data) for data in members] for members in one.groups.values()) for one in found):
            continue
        curves = {key: _curves(key, groups) for key, _, _ in CURVES}
        found.append(Grouping(title, chosen, groups, {key: lines for key, lines in curves.items() if _says(lines)}))
    return found[:GROUPINGS]


def _says(curves: Sequence[Curve]) -> bool:
    """Whether a curve has anything to show: not where nothing, or only zeros, was logged."""
    return any(np.any(curve.mean != 0.0) for curve in curves)


def _read(run: Run) -> RunData:
    log: dict[str, np.ndarray] = {}
    if (run.path / "log.txt").is_file():
        log = read_log(run.path / "log.txt")
    video = next((run.path / name for name in VIDEOS if (run.path / name).is_file()), None)
    metrics = _metrics(run)
    return RunData(run, _settings(run), _figures(metrics, log), log, video, _clips(metrics))


def _metrics(run: Run) -> Mapping[str, Any]:
    try:
        metrics = read_json(run.path / "metrics.json")
    except UserError:
        return {}
    return metrics if isinstance(metrics, Mapping) else {}


def _clips(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows of the clips, with numbers and short text only, whoever wrote the file."""
    found = []
    rows = metrics.get("clips")
    for row in rows if isinstance(rows, list) else []:
        if isinstance(row, Mapping) and isinstance(row.get("clip"), str):
            values = {name: row.get(name) for name, _, _ in CLIP_FIGURES}
            plain = {name: value if _is_number(value) else str(value or "")[:60] for name, value in values.items()}
            found.append({"clip": row["clip"][:200], **plain})
    return found


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and abs(value) < 1e300


def _settings(run: Run) -> dict[str, Any]:
    """The resolved config, flat; where it was not even frozen, the overrides of the manifest."""
    for name in ("config.yaml", "frozen.yaml"):
        try:
            content = read_yaml(run.path / name)
        except UserError:
            continue
        if isinstance(content, Mapping):
            return dict(leaves(content))
    return {word.key: word.word for word in map(parse, run.varied)}


def _figures(metrics: Mapping[str, Any], log: Mapping[str, np.ndarray]) -> dict[str, float]:
    figures: dict[str, float] = {}
    if "Samples" in log and len(log["Samples"]):
        figures["samples"] = float(log["Samples"][-1])
        returns = log.get("Test_Return", np.array([]))
        if np.isfinite(returns).any() and np.nanmax(np.abs(returns)) > 0:  # a task without a reward of its own has 0
            figures["final_return"] = float(returns[np.isfinite(returns)][-1])
            figures["best_return"] = float(np.nanmax(returns))
        lengths = log.get("Test_Episode_Length", np.array([]))
        if np.isfinite(lengths).any():
            figures["episode_length"] = float(lengths[np.isfinite(lengths)][-1])
        speed = log.get("Samples_Per_Second", np.array([]))
        if np.isfinite(speed).any():
            figures["samples_per_second"] = float(np.nanmedian(speed))
    for name in ("success_rate", "dtw_pose_err", "body_pos_err", "joint_rot_err", "failed_clips", "mpkpe"):
        if _is_number(value := metrics.get(name)):
            figures[name] = float(value)
    return figures


def differing(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """Keys whose values are not the same everywhere, without those that follow from another of them.

    A key that splits the runs exactly as an earlier, shorter key does says nothing new (``motion.name`` and
    ``env.motion_file``); the name of a choice is preferred to what the choice sets.
    """
    keys = list(dict.fromkeys(key for one in settings for key in one))
    splits: dict[tuple[int, ...], str] = {}
    for key in sorted((key for key in keys if key not in _NO_SETTING), key=_rank):
        values = [repr(one.get(key)) for one in settings]
        if len(set(values)) < 2:
            continue
        number = {value: index for index, value in reversed(list(enumerate(values)))}
        splits.setdefault(tuple(number[value] for value in values), key)
    chosen = set(splits.values())
    return sorted((key for key in keys if key in chosen), key=lambda key: key == SEED)  # the seed last


def _rank(key: str) -> tuple[bool, bool, int, str]:
    return (key != "method.name", not key.endswith(("name", SEED)), key.count("."), key)


def _group_keys(group_by: Sequence[str] | None, varied: Sequence[str], runs: Sequence[RunData]) -> list[str]:
    if group_by is None:
        return [key for key in varied if key != SEED]
    known = list(dict.fromkeys(key for data in runs for key in data.settings))
    keys = []
    for name in group_by:
        key = name if name in known else f"{name}.name" if f"{name}.name" in known else f"{name}.{name}_name"
        if key not in known:
            from mimickit_hydra.errors import suggestion

            raise UserError(f"--group-by {name}: no such setting{suggestion(name, known)}")
        keys.append(key)
    return keys


def _label(data: RunData, keys: Sequence[str]) -> str:
    return ", ".join(f"{short(key)}={shown(data.settings.get(key))}" for key in keys) or "all runs"


def short(key: str) -> str:
    """A key as a heading, without the parts that say nothing (``motion.name`` becomes ``motion``)."""
    parts = key.split(".")
    if len(parts) == 2 and parts[1] in ("name", f"{parts[0]}_name"):
        return parts[0]
    return ".".join(parts[-2:]) if len(parts) > 2 else parts[-1]


def shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(shown, value)) + "]"
    return "null" if value is None else str(value)


def _curves(key: str, groups: Mapping[str, Sequence[RunData]]) -> list[Curve]:
    found = []
    for group, members in groups.items():
        lines = [line for data in members if (line := _line(data.log, key)) is not None]
        if lines:
            found.append(band(group, lines))
    return found


def _line(log: Mapping[str, np.ndarray], key: str) -> tuple[np.ndarray, np.ndarray] | None:
    if key not in log or "Samples" not in log:
        return None
    good = np.isfinite(log[key]) & np.isfinite(log["Samples"])
    if not good.any():
        return None
    samples, index = np.unique(log["Samples"][good], return_index=True)
    return samples, log[key][good][index]


def band(group: str, lines: Sequence[tuple[np.ndarray, np.ndarray]]) -> Curve:
    """Mean over runs and its bootstrap confidence interval (percentile), on a common grid of samples.

    The grid ends with the shortest of the longest: a point needs at least half of the runs, so that one run that goes
    on alone is not taken for the group.
    """
    ends = sorted((float(x[-1]) for x, _ in lines), reverse=True)
    start, end = min(float(x[0]) for x, _ in lines), ends[(len(ends) - 1) // 2]
    longest = max(lines, key=lambda line: len(line[0]))[0]
    grid = longest[(longest >= start) & (longest <= end)]
    if len(grid) > MAX_POINTS or len(grid) < 2:
        grid = np.linspace(start, end, MAX_POINTS if end > start else 1)
    values = np.stack([np.interp(grid, x, y, left=np.nan, right=np.nan) for x, y in lines])
    keep = np.isfinite(values).sum(0) >= max(1, (len(lines) + 1) // 2)
    grid, values = grid[keep], values[:, keep]
    mean = np.nanmean(values, axis=0)
    low, high = _interval(values)
    return Curve(group, grid, mean, low, high, len(lines))


def _interval(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bounds ``[P]`` of the mean of ``values [R, P]``; NaN where fewer than two runs have a value."""
    count = np.isfinite(values).sum(0)
    low = np.full(values.shape[1], math.nan)
    high = low.copy()
    for size in np.unique(count[count >= 2]):  # runs of different length: a call for each number of runs
        columns = np.flatnonzero(count == size)
        packed = np.take_along_axis(values[:, columns], np.argsort(np.isnan(values[:, columns]), axis=0)[:size], axis=0)
        low[columns], high[columns] = _bootstrap(packed)
    return low, high


def _bootstrap(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    from scipy.stats import bootstrap

    result = bootstrap(
        (values,), np.mean, axis=0, confidence_level=CONFIDENCE, n_resamples=RESAMPLES, method="percentile",
        vectorized=True, batch=100, rng=np.random.default_rng(0),
    )  # fmt: skip
    return result.confidence_interval.low, result.confidence_interval.high
