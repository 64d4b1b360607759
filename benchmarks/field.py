"""Reads every robot file and every clip below some folders, and counts what came of them.

    python benchmarks/field.py FOLDER... [--clips] [--character XML ...] [--json OUT.json] > table.md

A robot is *used* where a character can be derived from it, and equal to what MuJoCo alone says of the same file: body
positions in random poses, masses, ranges, gains and torque limits. It is *silent* where the two differ without a note.
A clip is used where one of the characters can have it. What is refused stands with its reason, a traceback as one.
Each file is read by a process of its own, for a minute at most. Nothing is written but the report.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import sys
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

ROBOTS = (".xml", ".urdf")
LIMIT = 60.0  # s a file
CLOSE = 1e-4  # m, and relative of all else
POSES = 5
KINDS = ("used", "refused", "no robot", "silent", "traceback")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--clips", action="store_true", help="read clips, not robots")
    parser.add_argument("--character", action="append", default=[], type=Path, metavar="XML", help="to try clips with")
    parser.add_argument("--json", type=Path, help="write the rows there too")
    args = parser.parse_args()
    import mimickit_hydra.assets.add  # noqa: F401 so that each process has it already
    from mimickit_hydra.motion.importers import suffixes

    wanted = tuple(suffixes()) if args.clips else ROBOTS
    files = [f for given in args.folders for f in (sorted(given.rglob("*")) if given.is_dir() else [given])]
    files = [file for file in files if file.is_file() and file.suffix.lower() in wanted]
    read = clip_reader(args.character) if args.clips else robot
    rows = []
    for file in files:
        kind, what = apart(read, file)
        rows.append({"file": str(file), "kind": kind, "what": what})
        print(f"| {'/'.join(file.parts[-3:])} | {kind} | {what} |", flush=True)
    counts = Counter(row["kind"] for row in rows)
    print(f"\n{len(rows)} files: " + ", ".join(f"{counts[kind]} {kind}" for kind in KINDS))
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1))
    return 0


def apart(read: Any, file: Path) -> tuple[str, str]:
    """What ``read`` returns of a file in a process of its own."""
    ours, theirs = multiprocessing.Pipe(duplex=False)
    worker = multiprocessing.get_context("fork").Process(target=_tell, args=(theirs, read, file))
    worker.start()
    theirs.close()
    answer = ("traceback", f"nothing after {LIMIT:.0f} s")
    if ours.poll(LIMIT):
        try:
            answer = ours.recv()
        except EOFError:
            answer = ("traceback", "the process ended")
    worker.kill()
    worker.join()
    return answer


def _tell(pipe: Any, read: Any, file: Path) -> None:
    from mimickit_hydra.errors import UserError

    try:
        answer = read(file)
    except UserError as error:
        text = str(error).replace(str(file.resolve()), file.name).replace(str(file), file.name)
        answer = ("refused", text) if "\n" not in text else ("traceback", f"more than a line: {text}")
    except BaseException as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        answer = ("traceback", f"{type(error).__name__}: {error} ({Path(where.filename).name}:{where.lineno})")
    pipe.send((answer[0], " ".join(answer[1].split()).replace("|", "/")))


# ------------------------------------------------------------------------------------------------------------- robots


def robot(file: Path) -> tuple[str, str]:
    """Derive a character of a robot's file, and hold it against MuJoCo's own model."""
    from mimickit_hydra.assets.add import derive
    from mimickit_hydra.motion.urdf import mjcf_of_urdf

    if not _is_robot(file):
        return "no robot", "holds no body that moves"
    notes: list[str] = []
    if file.suffix.lower() == ".urdf":
        text, notes = mjcf_of_urdf(file)
        made = Path("/tmp") / f"field_{multiprocessing.current_process().pid}.xml"
        made.write_text(text)
        try:
            added = derive(made, "r", str(made))
        finally:
            made.unlink()
    else:
        added = derive(file, "r", str(file))
    notes = [*notes, *added.notes]
    facts = f"{added.robot.masses.sum():.1f} kg, {added.robot.num_dofs} DoFs, {len(added.anatomy.feet)} feet, "
    facts += f"{len(added.anatomy.hands)} hands, gains {added.gains or 'of the file'}"
    said = f"; {len(notes)} notes: {'; '.join(notes)}" if notes else ""
    if file.suffix.lower() == ".xml":
        differs = _differs(file, added)
        if differs is None:
            return "used", f"{facts}; not compared{said}"
        if differs:
            return ("used" if notes else "silent"), f"{facts}; differs: {differs}{said}"
    return "used", facts + said


def _is_robot(file: Path) -> bool:
    from xml.etree import ElementTree as ET

    with contextlib.suppress(ET.ParseError, OSError, ValueError):
        top = ET.parse(file).getroot()
        if top.tag not in ("mujoco", "robot"):
            return False
        return any(part.tag in ("joint", "freejoint", "include") for part in top.iter())
    return True


def _differs(file: Path, added: Any) -> str | None:
    """What MuJoCo's own model of the file says otherwise; None without one, or with other bodies or ball joints."""
    import mujoco
    import torch

    from mimickit_hydra.motion import rotations as rot

    try:
        spec = mujoco.MjSpec.from_file(str(file))
        spec.compiler.fusestatic = False
        model = spec.compile()
    except ValueError:
        return None
    robot, character, data = added.robot, added.character, mujoco.MjData(model)
    names = [name for name in robot.body_names if mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_BODY, name) >= 0]
    if len(names) != len(robot.body_names) or (robot.dof_dims > 1).any():
        return None
    ids = [model.body(name).id for name in names]
    off = []
    if not np.allclose(model.body_mass[ids], robot.masses, rtol=CLOSE):
        off.append(f"masses {model.body_mass[ids].sum():.4g} kg")
    joints = [int(model.body_jntadr[b]) for b, dim in zip(ids, robot.dof_dims, strict=True) if dim]
    rng, worst = np.random.default_rng(0), 0.0
    for _ in range(POSES):
        q = rng.uniform(np.maximum(robot.dof_low, -1.0), np.minimum(robot.dof_high, 1.0))
        data.qpos[:] = model.qpos0
        data.qpos[model.jnt_qposadr[joints]] = q
        mujoco.mj_kinematics(model, data)
        at, turned = data.xpos[ids[0]], np.roll(data.xquat[ids[0]], -1)
        root, turn = (torch.tensor(value, dtype=torch.float32) for value in (at, turned))
        dofs = character.dof_to_rot(torch.tensor(q, dtype=torch.float32))
        ours = character.forward_kinematics(root, rot.quat_unit(turn), dofs)[0].numpy()
        worst = max(worst, float(np.abs(ours - data.xpos[ids]).max()))
    if worst > CLOSE:
        off.append(f"bodies by {worst * 1e3:.2f} mm")
    for dof, joint in enumerate(joints):
        off += _joint_differs(model, joint, robot, dof)
    return ", ".join(off[:4])


def _joint_differs(model: Any, joint: int, robot: Any, dof: int) -> list[str]:
    name = model.joint(joint).name
    off = []
    if model.jnt_limited[joint] and not np.allclose(model.jnt_range[joint], [robot.dof_low[dof], robot.dof_high[dof]]):
        off.append(f"range of {name}")
    drives = [a for a in range(model.nu) if int(model.actuator_trnid[a, 0]) == joint and model.actuator_trntype[a] == 0]
    if len(drives) == 1:
        a = drives[0]
        gear, affine = float(model.actuator_gear[a, 0]), int(model.actuator_biastype[a]) == 1
        kp = -float(model.actuator_biasprm[a, 1]) * gear**2 if affine else 0.0
        if kp and not np.isclose(kp, robot.kp[dof], rtol=CLOSE):
            off.append(f"gain of {name} {kp:g}, here {robot.kp[dof]:g}")
        if model.actuator_forcelimited[a] and not model.jnt_actfrclimited[joint]:
            most = float(np.abs(gear * model.actuator_forcerange[a]).max())
            if robot.torque_limits[dof] > most * (1 + CLOSE):
                off.append(f"limit of {name} {most:g}, here {robot.torque_limits[dof]:g}")
    return off


# -------------------------------------------------------------------------------------------------------------- clips


def clip_reader(files: list[Path]) -> Any:
    """Read a clip for the first of the characters that can have it."""
    from mimickit_hydra.motion.character import CharacterModel

    characters = [CharacterModel.from_file(file) for file in files]

    def read(file: Path) -> tuple[str, str]:
        from mimickit_hydra.errors import UserError
        from mimickit_hydra.motion.clip import MotionClip
        from mimickit_hydra.motion.importers import import_clips, read_motions

        who, found = read_motions(file)
        if all(isinstance(one, MotionClip) for one in found):
            return "used", f"{who}: " + "; ".join(_facts(clip) for clip in found[:2])
        refusals = []
        for character in characters:
            try:
                made = import_clips(file, character=character)
            except UserError as error:
                refusals.append(str(error))
                continue
            return "used", f"{who}: {len(made)} for {character.name}; {_facts(made[0][0])}; {'; '.join(made[0][1])}"
        raise UserError(f"{who}: " + " // ".join(dict.fromkeys(refusals)))

    return read


def _facts(clip: Any) -> str:
    return f"{clip.num_frames} frames at {clip.fps:g} Hz, {clip.frames.shape[1] - 6} coordinates"


if __name__ == "__main__":
    raise SystemExit(main())
