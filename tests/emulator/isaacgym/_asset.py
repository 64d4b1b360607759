"""What the emulation reads from an MJCF, and how it rewrites one for the scene it hands to MuJoCo."""

import os
import xml.etree.ElementTree as ET

import mujoco
import numpy as np

_PROPERTIES = np.dtype(
    [
        ("hasLimits", np.bool_), ("lower", np.float32), ("upper", np.float32), ("driveMode", np.int32),
        ("velocity", np.float32), ("effort", np.float32), ("stiffness", np.float32), ("damping", np.float32),
        ("friction", np.float32), ("armature", np.float32),
    ]
)  # fmt: skip


class Asset:
    """An imported MJCF: bodies depth-first, one DoF for each hinge."""

    def __init__(self, rootpath, filename, options):
        self.path = os.path.join(rootpath, filename)
        self.options = options
        model = mujoco.MjModel.from_xml_path(self.path)
        self.model = model
        self.body_names = [model.body(b).name or "body_{}".format(b - 1) for b in range(1, model.nbody)]
        self.joints = [j for j in range(model.njnt) if model.jnt_type[j] == mujoco.mjtJoint.mjJNT_HINGE]
        self.dof_names = [model.joint(j).name for j in self.joints]
        self.masses = model.body_mass[1:].copy()
        self.coms = model.body_ipos[1:].copy()
        count = [int((model.jnt_bodyid[self.joints] == b).sum()) for b in range(1, model.nbody)]
        self.dims = np.array(count)  # [B] hinges of each body

    def scene_xml(self, properties, folder, name):
        """A copy for the scene: three hinges are one ball, joints have no springs and no motors, root as options say.

        Returns its path and the name of its root body.
        """
        tree = ET.parse(self.path)
        root = tree.getroot()
        for tag in ("actuator", "sensor", "keyframe", "contact"):
            for element in root.findall(tag):
                root.remove(element)
        self._absolute_files(root)
        degrees = [c.get("angle", "degree") == "degree" for c in root.findall("compiler")] or [True]
        unit = np.pi / 180.0 if degrees[-1] else 1.0
        bodies = []
        _collect(root.find("worldbody").find("body"), bodies)
        dof = 0
        for index, (element, body) in enumerate(zip(bodies, self.body_names)):
            element.set("name", body)
            joints = element.findall("joint")
            if index == 0:
                self._free(element)
            elif len(joints) == 3:
                for extra in joints[1:]:
                    element.remove(extra)
                _joint(joints[0], body, properties[dof : dof + 3], True, unit)
                dof += 3
            elif joints:
                _joint(joints[0], body, properties[dof : dof + 1], False, unit)
                dof += 1
        path = os.path.join(folder, name + ".xml")
        tree.write(path)
        return path, self.body_names[0]

    def _free(self, element):
        for tag in ("joint", "freejoint"):
            for joint in element.findall(tag):
                element.remove(joint)
        for attribute in ("pos", "quat"):  # the actor's pose is that of its root
            element.attrib.pop(attribute, None)
        if self.options.fix_base_link:
            element.set("mocap", "true")
        else:
            element.insert(0, ET.Element("freejoint", {"name": "root"}))

    def _absolute_files(self, root):
        folder = os.path.dirname(os.path.abspath(self.path))
        for compiler in root.findall("compiler"):
            folder = os.path.join(folder, compiler.attrib.pop("meshdir", ""))
        for mesh in root.iter("mesh"):
            if "file" in mesh.attrib:
                mesh.set("name", mesh.get("name") or os.path.splitext(os.path.basename(mesh.get("file")))[0])
                mesh.set("file", os.path.join(folder, mesh.get("file")))


def dof_properties(asset):
    """What the importer makes of the asset's hinges, as the simulator's structured array."""
    model, joints = asset.model, asset.joints
    out = np.zeros(len(joints), dtype=_PROPERTIES)
    if joints:
        addresses = model.jnt_dofadr[joints]
        out["hasLimits"] = model.jnt_limited[joints].astype(bool)
        out["lower"], out["upper"] = model.jnt_range[joints].T
        out["velocity"] = np.finfo(np.float32).max
        out["effort"] = np.finfo(np.float32).max
        out["stiffness"] = model.jnt_stiffness[joints]
        out["damping"] = model.dof_damping[addresses]
        out["armature"] = model.dof_armature[addresses]
    return out


def _collect(element, bodies):
    bodies.append(element)
    for child in element.findall("body"):
        _collect(child, bodies)


def _joint(element, body, properties, ball, unit):
    """One joint of the scene, free of springs; ``unit`` is an angle of the file in rad."""
    for name in ("range", "actuatorfrcrange", *(("axis", "frictionloss") if ball else ())):
        element.attrib.pop(name, None)
    changes = {"name": body, "stiffness": "0", "damping": "0", "actuatorfrclimited": "false", "limited": "false"}
    changes["armature"] = repr(float(properties["armature"][0]))
    if ball:
        changes["type"] = "ball"
    elif properties["hasLimits"][0]:
        low, high = (repr(float(properties[side][0]) / unit) for side in ("lower", "upper"))
        changes.update(limited="true", range=low + " " + high)
    element.attrib.update(changes)
