"""What an MJCF says about bodies, joints, limits and gains, read with the standard library and numpy.

Isaac Gym imports the same file itself. This reader supplies what the simulator does not tell (the tree, rest poses,
torque limits) and what it should be held to: our order of bodies and DoFs, and the asset's own gains.
"""

from __future__ import annotations

import math
import os
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from typing import Dict, List, Tuple

import numpy as np

from mimickit_hydra.engines.interface import EngineError, ObjectModel, ObjectSpec

NO_LIMIT = 1e10  # rad, a joint without a range
NO_TORQUE_LIMIT = 1e6  # N m, a joint without actuatorfrcrange
_ORIENTATIONS = ("euler", "axisangle", "xyaxes", "zaxis")
_Attributes = Dict[str, str]


@dataclass
class _Hinge:
    name: str
    axis: np.ndarray  # [3]
    anchor: np.ndarray  # [3] m, in the body's frame
    low: float
    high: float
    torque: float
    kp: float
    kd: float
    armature: float


@dataclass
class Asset:
    """One tree of bodies in depth-first order; ``B`` bodies, ``D`` DoFs, quaternions xyzw."""

    path: str
    body_names: List[str]
    parents: np.ndarray  # [B] int, root -1
    local_pos: np.ndarray  # [B, 3] m, in the parent's frame
    local_rot: np.ndarray  # [B, 4]
    dof_dims: np.ndarray  # [B] 0, 1 or 3, root 0
    axes: np.ndarray  # [B, 3] of single hinges, else 0
    anchors: np.ndarray  # [B, 3] m, where the joint is in the body's frame
    dof_names: List[str]  # [D] joints as the file calls them, "" where it does not
    dof_low: np.ndarray  # [D] rad
    dof_high: np.ndarray  # [D] rad
    torque_limits: np.ndarray  # [D] N m
    kp: np.ndarray  # [D] N m/rad
    kd: np.ndarray  # [D] N m s/rad
    armature: np.ndarray  # [D] kg m^2

    @property
    def num_bodies(self) -> int:
        return len(self.body_names)

    @property
    def num_dofs(self) -> int:
        return len(self.dof_names)

    def model(self, obj: ObjectSpec, masses: np.ndarray) -> ObjectModel:
        """The interface's facts of an object made from this asset; ``masses [B]`` kg."""
        gain = 0.0 if obj.disable_motors else 1.0
        return ObjectModel(
            name=obj.name, body_names=list(self.body_names), parents=self.parents, body_masses=masses,
            dof_dims=self.dof_dims, dof_low=self.dof_low, dof_high=self.dof_high, torque_limits=self.torque_limits,
            kp=gain * self.kp, kd=gain * self.kd,
        )  # fmt: skip


def read_asset(obj: ObjectSpec) -> Asset:
    """Read the asset of ``obj``. EngineError with one line if it is missing, broken, or has unusable joints."""
    path = os.fspath(obj.asset_file)
    if not os.path.isfile(path):
        raise EngineError("{}: asset file of object {!r} not found".format(path, obj.name))
    if os.path.splitext(path)[1].lower() != ".xml":
        raise EngineError("{}: the isaac_gym engine reads MJCF (.xml) assets".format(path))
    return _Reader(path).read()


def has_world_geoms(path: str) -> bool:
    """Whether an MJCF puts geoms around its body, as a floor of its own."""
    return ET.parse(path).getroot().find("worldbody/geom") is not None


def edited_copy(path: str, folder: str, is_visual: bool) -> str:
    """Write a copy of an MJCF below ``folder``, and return its path.

    It holds no geoms of the world, for an object is its one body, and in one ``is_visual`` geoms collide with nothing.
    Everything beside the file, and beside its folder, is linked next to the copy, so that relative names of meshes
    still hold.
    """
    tree = ET.parse(path)
    for world in tree.getroot().findall("worldbody"):
        for geom in world.findall("geom"):
            world.remove(geom)
    for geom in tree.getroot().iter("geom") if is_visual else ():
        geom.set("contype", "0")
        geom.set("conaffinity", "0")
    source = os.path.dirname(os.path.abspath(path))
    target = os.path.join(folder, os.path.basename(source) or "assets")
    os.makedirs(target, exist_ok=True)
    _link_entries(os.path.dirname(source), folder, skip=os.path.basename(target))
    _link_entries(source, target, skip="edited_" + os.path.basename(path))
    copy = os.path.join(target, "edited_" + os.path.basename(path))
    tree.write(copy)
    return copy


def _link_entries(source: str, target: str, skip: str) -> None:
    for entry in os.listdir(source):
        link = os.path.join(target, entry)
        if entry != skip and not os.path.lexists(link):
            os.symlink(os.path.join(source, entry), link)


class _Reader:
    def __init__(self, path: str) -> None:
        self.path = path
        try:
            self.root = ET.parse(path).getroot()
        except (OSError, ET.ParseError) as error:
            raise self.fail("not a valid MJCF file: {}".format(error)) from error
        if self.root.tag != "mujoco":
            raise self.fail("not a valid MJCF file: the root element is <{}>, not <mujoco>".format(self.root.tag))
        if self.root.find(".//include") is not None:
            raise self.fail("<include> is not supported by the isaac_gym engine; put the model into one file")
        compiler: _Attributes = {}
        for element in self.root.findall("compiler"):
            compiler.update(element.attrib)
        self.radians = 1.0 if compiler.get("angle", "degree") == "radian" else math.pi / 180.0
        self.autolimits = compiler.get("autolimits", "true") == "true"
        self.defaults: Dict[str, _Attributes] = {"main": {}}
        for element in self.root.findall("default"):
            self.read_defaults(element, "main", {})
        self.names: List[str] = []
        self.parents: List[int] = []
        self.poses: List[np.ndarray] = []
        self.hinges: List[List[_Hinge]] = []

    def fail(self, text: str) -> EngineError:
        return EngineError("{}: {}".format(self.path, text))

    def read_defaults(self, element: ET.Element, name: str, inherited: _Attributes) -> None:
        """What joints of class ``name`` and of the classes below it have."""
        own = dict(inherited)
        for joint in element.findall("joint"):
            own.update(joint.attrib)
        self.defaults[element.get("class", name)] = own
        for child in element.findall("default"):
            self.read_defaults(child, "", own)

    def read(self) -> Asset:
        world = self.root.find("worldbody")
        roots = world.findall("body") if world is not None else []
        if len(roots) != 1:
            raise self.fail("needs exactly one body at the top level, found {}".format(len(roots)))
        self.read_body(roots[0], -1, "main")
        poses = np.array(self.poses)
        flat = [hinge for hinges in self.hinges for hinge in hinges]

        def column(field: str) -> np.ndarray:
            return np.array([getattr(hinge, field) for hinge in flat], dtype=np.float64)

        nowhere = np.zeros(3)
        return Asset(
            path=self.path, body_names=self.names, parents=np.array(self.parents, dtype=np.int64),
            local_pos=poses[:, :3], local_rot=poses[:, 3:],
            dof_dims=np.array([len(hinges) for hinges in self.hinges], dtype=np.int64),
            axes=np.array([hinges[0].axis if len(hinges) == 1 else nowhere for hinges in self.hinges]),
            anchors=np.array([hinges[0].anchor if hinges else nowhere for hinges in self.hinges]),
            dof_names=[hinge.name for hinge in flat], dof_low=column("low"), dof_high=column("high"),
            torque_limits=column("torque"), kp=column("kp"), kd=column("kd"), armature=column("armature"),
        )  # fmt: skip

    def read_body(self, element: ET.Element, parent: int, childclass: str) -> None:
        index = len(self.names)
        name = element.get("name") or "body_{}".format(index)
        childclass = element.get("childclass", childclass)
        self.names.append(name)
        self.parents.append(parent)
        self.poses.append(self.pose(element, name, is_root=parent < 0))
        self.hinges.append(self.read_joints(element, name, childclass, is_root=parent < 0))
        for tag in ("frame", "replicate", "attach"):
            if element.find(tag) is not None:
                raise self.fail("body {!r} has a <{}>, which the isaac_gym engine does not read".format(name, tag))
        for child in element.findall("body"):
            self.read_body(child, index, childclass)

    def pose(self, element: ET.Element, name: str, is_root: bool) -> np.ndarray:
        """Position and rotation (xyzw) in the parent's frame; those of the root are the scene's business."""
        if is_root:
            return np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0])
        for other in _ORIENTATIONS:
            if other in element.attrib:
                raise self.fail(
                    "body {!r} has {}=; only quat= is supported by the isaac_gym engine".format(name, other)
                )
        pos = self.numbers(element.attrib, "pos", "0 0 0", 3)
        w, x, y, z = self.numbers(element.attrib, "quat", "1 0 0 0", 4)
        norm = math.sqrt(w * w + x * x + y * y + z * z) or 1.0
        return np.array([*pos, x / norm, y / norm, z / norm, w / norm])

    def read_joints(self, element: ET.Element, body: str, childclass: str, is_root: bool) -> List[_Hinge]:
        found = [(joint, self.attributes(joint, childclass, body)) for joint in element.findall("joint")]
        kinds = [attributes.get("type", "hinge") for _, attributes in found]
        free = ["free"] * len(element.findall("freejoint")) + [kind for kind in kinds if kind == "free"]
        if is_root:
            if len(free) > 1 or any(kind != "free" for kind in kinds):
                raise self.fail("root body {!r} may have a free joint or none".format(body))
            return []
        if free or any(kind != "hinge" for kind in kinds) or len(found) not in (0, 1, 3):
            raise self.fail("body {!r} must have no joint, one hinge, or three hinges".format(body))
        hinges = [self.hinge(attributes, body) for _, attributes in found]
        if len(hinges) == 3 and not _is_xyz(hinges):
            raise self.fail(
                "the three hinges of body {!r} must turn about x, y, z in that order, at one point".format(body)
            )
        return hinges

    def attributes(self, joint: ET.Element, childclass: str, body: str) -> _Attributes:
        name = joint.get("class", childclass)
        if name not in self.defaults:
            raise self.fail("body {!r}: its joint has class {!r}, which no <default> defines".format(body, name))
        return {**self.defaults[name], **joint.attrib}

    def hinge(self, attributes: _Attributes, body: str) -> _Hinge:
        if self.numbers(attributes, "ref", "0", 1)[0] != 0.0:
            raise self.fail(
                "joint {!r} has ref={!r}; ref must be 0".format(attributes.get("name", body), attributes["ref"])
            )
        axis = self.numbers(attributes, "axis", "0 0 1", 3)
        low, high = self.interval(attributes, "limited", "range", self.radians, NO_LIMIT)
        force = self.interval(attributes, "actuatorfrclimited", "actuatorfrcrange", 1.0, NO_TORQUE_LIMIT)
        return _Hinge(
            name=attributes.get("name", ""), axis=axis / (np.linalg.norm(axis) or 1.0),
            anchor=self.numbers(attributes, "pos", "0 0 0", 3), low=low, high=high, torque=max(map(abs, force)),
            kp=self.numbers(attributes, "stiffness", "0")[0], kd=self.numbers(attributes, "damping", "0")[0],
            armature=self.numbers(attributes, "armature", "0")[0],
        )  # fmt: skip

    def interval(
        self, attributes: _Attributes, switch: str, name: str, unit: float, default: float
    ) -> Tuple[float, float]:
        on = attributes.get(switch, "auto")
        if on == "true" or (on == "auto" and self.autolimits and name in attributes):
            low, high = unit * self.numbers(attributes, name, "0 0", 2)
            return float(low), float(high)
        return -default, default

    def numbers(self, attributes: _Attributes, name: str, default: str, count: int = 0) -> np.ndarray:
        text = attributes.get(name, default)
        try:
            values = np.array([float(word) for word in text.split()])
        except ValueError:
            values = np.zeros(0)
        if (count and len(values) != count) or not len(values):
            raise self.fail("{}={!r}: must be {} number{}".format(name, text, count or 1, "s" if count > 1 else ""))
        return values


def _is_xyz(hinges: List[_Hinge]) -> bool:
    same_point = all(np.allclose(hinge.anchor, hinges[0].anchor) for hinge in hinges)
    return same_point and np.allclose([hinge.axis for hinge in hinges], np.eye(3), atol=1e-6)
