"""Tells the parts of a robot from its tree, its shapes and its names: feet, hands, head, torso, and what mirrors what.

Names help where they are plain (``foot``, ``hand``, ``head``, left and right); what decides is the tree, and where its
ends are in a pose.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import torch

from mimickit_hydra.errors import UserError
from mimickit_hydra.motion import rotations as rot
from mimickit_hydra.motion.character import CharacterModel, JointType
from mimickit_hydra.motion.geometry import SupportPoints
from mimickit_hydra.motion.symmetry import Mirror, other_side

FOOT = re.compile(r"foot|feet|ankle|toe|sole|paw|calf|shank|lower_?leg", re.IGNORECASE)
HEAD = re.compile(r"head|skull", re.IGNORECASE)
_LOW = 0.12  # of the height, within which an end of the tree stands on the ground
_ASIDE = 0.04  # of the size, by which a limb is off the middle
_NEAR = 0.08  # of the height, within which joints make one, as those of an ankle do


@dataclass
class Anatomy:
    """Names of bodies; ``symmetry`` leads from those on the left to those on the right."""

    feet: list[str] = field(default_factory=list)
    hands: list[str] = field(default_factory=list)
    head: str = ""
    anchor: str = ""  # empty: the root
    contact_bodies: list[str] = field(default_factory=list)
    joint_err_w: list[float] = field(default_factory=list)  # of every body but the root
    symmetry: dict[str, str] = field(default_factory=dict)
    signs: list[tuple[str, str, float]] = field(default_factory=list)  # joint, its partner, sign in the mirror
    height: float = 0.0  # m
    extent: float = 0.0  # m, the largest of height, length and width
    notes: list[str] = field(default_factory=list)

    @property
    def key_bodies(self) -> list[str]:
        return [*self.feet, *([self.head] if self.head else []), *self.hands]

    @property
    def end_effectors(self) -> list[str]:
        return [*self.feet, *self.hands]


def standing(character: CharacterModel, points: SupportPoints, pose: np.ndarray) -> np.ndarray:
    """The pose ``[6 + D]`` with its root at the height at which the lowest shape touches z = 0."""
    if not len(points):
        return pose
    body_pos, body_rot = _poses(character, pose)
    out = pose.copy()
    out[2] -= float(points.lowest(body_pos[None], body_rot[None])[0, :, 2].min())
    return out


def upright(character: CharacterModel, pose: np.ndarray) -> np.ndarray:
    """The exponential map ``[3]`` of a root that stands, by the names of head and feet: some have y up."""
    names = character.body_names
    heads, feet = ([k for k, name in enumerate(names) if part.search(name)] for part in (HEAD, FOOT))
    if not heads or not feet:
        return np.zeros(3)
    where = _poses(character, pose)[0].numpy()
    along = where[heads].mean(axis=0) - where[feet].mean(axis=0)
    axis = int(np.abs(along).argmax())
    if axis == 2:
        return np.zeros(3)
    turn = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0]])[axis]
    return 0.5 * np.pi * turn * np.sign(along[axis])


def describe(character: CharacterModel, points: SupportPoints, pose: np.ndarray) -> Anatomy:
    """The parts of a character that stands as ``pose`` ``[6 + D]`` says. UserError for one that has no legs."""
    body_pos, body_rot = _poses(character, pose)
    lowest = points.lowest(body_pos[None], body_rot[None])[0].numpy() if len(points) else np.zeros((0, 3))
    where = body_pos.numpy()
    spread = np.concatenate([where, lowest]) if len(lowest) else where
    found = Anatomy()
    size = spread.max(axis=0) - spread.min(axis=0)
    found.height, found.extent = float(where[:, 2].max() - spread[:, 2].min()), float(size.max())
    tree = _Tree(character)
    ends = tree.ends()
    low = {end: min([lowest[i, 2] for i in _points_of(points, tree.rigid(end))], default=np.inf) for end in ends}
    ground = spread[:, 2].min()
    feet = [end for end in ends if low[end] - ground < _LOW * max(found.height, 1e-3)]
    named = [end for end in ends if any(FOOT.search(character.body_names[b]) for b in tree.rigid(end))]
    legs = feet if len(feet) > 1 else named
    if len(legs) < 2:
        raise UserError(
            f"{character.name}: found {len(legs)} legs (ends of its tree that move and stand "
            "on the ground), must be 2 or more: it cannot walk"
        )
    found.feet = [_tip(character, points, tree, end, FOOT) for end in legs]
    others = [end for end in tree.limbs(ends, legs, where, _ASIDE * found.extent) if end not in legs]
    aside = [end for end in others if abs(where[end, 1] - where[0, 1]) > _ASIDE * found.extent]
    found.hands = [_tip(character, points, tree, end, None) for end in aside]
    found.head = _head(character, others, aside, where)
    found.anchor = _anchor(character, tree, aside, legs)
    found.contact_bodies = _contact_bodies(character, points, tree, legs, where, found.height)
    found.joint_err_w = _weights(character, tree, legs, aside, where)
    _mirror(character, where, found)
    return found


def _poses(character: CharacterModel, pose: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    values = torch.tensor(pose, dtype=torch.float32)
    root = rot.exp_map_to_quat(values[3:6])
    return character.forward_kinematics(values[:3], root, character.dof_to_rot(values[6:]))


class _Tree:
    """The tree of the bodies that move against each other."""

    def __init__(self, character: CharacterModel) -> None:
        self.parents, self.names = character.parents, character.body_names
        self.moves = [dim > 0 for dim in character.dof_dim]
        self.group = list(range(character.num_bodies))  # the moving body that each is fixed to
        for body in range(1, character.num_bodies):
            if not self.moves[body]:
                self.group[body] = self.group[self.parents[body]]

    def rigid(self, end: int) -> list[int]:
        return [body for body, group in enumerate(self.group) if group == end]

    def path(self, body: int) -> list[int]:
        """The moving bodies from below the root to ``body``."""
        path: list[int] = []
        body = self.group[body]
        while body > 0:
            path.append(body)
            body = self.group[self.parents[body]]
        return path[::-1]

    def ends(self) -> list[int]:
        """The moving bodies with none below."""
        above = {self.group[self.parents[body]] for body, moves in enumerate(self.moves) if moves}
        return [body for body, moves in enumerate(self.moves) if moves and body not in above]

    def limbs(self, ends: Sequence[int], legs: Sequence[int], where: np.ndarray, aside: float) -> list[int]:
        """The ends, with those of a hand as one: the lowest body off the middle that has them all."""
        out: list[int] = []
        for end in ends:
            path = self.path(end)
            shared = [b for b in path if sum(b in self.path(other) for other in ends) > 1]
            palm = next((b for b in shared if abs(where[b, 1] - where[0, 1]) > aside
                         and not any(b in self.path(leg) for leg in legs)), end)  # fmt: skip
            if palm != end:  # the last body before the fingers part
                palm = [b for b in shared if b in self.path(end)][-1]
            if palm not in out:
                out.append(palm)
        kept = [b for b in out if not any(b in self.path(o) and b != o for o in out)]
        return [b for b in kept if b not in legs] + list(legs)


def _points_of(points: SupportPoints, bodies: Sequence[int]) -> list[int]:
    return [i for i, body in enumerate(points.body.tolist()) if body in bodies]


def _tip(character: CharacterModel, points: SupportPoints, tree: _Tree, end: int, name: re.Pattern[str] | None) -> str:
    """The body that stands for an end: of those fixed to it the last with the name of a foot, else the end itself."""
    bodies = tree.rigid(end)
    named = [b for b in bodies[1:] if name and name.search(character.body_names[b])]
    touching = [b for b in bodies[1:] if b in points.body.tolist()] if name else []
    chosen = (named or touching or [end])[-1]
    if name is None and len(bodies) > 1 and re.search(r"hand|palm", character.body_names[bodies[-1]], re.IGNORECASE):
        chosen = bodies[-1]
    return character.body_names[chosen]


def _head(character: CharacterModel, others: Sequence[int], aside: Sequence[int], where: np.ndarray) -> str:
    """The body with the name of a head, else the end above the middle of one that has hands."""
    named = [b for b, name in enumerate(character.body_names) if HEAD.search(name)]
    middle = [end for end in others if end not in aside and where[end, 2] > np.median(where[:, 2])]
    chosen = named or (middle if aside else [])
    return character.body_names[max(chosen, key=lambda b: where[b, 2])] if chosen else ""


def _anchor(character: CharacterModel, tree: _Tree, hands: Sequence[int], legs: Sequence[int]) -> str:
    """The body that both arms hang on."""
    if len(legs) != 2 or len(hands) < 2:
        return ""
    paths = [tree.path(hand) for hand in hands]
    shared = [body for body in paths[0] if all(body in path for path in paths[1:])]
    return character.body_names[shared[-1]] if shared else ""


def _contact_bodies(
    character: CharacterModel, points: SupportPoints, tree: _Tree, legs: Sequence[int], where: np.ndarray, height: float
) -> list[str]:
    """What is fixed to the ends of the legs, and the bodies of the same ankle, as far as they can touch the ground."""
    touching = set(points.body.tolist())
    chosen: list[int] = []
    for leg in legs:
        ankle = [leg]
        for body in reversed(tree.path(leg)[:-1]):
            if np.linalg.norm(where[body] - where[ankle[-1]]) > _NEAR * height:
                break
            ankle.append(body)
        chosen += [b for end in ankle for b in tree.rigid(end) if b in touching or b == leg]
    return [character.body_names[b] for b in sorted(set(chosen))]


def _weights(
    character: CharacterModel, tree: _Tree, legs: Sequence[int], hands: Sequence[int], where: np.ndarray
) -> list[float]:
    """1 near the trunk, less towards the ends of limbs, 0 for what does not move: near to MimicKit's own weights."""
    weights = np.array([1.0 if moves else 0.0 for moves in tree.moves])
    if len(legs) > 2:
        return [float(w) for w in weights[1:]]
    for end in [*legs, *hands]:
        path = tree.path(end)
        above = [b for b in path if sum(b in tree.path(other) for other in [*legs, *hands]) > 1]
        limb = path[len(above) :]
        steps = np.array([0.0, *(np.linalg.norm(where[b] - where[a]) for a, b in pairwise(limb))])
        share = steps.cumsum() / max(steps.sum(), 1e-6)
        for body, part in zip(limb, share, strict=True):
            weights[body] = 1.0 if part < 0.35 else 0.6 if part < 0.8 else 0.5
        for body, path_of in ((b, tree.path(b)) for b in range(1, character.num_bodies)):
            if end in path_of[:-1] and tree.moves[body]:
                weights[body] = 0.2  # fingers and toes
    return [float(w) for w in weights[1:]]


def _mirror(character: CharacterModel, where: np.ndarray, found: Anatomy) -> None:
    """The pairs of left and right by names, else by places; and the sign of each joint."""
    names = character.body_names
    found.symmetry = {name: other for name in names if (other := other_side(name)) in names}
    found.symmetry |= _pairs_by_place(character, where, found)
    try:
        mirror = Mirror(character, found.symmetry)
        rng = np.random.default_rng(0)
        mirror.frames(rng.uniform(-0.3, 0.3, (8, 6 + character.num_dofs)).astype(np.float32))
    except UserError as error:
        found.notes.append(f"left and right are not exact mirror images: {error}")
        return
    columns = character.dof_columns()
    for body, kind in enumerate(character.joint_types):
        if kind is JointType.HINGE:
            row = np.zeros((1, 6 + character.num_dofs), dtype=np.float32)
            row[0, 6 + character.dof_index[body]] = 0.1
            partner = character.dof_index[mirror.partner[body]]
            sign = float(np.sign(mirror.frames(row)[0, 6 + partner]))
            found.signs.append((columns[character.dof_index[body]], columns[partner], sign))


def _pairs_by_place(character: CharacterModel, where: np.ndarray, found: Anatomy) -> dict[str, str]:
    """Pairs of bodies that no names pair: each at the place of the other in the mirror."""
    names, pairs = character.body_names, {}
    taken = {*found.symmetry.keys(), *found.symmetry.values()}
    for body in range(1, character.num_bodies):
        if names[body] in taken or where[body, 1] - where[0, 1] <= _ASIDE * found.extent:
            continue
        image = where[body] * [1, -1, 1] + [0, 2 * where[0, 1], 0]
        away = np.linalg.norm(where - image, axis=1)
        for other in [int(o) for o in np.argsort(away) if away[o] < 0.02 * found.extent]:
            if character.joint_types[other] == character.joint_types[body] and names[other] not in taken:
                pairs[names[body]] = names[other]
                taken |= {names[body], names[other]}
                break
    return pairs


__all__ = ["Anatomy", "describe", "standing", "upright"]
