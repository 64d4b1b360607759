"""The text log: MimicKit's keys and columns, one line a row, read and mended as a table."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

WIDTH = 25  # characters a column, as MimicKit's

LEADING = (
    "Iteration", "Wall_Time", "Samples", "Test_Return", "Test_Episode_Length", "Test_Episodes", "Train_Return",
    "Train_Episode_Length", "Train_Episodes",
)  # fmt: skip
TRAILING = ("Obs_Norm_Mean", "Obs_Norm_Std", "Exp_Prob", "Samples_Per_Second")
WHOLE = frozenset({"Iteration", "Samples", "Test_Episodes", "Train_Episodes"})

_COLLECTIONS = {
    "0_Main": ("Test_Return", "Test_Episode_Length", "Train_Return", "Train_Episode_Length"),
    "1_Info": ("Iteration", "Wall_Time", "Samples", "Test_Episodes", "Train_Episodes", "Samples_Per_Second"),
    "2_Env": (
        "Root_Pos_Err", "Root_Rot_Err", "Body_Pos_Err", "Body_Rot_Err", "Dof_Vel_Err", "Root_Vel_Err",
        "Root_Ang_Vel_Err", "Dtw_Pose_Err",
    ),
}  # fmt: skip
_COLLECTION_OF = {key: name for name, keys in _COLLECTIONS.items() for key in keys}


def collection_of(key: str) -> str:
    """Collection of a log key, the part before the slash of its TensorBoard tag."""
    return _COLLECTION_OF.get(key, "Misc")


def order_keys(keys: Iterable[str]) -> list[str]:
    """MimicKit's column order: the nine leading keys, the rest as it came, env diagnostics, the trailing keys."""
    keys = list(keys)
    env = [key for key in keys if collection_of(key) == "2_Env"]
    fixed = {*LEADING, *TRAILING, *env}
    rest = [key for key in keys if key not in fixed]
    return [k for k in LEADING if k in keys] + rest + env + [k for k in TRAILING if k in keys]


def format_value(key: str, value: float) -> str:
    """Python's decimal form; counters without a decimal point."""
    value = float(value)
    if key in WHOLE and math.isfinite(value) and value == int(value):
        return str(int(value))
    return repr(value)


def format_line(cells: Iterable[str]) -> str:
    """Left-aligned columns; a cell too long for its column still keeps a space after it."""
    return "".join(f"{cell:<{WIDTH}}" if len(cell) < WIDTH else cell + " " for cell in cells).rstrip() + "\n"


def format_row(keys: Iterable[str], row: Mapping[str, float]) -> str:
    """One line; a key the row lacks is ``nan``, so that every line has every column."""
    return format_line(format_value(key, row.get(key, math.nan)) for key in keys)


def parse(text: str) -> tuple[list[str], list[list[str]]]:
    """Header and rows of a log, leaving out lines that are cut short. Any kind of line end is accepted."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    complete = text[: text.rfind("\n") + 1]  # a line without its end was being written when the process died
    lines = [line.split() for line in complete.split("\n") if line.strip()]
    if not lines:
        return [], []
    header = lines[0]
    return header, [cells for cells in lines[1:] if len(cells) == len(header) and all(map(_is_number, cells))]


def read_log(path: Path) -> dict[str, np.ndarray]:
    """Columns of ``log.txt`` by name, float64 ``[rows]``; empty when there is no complete line yet."""
    header, rows = parse(Path(path).read_text(encoding="utf-8", errors="replace"))
    table = np.array([[float(cell) for cell in row] for row in rows], dtype=np.float64).reshape(len(rows), len(header))
    return {key: table[:, index] for index, key in enumerate(header)}


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


__all__ = ["WIDTH", "collection_of", "format_line", "format_row", "format_value", "order_keys", "parse", "read_log"]
