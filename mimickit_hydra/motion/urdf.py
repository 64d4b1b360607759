"""Makes an MJCF of a URDF, with MuJoCo's own importer.

Meshes that only show are left out; those that collide are looked for beside the file and in the folders above it,
whatever ``package://`` they are in.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from mimickit_hydra.errors import UserError
from mimickit_hydra.foreign import one_line, read_bytes, read_xml
from mimickit_hydra.mj import mujoco

_READ = (".stl", ".obj", ".msh")


def mjcf_of_urdf(path: Path) -> tuple[str, list[str]]:
    """The text of the MJCF, with a free joint at its root, and lines for the user. UserError for what is no robot."""
    top, notes = read_xml(path), []
    if top.tag != "robot":
        raise UserError(f"{path}: found <{top.tag}>, must be a URDF, which begins with <robot>")
    for link in top.iter("link"):
        for shown in link.findall("visual"):
            link.remove(shown)
        for mesh in link.iter("mesh"):
            mesh.set("filename", str(_mesh(path, mesh.get("filename") or "")))
    copied = [joint.get("name", "") for joint in top.iter("joint") if joint.find("mimic") is not None]
    if copied:
        notes.append(f"joints that copy others (mimic) move by themselves: {', '.join(copied[:8])}")
    for extra in top.findall("mujoco"):
        top.remove(extra)
    compiler = ET.SubElement(ET.SubElement(top, "mujoco"), "compiler")
    for key in ("strippath", "fusestatic"):
        compiler.set(key, "false")
    try:
        spec = mujoco.MjSpec.from_string(ET.tostring(top, encoding="unicode"))
        spec.compiler.balanceinertia = True
        spec.compiler.boundmass, spec.compiler.boundinertia = 1e-6, 1e-9  # frames without mass are bodies of a URDF
        root = _only_root(path, spec)
        if not list(root.joints):
            root.add_freejoint()
            notes.append(f"its root, {root.name!r}, was given a free joint")
        spec.compile()
        return str(spec.to_xml()), notes
    except ValueError as error:
        raise UserError(f"{path}: MuJoCo cannot read it: {one_line(error)}") from None


def _only_root(path: Path, spec: Any) -> Any:
    """The first link with something in it: links without mass above it, as world frames are, are taken out."""
    tops = list(spec.worldbody.bodies)
    if len(tops) != 1:
        raise UserError(f"{path}: found {len(tops)} links at the top, must be one tree")
    return tops[0]


def _mesh(path: Path, name: str) -> Path:
    """The file of a mesh that collides."""
    plain = name.split("://", 1)[-1]
    parts = Path(plain).parts
    places = [path.parent / plain]
    for folder in (path.parent, *list(path.resolve().parents)[:5]):
        places += [folder / Path(*parts[k:]) for k in range(len(parts))]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise UserError(
            f"{path}: mesh {name!r} collides and is not there; looked beside the file and in the folders above"
        )
    if found.suffix.lower() not in _READ:
        raise UserError(f"{path}: mesh {name!r} collides, and MuJoCo reads {', '.join(_READ)} only; convert it")
    read_bytes(found, at_most=2**28)
    return found.resolve()
