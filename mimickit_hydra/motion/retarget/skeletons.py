"""Which joint of a skeleton, or body of a robot, is the left knee: registered YAML files, else names and topology."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mimickit_hydra.errors import UserError, must_be_one_of
from mimickit_hydra.foreign import read_yaml
from mimickit_hydra.motion.symmetry import other_side
from mimickit_hydra.plugins import SKELETONS

SIDES = ("left", "right")
LIMBS = ("hip", "knee", "ankle", "toe", "shoulder", "elbow", "wrist")
ROLES = ("pelvis", "chest", "head", *(f"{side}_{part}" for side in SIDES for part in LIMBS))
LEGS = tuple(f"{side}_{part}" for side in SIDES for part in ("hip", "knee", "ankle"))
_NAMES = {
    "hip": re.compile(r"up_?leg|thigh|hip(?!s)|femur|upper_?leg"),
    "knee": re.compile(r"knee|shin|calf|shank|tibia|low(er)?_?leg|(?<!up)leg$|(?<!up)leg_link$"),
    "ankle": re.compile(r"ankle|foot|(?:^|_)ank(?:_|$)"),
    "toe": re.compile(r"toe"),
    "shoulder": re.compile(r"upper_?arm|up_?arm|shoulder|humerus|(?<!fore)(?<!lower)(?<!lower_)arm$"),
    "elbow": re.compile(r"fore_?arm|elbow|lower_?arm|radius"),
    "wrist": re.compile(r"wrist|hand"),
}


@dataclass(frozen=True)
class Skeleton:
    """The points of a body that have a part in retargeting.

    ``points`` give for a role (:data:`ROLES`) a joint or body and an offset ``[3]`` m in its frame. ``up`` is the
    direction, in the pelvis' frame, that points up where a person stands; None if that has to be found out.
    ``max_speed`` rad/s bounds a robot's joints.
    """

    name: str
    points: Mapping[str, tuple[str, tuple[float, float, float]]]
    up: tuple[float, float, float] | None = None
    max_speed: float = 20.0
    assumed: list[str] = field(default_factory=list)

    def fits(self, names: Sequence[str]) -> bool:
        return all(name in names for name, _ in self.points.values())


def skeleton_for(names: Sequence[str], parents: Sequence[int], what: str, wanted: str = "") -> Skeleton:
    """The skeleton called ``wanted`` (a registered name, or a YAML), else a registered one that fits, else by names.

    ``what`` names the body with joints ``names`` for the UserError.
    """
    if wanted:
        path = Path(wanted) if wanted.endswith((".yaml", ".yml")) else None
        if path is None and wanted not in SKELETONS:
            raise must_be_one_of("skeleton", wanted, list(SKELETONS))
        found = read_skeleton(path or Path(SKELETONS[wanted].place))
        if not found.fits(names):
            missing = sorted({name for name, _ in found.points.values()} - set(names))
            raise UserError(f"{what}: has no {', '.join(missing[:4])} of the skeleton {wanted}; found: {_few(names)}")
        return found
    known = [read_skeleton(Path(entry.place)) for entry in SKELETONS.entries()]
    fitting = [skeleton for skeleton in known if skeleton.fits(names)]
    return max(fitting, key=lambda skeleton: len(skeleton.points)) if fitting else derive(names, parents, what)


def read_skeleton(path: Path) -> Skeleton:
    """Read the YAML of a skeleton. Raises UserError with one line."""
    values = read_yaml(path)
    if not isinstance(values, dict) or not isinstance(values.get("points"), dict):
        raise UserError(f"{path}: a skeleton has points, such as left_knee: LeftLeg")
    for key in values:
        if key not in ("points", "up", "max_speed"):
            raise must_be_one_of(f"{path}: key", str(key), ["points", "up", "max_speed"])
    points = {}
    for role, value in values["points"].items():
        if role not in ROLES:
            raise must_be_one_of(f"{path}: point", str(role), list(ROLES))
        name, *offset = value if isinstance(value, list) else [value]
        points[role] = (str(name), _three(offset or [0, 0, 0], f"{path}: {role}"))
    if lacking := sorted({"pelvis", *LEGS} - set(points)):
        raise UserError(f"{path}: points lack {', '.join(lacking)}")
    up = _three(values["up"], f"{path}: up") if "up" in values else None
    speed = values.get("max_speed", 20.0)
    if isinstance(speed, bool) or not isinstance(speed, int | float) or not 0 < speed < 1e6:
        raise UserError(f"{path}: max_speed: found {speed!r}, must be a number above 0 (rad/s)")
    return Skeleton(path.stem, points, up, float(speed))


def derive(names: Sequence[str], parents: Sequence[int], what: str) -> Skeleton:
    """The points of an unknown body, by the names of its left and right parts and where its limbs meet.

    UserError naming what is not found.
    """
    points: dict[str, int] = {}
    for body, name in enumerate(names):
        other = other_side(name)
        if other not in names:
            continue
        plain = re.sub(r"left|^l_|_l$|^l(?=[A-Z])", "", name, flags=re.IGNORECASE).strip("_").lower()
        for part, pattern in _NAMES.items():
            if pattern.search(plain):
                first = part in ("hip", "shoulder")  # of several links of a hip the first, of an ankle the last
                before = points.get(f"left_{part}")
                if before is not None and before not in _above(body, parents):
                    raise UserError(f"{what}: {names[before]} and {name} are both a left {part}; it must have two legs")
                if not (first and before is not None):
                    points[f"left_{part}"], points[f"right_{part}"] = body, list(names).index(other)
                break
    points["pelvis"] = _meeting(points.get("left_hip"), points.get("right_hip"), parents)
    if "left_shoulder" in points:
        points["chest"] = _meeting(points["left_shoulder"], points["right_shoulder"], parents)
    heads = [body for body, name in enumerate(names) if "head" in name.lower() and "end" not in name.lower()]
    if heads:
        points["head"] = heads[0]
    if lacking := [role for role in LEGS if role not in points]:
        raise UserError(
            f"{what}: found no {', '.join(lacking)} among {_few(names)}; name its points in a YAML and give that as "
            "--skeleton or --to-skeleton (docs/retargeting.md)"
        )
    for side in SIDES:
        hip, knee, ankle = (points[f"{side}_{part}"] for part in ("hip", "knee", "ankle"))
        if hip not in _above(knee, parents) or knee not in _above(ankle, parents):
            found = ", ".join(names[body] for body in (hip, knee, ankle))
            raise UserError(f"{what}: {found} are no leg, one on the other; name its points in a YAML (--to-skeleton)")
    told = [f"{role}: {names[body]}, by its name or place" for role, body in points.items()]
    return Skeleton("", {role: (names[body], (0.0, 0.0, 0.0)) for role, body in points.items()}, assumed=told)


def _meeting(left: int | None, right: int | None, parents: Sequence[int]) -> int:
    """The last body that both are on."""
    if left is None or right is None:
        return 0
    above = {left, *_above(left, parents)}
    return next(body for body in [right, *_above(right, parents)] if body in above)


def _above(body: int, parents: Sequence[int]) -> list[int]:
    """What a body hangs on, nearest first."""
    found = []
    while (body := parents[body]) >= 0:
        found.append(body)
    return found


def _three(value: Any, what: str) -> tuple[float, float, float]:
    good = isinstance(value, list) and len(value) == 3
    if not good or not all(isinstance(x, int | float) and not isinstance(x, bool) and abs(x) < 1e3 for x in value):
        raise UserError(f"{what}: found {value!r}, must be three numbers")
    return (float(value[0]), float(value[1]), float(value[2]))


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
