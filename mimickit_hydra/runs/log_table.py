"""The text log ``log.txt`` as a table with MimicKit's keys and columns: formatting, reading, repairing."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from mimickit_hydra.foreign import read_bytes

MAX_LOG = 2**30  # bytes of a log; a row has some 600
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
    """The collection of a log key: the part before the slash of its TensorBoard tag."""
    return _COLLECTION_OF.get(key, "Misc")


def order_keys(keys: Iterable[str]) -> list[str]:
    """MimicKit's column order: the nine leading keys, the rest as it came, env diagnostics, the trailing keys."""
    keys = list(keys)
    env = [key for key in keys if collection_of(key) == "2_Env"]
    fixed = {*LEADING, *TRAILING, *env}
    rest = [key for key in keys if key not in fixed]
    return [k for k in LEADING if k in keys] + rest + env + [k for k in TRAILING if k in keys]


def format_value(key: str, value: float) -> str:
    """A number in Python's decimal form; counters have no decimal point."""
    value = float(value)
    if key in WHOLE and math.isfinite(value) and value == int(value):
        return str(int(value))
    return repr(value)


def format_line(cells: Iterable[str]) -> str:
    """A line of left-aligned columns; a cell too long for its column is still followed by a space."""
    return "".join(f"{cell:<{WIDTH}}" if len(cell) < WIDTH else cell + " " for cell in cells).rstrip() + "\n"


def parse(text: str) -> tuple[list[str], list[list[str]]]:
    """Header and rows of a log, leaving out lines that are cut short. Any kind of line end is accepted."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    complete = text[: text.rfind("\n") + 1]  # a line without its end was being written when the process died
    lines = [line.split() for line in complete.split("\n") if line.strip()]
    if not lines:
        return [], []
    header = lines[0]
    return header, [cells for cells in lines[1:] if len(cells) == len(header) and all(map(_is_number, cells))]


def read_rows(path: Path) -> tuple[list[str], list[list[str]]]:
    """:func:`parse` for a file. UserError where there is none."""
    return parse(read_bytes(Path(path), at_most=MAX_LOG).decode("utf-8", "replace"))


def read_log(path: Path) -> dict[str, np.ndarray]:
    """Columns of ``log.txt`` by name, float64 ``[rows]``; empty when there is no complete line yet."""
    header, rows = read_rows(path)
    table = np.array([[float(cell) for cell in row] for row in rows], dtype=np.float64).reshape(len(rows), len(header))
    return {key: table[:, index] for index, key in enumerate(header)}


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
