"""Gives each hinge of a body with several a body of its own, which is what the kinematics and every engine know.

The bodies that come between have the frame of the body at rest and weigh next to nothing, so that the robot moves as
the file says: its hinges keep their names, axes, places and order. Three hinges x, y, z at one point are a ball joint
here and stay one body.
"""

from __future__ import annotations

import os
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np

from mimickit_hydra.mj import mujoco

MASS, INERTIA = 1e-6, 1e-9  # kg, kg m^2, of a body that comes between


def is_ball(model: mujoco.MjModel, ids: list[int]) -> bool:
    """Whether the joints ``ids`` of a body are three hinges x, y, z at one point, with no angle at rest."""
    return (
        len(ids) == 3
        and np.allclose(model.jnt_pos[ids], model.jnt_pos[ids[0]])
        and np.allclose(model.jnt_axis[ids], np.eye(3), atol=1e-4)
        and not any(model.qpos0[model.jnt_qposadr[j]] for j in ids)
    )


def to_split(model: mujoco.MjModel, bodies: list[Any]) -> list[str]:
    """The names of the bodies, the root aside, with two hinges or more that are no ball joint."""
    found = []
    for body in bodies[1:]:
        b = model.body(body.name).id
        ids = list(range(model.body_jntadr[b], model.body_jntadr[b] + model.body_jntnum[b]))
        hinges = all(model.jnt_type[j] == mujoco.mjtJoint.mjJNT_HINGE for j in ids)
        if len(ids) > 1 and hinges and not is_ball(model, ids):
            found.append(body.name)
    return found


def split(spec: Any, model: mujoco.MjModel, folder: str, names: list[str]) -> Any:
    """A new ``MjSpec`` of ``spec``, compiled to ``model`` from a file in ``folder``, with the bodies ``names`` split.

    Each is called as before and has the innermost of its hinges; those above it are called ``NAME/JOINT``.
    """
    top = ET.fromstring(spec.to_xml())
    _exclude(top, model, names)
    compiler = top.find("compiler")
    assert compiler is not None
    for kind in ("meshdir", "texturedir"):
        compiler.set(kind, os.path.join(os.path.abspath(folder), compiler.get(kind) or compiler.get("assetdir") or ""))
    if compiler.get("inertiafromgeom") == "true":
        for body in top.iter("body"):
            if body.find("geom") is not None and (inertial := body.find("inertial")) is not None:
                body.remove(inertial)
        del compiler.attrib["inertiafromgeom"]
    for parent in list(top.iter()):
        for body in [child for child in parent if child.tag == "body" and child.get("name") in names]:
            _split(parent, body)
    return mujoco.MjSpec.from_string(ET.tostring(top, encoding="unicode"))


def _exclude(top: ET.Element, model: mujoco.MjModel, names: list[str]) -> None:
    """MuJoCo lets a body pass through its parent, and whatever is fixed to either: here one comes between."""
    contact = top.find("contact")
    contact = ET.SubElement(top, "contact") if contact is None else contact
    known = {frozenset((e.get("body1"), e.get("body2"))) for e in contact.findall("exclude")}
    shapes = [model.body(b).name for b in range(model.nbody) if model.body_geomnum[b]]
    weld = {name: int(model.body_weldid[model.body(name).id]) for name in shapes}
    for name in names:
        own = int(model.body_weldid[model.body(name).id])
        above = int(model.body_weldid[model.body_parentid[own]])
        for a in [shape for shape in shapes if weld[shape] == above]:
            for b in [shape for shape in shapes if weld[shape] == own]:
                if frozenset((a, b)) not in known:
                    ET.SubElement(contact, "exclude", body1=a, body2=b)


def _split(parent: ET.Element, body: ET.Element) -> None:
    joints = body.findall("joint")
    place = list(parent).index(body)
    parent.remove(body)
    above, inner = parent, body
    frame: dict[str, str] = {str(key): body.attrib.pop(key) for key in ("pos", "quat") if key in body.attrib}
    for k, joint in enumerate(joints[:-1]):
        body.remove(joint)
        between = ET.Element("body", {"name": f"{body.get('name')}/{joint.get('name') or k}", **frame})
        frame = {}
        ET.SubElement(between, "inertial", pos="0 0 0", mass=repr(MASS), diaginertia=" ".join([repr(INERTIA)] * 3))
        if body.get("childclass"):
            between.set("childclass", str(body.get("childclass")))
        between.append(joint)
        above.insert(place if above is parent else len(above), between)
        above = between
    above.append(inner)
