"""The facts of a robot's file that Isaac Gym does not tell, and the file that it is given.

The facts come as values (:mod:`mimickit_hydra.motion.robot`) from the process that has MuJoCo to read them. The
simulator imports the same file itself; where its importer knows too little MJCF it gets the plain text of the robot.
"""

from __future__ import annotations

import os
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from typing import List

import numpy as np

from mimickit_hydra.engines.interface import EngineError, ObjectModel, ObjectSpec

_ORIENTATIONS = ("euler", "axisangle", "xyaxes", "zaxis")
_BEYOND = ("include", "frame", "replicate", "attach")
_MASSES = ("settotalmass", "boundmass", "boundinertia", "balanceinertia", "inertiafromgeom", "inertiagrouprange")


@dataclass
class Asset:
    """A tree of ``B`` bodies in depth-first order with ``D`` DoFs, quaternions xyzw."""

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
    damping: np.ndarray  # [D] N m s/rad, of dampers
    target_low: np.ndarray  # [D] rad
    target_high: np.ndarray  # [D] rad
    plain: str  # the robot as plain MJCF

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
            kp=gain * self.kp, kd=gain * self.kd, target_low=self.target_low, target_high=self.target_high,
        )  # fmt: skip


def read_asset(obj: ObjectSpec) -> Asset:
    """The asset of ``obj``. EngineError with one line for what is missing, broken, or nothing for this simulator."""
    path = os.fspath(obj.asset_file)
    if obj.robot is None:
        from mimickit_hydra.engines.mujoco.model import read_values

        robot = read_values(obj)
    else:
        robot = obj.robot
    lacking = robot.lacking("isaac_gym")
    if lacking:
        raise EngineError("{}: {}".format(path, lacking))
    ends, dims = np.cumsum(robot.dof_dims), robot.dof_dims
    pos, rot = robot.local_pos.copy(), robot.local_rot.copy()
    pos[0], rot[0] = 0.0, [0.0, 0.0, 0.0, 1.0]  # where the root is is the scene's business
    axes, anchors = np.zeros_like(pos), np.zeros_like(pos)
    axes[dims == 1], anchors[dims > 0] = robot.axes[ends[dims == 1] - 1], robot.anchors[ends[dims > 0] - 1]
    return Asset(
        path=path, body_names=list(robot.body_names), parents=robot.parents, local_pos=pos, local_rot=rot,
        dof_dims=dims, axes=axes, anchors=anchors, dof_names=list(robot.dof_names), dof_low=robot.dof_low,
        dof_high=robot.dof_high, torque_limits=robot.torque_limits, kp=robot.kp, kd=robot.kd,
        armature=robot.armature, damping=robot.damping, plain=robot.plain,
        target_low=robot.target_low, target_high=robot.target_high,
    )  # fmt: skip


def is_plain(path: str) -> bool:
    """Whether the simulator's importer, which knows less of MJCF than MuJoCo, can be given a file as it stands."""
    try:
        top = ET.parse(path).getroot()
    except (ET.ParseError, ValueError, LookupError):  # MuJoCo is less strict, of encodings too
        return False
    world = top.findall("worldbody")
    compilers = {name for compiler in top.findall("compiler") for name in compiler.attrib}
    return (
        len(world) == 1
        and len(world[0].findall("body")) == 1
        and not any(element.tag in _BEYOND for element in top.iter())
        and not any(name in body.attrib for body in top.iter("body") for name in _ORIENTATIONS)
        and not any("ref" in joint.attrib for joint in top.iter("joint"))
        and not compilers.intersection(_MASSES)
    )


def has_world_geoms(path: str) -> bool:
    """Whether an MJCF has geoms of the world, such as a floor of its own."""
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
