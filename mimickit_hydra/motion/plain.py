"""Writes a robot as plain MJCF, for simulators that read MJCF by themselves: what MuJoCo made of the file, in numbers.

No classes, frames or includes, every body with its inertia, only geoms that collide, and stiffness and damping only
where they are a spring and a damper. Gains are the engine's business.
"""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree as ET

import numpy as np

from mimickit_hydra.mj import mujoco
from mimickit_hydra.motion.mjcf import Source
from mimickit_hydra.motion.robot import NO_LIMIT, NO_TORQUE_LIMIT, Robot

_GEOM = (("size", "size"), ("pos", "pos"), ("quat", "quat"), ("friction", "friction"), ("solref", "solref"),
         ("solimp", "solimp"))  # fmt: skip
_GEOM_NUMBERS = ("contype", "conaffinity", "condim", "priority", "solmix", "margin", "gap")


def plain_mjcf(source: Source, robot: Robot) -> str:
    """The text of the file. Of ``robot.parts`` it holds contact excludes and springs alone."""
    top = ET.Element("mujoco", model=robot.name)
    ET.SubElement(top, "compiler", angle="radian", autolimits="true", inertiafromgeom="false")
    assets, elements, dof = ET.SubElement(top, "asset"), [ET.SubElement(top, "worldbody")], 0
    for k, name in enumerate(robot.body_names):
        body = ET.SubElement(elements[robot.parents[k] + 1], "body", name=name)
        elements.append(body)
        _write(body, pos=robot.local_pos[k], quat=np.roll(robot.local_rot[k], 1))
        _inertial(body, source.model, source.model.body(name).id)
        if k == 0:
            ET.SubElement(body, "freejoint")
        for joint in source.hinges[k]:
            _hinge(body, source.model, robot, joint, dof)
            dof += 1
        _geoms(body, assets, source.model, source.model.body(name).id)
    contact = ET.SubElement(top, "contact")
    for exclude in source.spec.excludes:
        ET.SubElement(contact, "exclude", body1=exclude.bodyname1, body2=exclude.bodyname2)
    return ET.tostring(top, encoding="unicode")


def _write(element: ET.Element, **values: Any) -> None:
    for name, value in values.items():
        element.set(name, " ".join(repr(float(v)) for v in np.atleast_1d(value)))


def _inertial(body: ET.Element, model: mujoco.MjModel, b: int) -> None:
    inertial = ET.SubElement(body, "inertial")
    _write(inertial, pos=model.body_ipos[b], quat=model.body_iquat[b], mass=model.body_mass[b])
    _write(inertial, diaginertia=model.body_inertia[b])
    if model.body_gravcomp[b]:
        _write(body, gravcomp=model.body_gravcomp[b])


def _hinge(body: ET.Element, model: mujoco.MjModel, robot: Robot, joint: int, dof: int) -> None:
    hinge = ET.SubElement(body, "joint", name=robot.dof_names[dof] or f"joint_{dof}", type="hinge")
    _write(hinge, axis=robot.axes[dof], pos=robot.anchors[dof], armature=robot.armature[dof])
    _write(hinge, stiffness=robot.stiffness[dof], damping=robot.damping[dof], frictionloss=robot.frictionloss[dof])
    _write(hinge, solreflimit=model.jnt_solref[joint], solimplimit=model.jnt_solimp[joint])
    if robot.stiffness[dof]:
        _write(hinge, springref=robot.springref[dof])
    if robot.dof_high[dof] < NO_LIMIT:
        _write(hinge, range=[robot.dof_low[dof], robot.dof_high[dof]])
    if robot.driven[dof] and robot.torque_limits[dof] < NO_TORQUE_LIMIT:
        _write(hinge, actuatorfrcrange=[robot.torque_low[dof], robot.torque_high[dof]])


def _geoms(body: ET.Element, assets: ET.Element, model: mujoco.MjModel, b: int) -> None:
    first = int(model.body_geomadr[b])
    for g in range(first, first + int(model.body_geomnum[b])):
        if not (model.geom_contype[g] or model.geom_conaffinity[g]):
            continue
        kind = mujoco.mjtGeom(int(model.geom_type[g])).name[len("mjGEOM_") :].lower()
        geom = ET.SubElement(body, "geom", type=kind)
        if model.geom(g).name:
            geom.set("name", model.geom(g).name)
        _write(geom, **{name: getattr(model, "geom_" + field)[g] for name, field in _GEOM})
        for name in _GEOM_NUMBERS:
            value = getattr(model, "geom_" + name)[g]
            geom.set(name, str(int(value)) if name in _GEOM_NUMBERS[:4] else repr(float(value)))
        if kind == "mesh":
            del geom.attrib["size"]
            geom.set("mesh", _mesh(assets, model, int(model.geom_dataid[g])))


def _mesh(assets: ET.Element, model: mujoco.MjModel, mesh: int) -> str:
    """A mesh in the frame that MuJoCo gave it, which the geom's place accounts for."""
    name = f"mesh_{mesh}"
    if not any(asset.get("name") == name for asset in assets):
        points = model.mesh_vert[model.mesh_vertadr[mesh] :][: model.mesh_vertnum[mesh]]
        faces = model.mesh_face[model.mesh_faceadr[mesh] :][: model.mesh_facenum[mesh]]
        asset = ET.SubElement(assets, "mesh", name=name, face=" ".join(str(int(i)) for i in faces.flat))
        _write(asset, vertex=points.ravel())
    return name
