"""Read the kinematic tree of a character from an MJCF file.

Only what kinematics needs is read: bodies, hinges with their ranges, and the primitive geoms that ``motion check``
measures the ground against. Motors, gains and contacts belong to the engine. What would change the
kinematics and is not supported is an error rather than ignored.
"""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mimickit_hydra.config.errors import UserError

_ORIENTATIONS = ("euler", "axisangle", "xyaxes", "zaxis")
_XYZ = np.eye(3)


class CharacterError(UserError):
    """A character file that cannot be used; the message is one line naming the file, the element and the fix."""


@dataclass(frozen=True)
class Geom:
    """A primitive in the frame of body ``body``: ``sphere``, ``capsule`` or ``box``, sizes as MuJoCo means them."""

    body: int
    kind: str
    size: np.ndarray  # sphere [1] radius; capsule [2] radius, half-length along z; box [3] half-sizes; m
    pos: np.ndarray  # [3] m
    rot: np.ndarray  # [4] xyzw


@dataclass(frozen=True)
class Hinge:
    """One hinge of a body."""

    name: str
    axis: np.ndarray  # [3] unit
    low: float  # rad, -inf without a limit
    high: float  # rad


@dataclass
class Body:
    """One body of the tree, in depth-first order."""

    name: str
    parent: int  # -1 for the root
    pos: np.ndarray  # [3] m, in the parent frame
    rot: np.ndarray  # [4] xyzw, in the parent frame
    hinges: list[Hinge] = field(default_factory=list)


@dataclass
class Tree:
    """What an MJCF says about kinematics."""

    name: str
    bodies: list[Body]
    geoms: list[Geom]


def read_mjcf(path: str | Path) -> Tree:
    """Parse ``path``. Raises CharacterError with one line for anything missing, broken or unsupported."""
    path = Path(path)
    try:
        root = ET.parse(path).getroot()
    except OSError as error:
        raise CharacterError(f"{path}: cannot read the character ({error.strerror or error})") from None
    except ET.ParseError as error:
        raise CharacterError(f"{path}: not well-formed XML ({error})") from None
    if root.tag != "mujoco":
        raise CharacterError(f"{path}: the root element is <{root.tag}>, an MJCF file starts with <mujoco>")
    return _Reader(path, root).read()


class _Reader:
    def __init__(self, path: Path, root: ET.Element) -> None:
        self.path = path
        self.root = root
        compiler = root.find("compiler")
        degrees = compiler is None or compiler.get("angle", "degree") == "degree"
        self.angle_unit = math.pi / 180.0 if degrees else 1.0
        self.defaults = self._read_defaults()
        self.bodies: list[Body] = []
        self.geoms: list[Geom] = []

    def fail(self, text: str) -> CharacterError:
        return CharacterError(f"{self.path}: {text}")

    def read(self) -> Tree:
        if self.root.find(".//include") is not None:
            raise self.fail("<include> is not supported; put the whole model into one file")
        world = self.root.find("worldbody")
        tops = [] if world is None else world.findall("body")
        if len(tops) != 1:
            raise self.fail(f"<worldbody> holds {len(tops)} bodies; a character is exactly one tree")
        self._read_body(tops[0], parent=-1, childclass="main")
        names = [body.name for body in self.bodies]
        repeated = {name for name in names if names.count(name) > 1}
        if repeated:
            raise self.fail(f"body name used twice: {', '.join(sorted(repeated))}")
        return Tree(self.path.stem, self.bodies, self.geoms)

    def _read_defaults(self) -> dict[str, dict[str, dict[str, str]]]:
        """Class name -> element tag -> attributes, with what the class inherits filled in."""
        table: dict[str, dict[str, dict[str, str]]] = {"main": {"joint": {}, "geom": {}}}

        def visit(node: ET.Element, name: str, inherited: dict[str, dict[str, str]]) -> None:
            own = {tag: dict(inherited[tag]) for tag in ("joint", "geom")}
            for tag, attributes in own.items():
                for element in node.findall(tag):
                    attributes.update(element.attrib)
            table[name] = own
            for child in node.findall("default"):
                visit(child, child.get("class", ""), own)

        for node in self.root.findall("default"):
            visit(node, node.get("class", "main"), table["main"])
        return table

    def _attributes(self, element: ET.Element, childclass: str) -> dict[str, str]:
        name = element.get("class", childclass)
        if name not in self.defaults:
            raise self.fail(f"<{element.tag}> uses the default class {name!r}, which the file does not define")
        return {**self.defaults[name][element.tag], **element.attrib}

    def _numbers(self, text: str, count: tuple[int, ...], what: str) -> np.ndarray:
        try:
            values = np.array([float(word) for word in text.split()])
        except ValueError:
            raise self.fail(f"{what} is {text!r}, expected numbers") from None
        if len(values) not in count or not np.isfinite(values).all():
            raise self.fail(f"{what} is {text!r}, expected {' or '.join(map(str, count))} finite numbers")
        return values

    def _quat(self, text: str, what: str) -> np.ndarray:
        wxyz = self._numbers(text, (4,), what)
        norm = np.linalg.norm(wxyz)
        if norm < 1e-9:
            raise self.fail(f"{what} is zero, expected a rotation")
        return np.roll(wxyz / norm, -1)

    def _orientation(self, attributes: dict[str, str], what: str) -> np.ndarray:
        for name in _ORIENTATIONS:
            if name in attributes:
                raise self.fail(f"{what} has {name}=; only quat= is supported")
        return self._quat(attributes.get("quat", "1 0 0 0"), f"quat of {what}")

    def _read_body(self, element: ET.Element, parent: int, childclass: str) -> None:
        name = element.get("name")
        if not name:
            raise self.fail(f"body number {len(self.bodies)} has no name")
        childclass = element.get("childclass", childclass)
        pos = self._numbers(element.get("pos", "0 0 0"), (3,), f"pos of body {name!r}")
        body = Body(name, parent, pos, self._orientation(element.attrib, f"body {name!r}"))
        index = len(self.bodies)
        self.bodies.append(body)
        if parent >= 0:
            if element.find("freejoint") is not None:
                raise self.fail(f"body {name!r} has a free joint; only the root may have one")
            body.hinges = [self._read_hinge(joint, childclass, name) for joint in element.findall("joint")]
            self._check_joints(body)
        for geom in element.findall("geom"):
            self._read_geom(geom, childclass, index)
        for child in element.findall("body"):
            self._read_body(child, index, childclass)

    def _read_hinge(self, element: ET.Element, childclass: str, body: str) -> Hinge:
        attributes = self._attributes(element, childclass)
        name = attributes.get("name", body)
        kind = attributes.get("type", "hinge")
        if kind != "hinge":
            raise self.fail(f"joint {name!r} of body {body!r} has type {kind!r}; only hinge is supported")
        if np.any(self._numbers(attributes.get("pos", "0 0 0"), (3,), f"pos of joint {name!r}")):
            raise self.fail(f"joint {name!r} has pos={attributes['pos']!r}; joints must lie at their body's origin")
        if np.any(self._numbers(attributes.get("ref", "0"), (1,), f"ref of joint {name!r}")):
            # engines would count the joint's angle from there, and kinematics from the rest pose
            raise self.fail(f"joint {name!r} has ref={attributes['ref']!r}; ref must be 0")
        axis = self._numbers(attributes.get("axis", "0 0 1"), (3,), f"axis of joint {name!r}")
        norm = np.linalg.norm(axis)
        if norm < 1e-9:
            raise self.fail(f"axis of joint {name!r} is zero")
        low, high = -math.inf, math.inf
        if "range" in attributes and attributes.get("limited", "auto") != "false":
            low, high = self._numbers(attributes["range"], (2,), f"range of joint {name!r}") * self.angle_unit
        return Hinge(name, axis / norm, float(low), float(high))

    def _check_joints(self, body: Body) -> None:
        count = len(body.hinges)
        if count not in (0, 1, 3):
            raise self.fail(
                f"body {body.name!r} has {count} joints; allowed are 0 (fixed), 1 (hinge) and 3 (spherical)"
            )
        if count == 3 and not np.allclose([hinge.axis for hinge in body.hinges], _XYZ, atol=1e-4):
            raise self.fail(f"the three hinges of body {body.name!r} must have the axes x, y, z in this order")

    def _read_geom(self, element: ET.Element, childclass: str, body: int) -> None:
        attributes = self._attributes(element, childclass)
        kind = attributes.get("type", "sphere")
        if kind not in ("sphere", "capsule", "box") or "size" not in attributes:
            return  # meshes and the like: motion check looks at primitives only
        what = f"geom {attributes.get('name', kind)!r}"
        size = self._numbers(attributes["size"], (1, 2, 3), f"size of {what}")
        if "fromto" in attributes:
            start, end = self._numbers(attributes["fromto"], (6,), f"fromto of {what}").reshape(2, 3)
            half = 0.5 * float(np.linalg.norm(end - start))
            size = np.array([size[0], half])
            pos, rot = 0.5 * (start + end), _z_to(end - start)
        else:
            pos = self._numbers(attributes.get("pos", "0 0 0"), (3,), f"pos of {what}")
            rot = self._orientation(attributes, what)
        wanted = {"sphere": 1, "capsule": 2, "box": 3}[kind]
        if len(size) < wanted:
            raise self.fail(f"size of {what} has {len(size)} numbers, a {kind} needs {wanted}")
        self.geoms.append(Geom(body, kind, size[:wanted], pos, rot))


def _z_to(direction: np.ndarray) -> np.ndarray:
    """Shortest rotation (xyzw) that turns the z axis into ``direction``."""
    norm = np.linalg.norm(direction)
    x, y, z = direction / norm if norm > 1e-12 else (0.0, 0.0, 1.0)
    if z < -1.0 + 1e-9:
        return np.array([1.0, 0.0, 0.0, 0.0])
    quat = np.array([-y, x, 0.0, 1.0 + z])
    return quat / np.linalg.norm(quat)
