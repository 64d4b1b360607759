"""Every format of a robot's motion, written from a known trajectory and read back: MuJoCo's kinematics is the judge."""

from __future__ import annotations

import collections
import enum
import json
import pickle
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import mujoco
import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from mimickit_hydra.errors import UserError
from mimickit_hydra.motion import rotations as rot
from mimickit_hydra.motion.character import CharacterModel
from mimickit_hydra.motion.clip import LoopMode, MotionClip
from mimickit_hydra.motion.importers import import_clip, import_clips, importer_of
from mimickit_hydra.motion.importers.recording import Wishes

LEG = """<body name="{0}_hip" pos="0 {1} -.1"><joint name="{0}_hip_joint" axis="0 1 0" range="-2 2"/>
  <geom size=".03" mass="1"/><body name="{0}_knee" pos="0.01 0 -.4" euler="0.1 0.2 0">
  <joint name="{0}_knee_joint" axis="0 0.6 0.8" pos="0 0 .02" range="-2 2"/><geom size=".03" mass="1"/>
  <body name="{0}_foot" pos="0 0 -.4"><joint name="{0}_foot_joint" axis="1 0 0" range="-2 2"/>
  <geom size=".03" mass="1"/></body></body></body>"""
HEAD = """<body name="torso" pos="0 0 .2"><joint name="waist_joint" axis="0 0 1" range="-2 2"/>
  <geom size=".1" mass="1"/>  <body name="head" pos="0.02 0 .3"><geom size=".1" mass="1"/></body></body>"""
MJCF = f"""<mujoco><compiler angle="radian"/><worldbody><body name="pelvis"><freejoint name="root"/>
<geom size=".1" mass="5"/>
{LEG.format("left", 0.1)}{LEG.format("right", -0.1)}{HEAD}</body></worldbody></mujoco>"""
JOINTS = ["left_hip_joint", "left_knee_joint", "left_foot_joint", "right_hip_joint", "right_knee_joint",
          "right_foot_joint", "waist_joint"]  # fmt: skip
BODIES = ["pelvis", "left_hip", "left_knee", "left_foot", "right_hip", "right_knee", "right_foot", "torso", "head"]
WIDE_JOINTS = [0, 3, 6, 1, 4, 2, 5]  # breadth-first, as PhysX: column k is joint WIDE_JOINTS[k]
WIDE_BODIES = [0, 1, 4, 7, 2, 5, 8, 3, 6]
MOVING = [0, 1, 2, 3, 4, 5, 6, 7]  # what is left once the head is part of the torso
WIDE_MOVING = [0, 1, 4, 7, 2, 5, 3, 6]
FRAMES, RATE = 40, 50.0


class Truth:
    """A trajectory of the robot, and MuJoCo's body poses of it."""

    def __init__(self, scale: float = 1.0) -> None:
        t = np.arange(FRAMES)[:, None] / RATE
        self.q = scale * np.sin(t * np.arange(2, 9) + np.arange(7)) * 0.8
        self.pos = np.hstack([0.5 * t, 0.1 * np.sin(3 * t), 0.9 + 0.05 * np.cos(5 * t)])
        self.rot = Rotation.from_euler("ZYX", np.hstack([1.5 * t, 0.1 * np.sin(4 * t), 0.05 * np.cos(3 * t)]))
        self.xyzw = self.rot.as_quat()
        self.wxyz = np.roll(self.xyzw, 1, axis=1)
        model = mujoco.MjModel.from_xml_string(MJCF)
        data = mujoco.MjData(model)
        pos, quat = [], []
        for p, r, q in zip(self.pos, self.wxyz, self.q, strict=True):
            data.qpos[:] = [*p, *r, *q]
            mujoco.mj_kinematics(model, data)
            pos.append(data.xpos[1:].copy())
            quat.append(data.xquat[1:].copy())
        self.body_pos, self.body_wxyz = np.array(pos), np.array(quat)


TRUTH = Truth()


@pytest.fixture(scope="module")
def robot(tmp_path_factory: pytest.TempPathFactory) -> CharacterModel:
    file = tmp_path_factory.mktemp("robot") / "two_legs.xml"
    file.write_text(MJCF)
    return CharacterModel.from_file(file)


def holds(clip: MotionClip, character: CharacterModel, truth: Truth = TRUTH, fps: float = RATE) -> None:
    """Joints, root, rate, and the positions of all bodies are those of the truth."""
    assert clip.fps == pytest.approx(fps, rel=1e-6)
    np.testing.assert_allclose(clip.frames[:, 6:], truth.q, atol=1e-5)
    np.testing.assert_allclose(clip.frames[:, :3], truth.pos, atol=1e-5)
    f = torch.from_numpy(clip.frames)
    pos, quat = character.forward_kinematics(f[:, :3], rot.exp_map_to_quat(f[:, 3:6]), character.dof_to_rot(f[:, 6:]))
    np.testing.assert_allclose(pos.numpy(), truth.body_pos, atol=1e-4)
    turned = torch.from_numpy(np.roll(truth.body_wxyz, -1, axis=-1)).float()
    assert float(rot.quat_diff_angle(quat, turned).max()) < 1e-3


def csv(path: Path, quat: np.ndarray, header: str = "", joints: np.ndarray | None = None, first: Any = None) -> Path:
    rows = np.hstack([TRUTH.pos if first is None else first, quat, TRUTH.q if joints is None else joints])
    np.savetxt(path, rows, delimiter=",", header=header, comments="", fmt="%.8f")
    return path


def write_lafan(folder: Path) -> Path:
    return csv(folder / "a.csv", TRUTH.xyzw)


def write_wxyz(folder: Path) -> Path:
    return csv(folder / "a.csv", TRUTH.wxyz)


def write_named(folder: Path) -> Path:
    names = [*"xyz", "qw", "qx", "qy", "qz", *(JOINTS[j] for j in WIDE_JOINTS)]
    return csv(folder / "a.csv", TRUTH.wxyz, ",".join(names), TRUTH.q[:, WIDE_JOINTS])


def write_bones(folder: Path) -> Path:
    names = [
        "Frame",
        *(f"root_{kind}{axis}" for kind in ("translate", "rotate") for axis in "XYZ"),
        *(f"{j}_dof" for j in JOINTS),
    ]
    first = np.hstack([np.arange(FRAMES)[:, None], TRUTH.pos * 100])
    angles = TRUTH.rot.as_euler("xyz", degrees=True)
    return csv(folder / "a.csv", angles, ",".join(names), np.degrees(TRUTH.q), first)


def write_gmr(folder: Path) -> Path:
    fields = {"fps": RATE, "root_pos": TRUTH.pos, "root_rot": TRUTH.xyzw, "dof_pos": TRUTH.q, "local_body_pos": None,
              "link_body_list": None}  # fmt: skip
    (folder / "a.pkl").write_bytes(pickle.dumps(fields))
    return folder / "a.pkl"


def mjlab(folder: Path, joints: list[int], bodies: list[int], truth: Truth = TRUTH, **more: Any) -> Path:
    np.savez(
        folder / "a.npz", fps=np.array([RATE]), joint_pos=truth.q[:, joints].astype("f4"), joint_vel=truth.q * 0,
        body_pos_w=truth.body_pos[:, bodies].astype("f4"), body_quat_w=truth.body_wxyz[:, bodies].astype("f4"),
        body_lin_vel_w=truth.body_pos[:, bodies] * 0, body_ang_vel_w=truth.body_pos[:, bodies] * 0, **more,
    )  # fmt: skip
    return folder / "a.npz"


def write_mjlab(folder: Path) -> Path:
    return mjlab(folder, list(range(7)), list(range(9)))


def write_mjlab_merged(folder: Path) -> Path:
    return mjlab(folder, list(range(7)), MOVING)


def write_beyondmimic(folder: Path) -> Path:
    return mjlab(folder, WIDE_JOINTS, WIDE_BODIES)


def write_beyondmimic_merged(folder: Path) -> Path:
    return mjlab(folder, WIDE_JOINTS, WIDE_MOVING)


def write_mjlab_names(folder: Path) -> Path:
    names = {
        "joint_names": np.array([JOINTS[j] for j in WIDE_JOINTS]),
        "body_names": np.array([BODIES[b] for b in WIDE_BODIES]),
    }
    return mjlab(folder, WIDE_JOINTS, WIDE_BODIES, **names)


def write_phc(folder: Path, compress: int = 0) -> Path:
    clip = {"root_trans_offset": TRUTH.pos, "pose_aa": TRUTH.q * 0, "dof": TRUTH.q[..., None], "root_rot": TRUTH.xyzw,
            "fps": int(RATE)}  # fmt: skip
    joblib.dump({"walk": clip}, folder / "a.pkl", compress=compress)
    return folder / "a.pkl"


def write_phc_packed(folder: Path) -> Path:
    return write_phc(folder, 3)


def write_protomotions(folder: Path) -> Path:
    fields = {"fps": RATE, "dof_pos": TRUTH.q, "dof_vel": TRUTH.q * 0, "rigid_body_pos": TRUTH.body_pos,
              "rigid_body_rot": np.roll(TRUTH.body_wxyz, -1, axis=-1)}  # fmt: skip
    torch.save({k: torch.tensor(v) if isinstance(v, np.ndarray) else v for k, v in fields.items()}, folder / "a.motion")
    return folder / "a.motion"


def write_isaaclab(folder: Path) -> Path:
    bodies = [0, 3, 6]
    np.savez(
        folder / "a.npz", fps=np.int64(RATE), dof_names=np.array([JOINTS[j] for j in WIDE_JOINTS]),
        body_names=np.array([BODIES[b] for b in bodies]), dof_positions=TRUTH.q[:, WIDE_JOINTS],
        dof_velocities=TRUTH.q * 0, body_positions=TRUTH.body_pos[:, bodies], body_rotations=TRUTH.body_wxyz[:, bodies],
        body_linear_velocities=TRUTH.body_pos[:, bodies], body_angular_velocities=TRUTH.body_pos[:, bodies],
    )  # fmt: skip
    return folder / "a.npz"


def write_loco(folder: Path) -> Path:
    order = [0, *(1 + j for j in WIDE_JOINTS)]
    np.savez(
        folder / "a.npz", qpos=np.hstack([TRUTH.pos, TRUTH.wxyz, TRUTH.q[:, WIDE_JOINTS]]), qvel=np.zeros((FRAMES, 13)),
        joint_names=np.array(["root", *JOINTS])[order], jnt_type=np.array([0] + [3] * 7), njnt=8, frequency=RATE,
        split_points=np.array([0, FRAMES]), metadata=np.array(None),
    )  # fmt: skip
    return folder / "a.npz"


def write_loco_old(folder: Path, **more: np.ndarray) -> Path:
    columns = {f"q_{name}": TRUTH.q[:, j] for j, name in enumerate(JOINTS)}
    place = {f"q_pelvis_t{axis}": TRUTH.pos[:, k] for k, axis in enumerate("xyz")}
    np.savez(folder / "a.npz", split_points=np.array([0, FRAMES]), **{**place, **columns, **more})
    return folder / "a.npz"


def write_poselib(folder: Path, local: bool = True) -> Path:
    parents = [-1, 0, 1, 2, 0, 4, 5, 0, 7]
    world = (
        Rotation.from_quat(np.roll(TRUTH.body_wxyz, -1, axis=-1).reshape(-1, 4)).as_matrix().reshape(FRAMES, 9, 3, 3)
    )
    turns = world.copy()
    if local:
        turns[:, 1:] = world[:, parents[1:]].transpose(0, 1, 3, 2) @ world[:, 1:]
    quats = Rotation.from_matrix(turns.reshape(-1, 3, 3)).as_quat().reshape(FRAMES, 9, 4)

    def tensor(x: np.ndarray) -> dict[str, Any]:
        return {"arr": x, "context": {"dtype": str(x.dtype)}}

    tree = {
        "node_names": BODIES,
        "parent_indices": tensor(np.array(parents)),
        "local_translation": tensor(np.zeros((9, 3))),
    }
    fields = {
        "rotation": tensor(quats),
        "root_translation": tensor(TRUTH.pos),
        "global_velocity": tensor(np.zeros(3)),
        "skeleton_tree": collections.OrderedDict(tree),
        "is_local": local,
        "fps": RATE,
        "__name__": "SkeletonMotion",
    }
    np.save(folder / "a.npy", collections.OrderedDict(fields), allow_pickle=True)
    return folder / "a.npy"


def write_poselib_world(folder: Path) -> Path:
    return write_poselib(folder, local=False)


WRITERS: dict[str, tuple[Callable[[Path], Path], str, float | None, str]] = {
    # name: writer, importer, rate that the file does not say, what the report says
    "lafan": (write_lafan, "lafan1", RATE, "quaternions: xyzw, by a mean tilt"),
    "wxyz": (write_wxyz, "lafan1", RATE, "quaternions: wxyz, by a mean tilt"),
    "named": (write_named, "lafan1", RATE, "by the names of the joints"),
    "bones": (write_bones, "lafan1", RATE, "units: cm and degrees"),
    "gmr": (write_gmr, "gmr", None, "depth-first, as GMR writes it"),
    "mjlab": (write_mjlab, "mjlab", None, "depth-first; by forward kinematics"),
    "mjlab_merged": (write_mjlab_merged, "mjlab", None, "depth-first; by forward kinematics"),
    "beyondmimic": (write_beyondmimic, "mjlab", None, "breadth-first; by forward kinematics"),
    "beyondmimic_merged": (write_beyondmimic_merged, "mjlab", None, "breadth-first; by forward kinematics"),
    "mjlab_names": (write_mjlab_names, "mjlab", None, "by the names of the joints"),
    "phc": (write_phc, "phc", None, "depth-first, as PHC writes it"),
    "phc_packed": (write_phc_packed, "phc", None, "depth-first, as PHC writes it"),
    "protomotions": (write_protomotions, "protomotions", None, "depth-first"),
    "isaaclab": (write_isaaclab, "isaaclab_amp", None, "root: body pelvis"),
    "loco": (write_loco, "loco_mujoco", None, "by the names of the joints"),
    "poselib": (write_poselib, "poselib", None, "by the names of the bodies"),
    "poselib_world": (write_poselib_world, "poselib", None, "by the names of the bodies"),
}


@pytest.mark.parametrize("name", WRITERS)
def test_formats(tmp_path: Path, robot: CharacterModel, name: str) -> None:
    write, importer, fps, said = WRITERS[name]
    path = write(tmp_path)
    assert importer_of(path) == importer
    ((clip, notes),) = import_clips(path, "", robot, Wishes(fps))
    holds(clip, robot)
    assert any(said in note for note in notes), notes


def test_a_recording_without_a_robot_is_refused_with_the_command(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"of which robot\? mimickit motion import .*a\.csv --character NAME"):
        import_clip(write_lafan(tmp_path))


def test_names_of_more_bodies_than_there_are_poses_are_refused(tmp_path: Path, robot: CharacterModel) -> None:
    path = mjlab(tmp_path, list(range(7)), list(range(9)), body_names=np.array([*BODIES, "tail"]))
    with pytest.raises(UserError, match="its names and poses are of 9, 10 bodies; they must be of one number"):
        import_clip(path, character=robot)


def test_an_order_that_nothing_tells_is_asked_for(tmp_path: Path, robot: CharacterModel) -> None:
    """Body poses that fit every order, or none."""
    still = Truth(0.0)
    truth = mjlab(tmp_path, list(range(7)), list(range(9)), still)
    clip = import_clip(truth, character=robot)  # every order gives the same poses
    holds(clip, robot, still)
    fields = dict(np.load(mjlab(tmp_path, list(range(7)), list(range(9)), Truth(-1.0))))
    fields["joint_pos"] = TRUTH.q
    path = tmp_path / "other.npz"
    np.savez(path, **fields)
    with pytest.raises(UserError, match=r"say --order mujoco .* or --order isaac") as error:
        import_clip(path, character=robot)
    assert "\n" not in str(error.value)
    ((asked, _),) = import_clips(path, "", robot, Wishes(order="isaac"))
    np.testing.assert_allclose(asked.frames[:, 6:][:, WIDE_JOINTS], fields["joint_pos"], atol=1e-6)


def test_a_quaternion_that_nothing_tells_is_asked_for(tmp_path: Path, robot: CharacterModel) -> None:
    """A robot that faces x all the time, or lies, can be read both ways."""
    for quat in (np.tile([0.0, 0.0, 0.0, 1.0], (FRAMES, 1)), np.tile([0.0, 0.7071, 0.0, 0.7071], (FRAMES, 1))):
        path = csv(tmp_path / "a.csv", quat)
        with pytest.raises(UserError, match=r"say --quat xyzw .* or --quat wxyz"):
            import_clip(path, character=robot)
        ((clip, _),) = import_clips(path, "", robot, Wishes(quat="xyzw"))
        np.testing.assert_allclose(clip.frames[:, 4], 2 * np.arctan2(quat[:, 1], quat[:, 3]), atol=1e-4)


def test_one_that_falls_is_told_by_the_floor(tmp_path: Path, robot: CharacterModel) -> None:
    """Where a robot leans far its tilt tells nothing; its lowest body does."""
    falls = Rotation.from_euler("ZY", np.linspace([0.3, 0.6], [2.5, 1.5], FRAMES))
    turned = torch.from_numpy(falls.as_quat()).float()
    joints = robot.dof_to_rot(torch.zeros(FRAMES, robot.num_dofs))
    low = robot.forward_kinematics(torch.zeros(FRAMES, 3), turned, joints)[0][..., 2].amin(1).numpy()
    place = np.stack([TRUTH.pos[:, 0], TRUTH.pos[:, 1], -low], axis=1)
    for quats, order in ((falls.as_quat(), "xyzw"), (np.roll(falls.as_quat(), 1, axis=1), "wxyz")):
        rows = np.hstack([place, quats, np.zeros((FRAMES, 7))])
        np.savetxt(tmp_path / "a.csv", rows, delimiter=",", fmt="%.8f")
        ((clip, notes),) = import_clips(tmp_path / "a.csv", "", robot)
        assert any(note.startswith(f"quaternions: {order}, by a floor") for note in notes), notes
        off = Rotation.from_rotvec(clip.frames[:, 3:6]) * falls.inv()
        assert off.magnitude().max() < 1e-5


def test_a_rate_that_is_not_said_is_asked_for(tmp_path: Path, robot: CharacterModel) -> None:
    with pytest.raises(UserError, match="does not say its frame rate; say --fps"):
        import_clip(write_loco_old(tmp_path), character=robot)


ROOT_JOINTS = """<joint name="pelvis_tx" type="slide" axis="1 0 0"/><joint name="pelvis_tz" type="slide" axis="0 1 0"/>
  <joint name="pelvis_ty" type="slide" axis="0 0 1"/><joint name="pelvis_tilt" axis="0 -1 0"/>
  <joint name="pelvis_list" axis="1 0 0"/><joint name="pelvis_rotation" axis="0 0 1"/>"""


@pytest.mark.parametrize("said", ["velocities", "nothing"])
def test_a_root_that_moves_by_joints_of_its_file(tmp_path: Path, robot: CharacterModel, said: str) -> None:
    """LocoMuJoCo before 1.0: ``ty`` leads up from where the file has the root, and ``tilt`` is about -y."""
    text = MJCF.replace('<freejoint name="root"/>', ROOT_JOINTS).replace('name="pelvis"', 'name="pelvis" pos="0 0 0.7"')
    (tmp_path / "own.xml").write_text(text)
    own = CharacterModel.from_file(tmp_path / "own.xml")
    tilt, lean, turn = TRUTH.rot.as_euler("YXZ").T
    x, y, z = TRUTH.pos.T
    root = {"tx": x, "tz": y, "ty": z - 0.7, "tilt": -tilt, "list": lean, "rotation": turn}
    columns = {f"q_pelvis_{name}": column for name, column in root.items()}
    speeds = {f"d{key}": np.gradient(column, 1 / RATE) for key, column in columns.items() if said == "velocities"}
    path = write_loco_old(tmp_path, **columns, **speeds)
    ((clip, notes),) = import_clips(path, "", own, Wishes(None if said == "velocities" else RATE))
    holds(clip, own)
    assert f"frame rate: 50 Hz, {'by its velocities' if said == 'velocities' else 'as you say'}" in notes
    with pytest.raises(UserError, match=r"tells its root by the joints pelvis_tx, .* which two_legs has not; make a"):
        import_clips(path, "", robot, Wishes(RATE))


def test_a_root_of_which_only_the_place_is_told_is_upright(tmp_path: Path, robot: CharacterModel) -> None:
    ((clip, notes),) = import_clips(write_loco_old(tmp_path), "", robot, Wishes(RATE))
    np.testing.assert_allclose(clip.frames[:, :3], TRUTH.pos, atol=1e-6)
    np.testing.assert_array_equal(clip.frames[:, 3:6], 0.0)
    np.testing.assert_allclose(clip.frames[:, 6:], TRUTH.q, atol=1e-6)
    assert "root rotation: the file has none; upright, facing x" in notes


def test_several_clips_of_a_file(tmp_path: Path, robot: CharacterModel) -> None:
    clip = {"root_trans_offset": TRUTH.pos, "dof": TRUTH.q, "root_rot": TRUTH.xyzw, "fps": RATE}
    joblib.dump({"a": clip, "b": clip}, tmp_path / "two.pkl")
    assert [one.name for one, _ in import_clips(tmp_path / "two.pkl", "", robot)] == ["a", "b"]
    with pytest.raises(UserError, match="holds 2 clips; import them: mimickit motion import"):
        import_clip(tmp_path / "two.pkl", character=robot)


def test_joints_of_another_robot(tmp_path: Path, robot: CharacterModel) -> None:
    path = csv(tmp_path / "a.csv", TRUTH.xyzw, joints=TRUTH.q[:, :5])
    with pytest.raises(UserError, match=r"5 joints and character .* has 7: this is a motion of another robot"):
        import_clip(path, character=robot)
    path = csv(tmp_path / "a.csv", TRUTH.xyzw, ",".join([*"xyz", "qx", "qy", "qz", "qw", *JOINTS[:6], "neck_joint"]))
    with pytest.raises(UserError, match="has no joint waist_joint of character"):
        import_clip(path, character=robot)


class StateConversion(enum.Enum):
    """As ProtoMotions calls the order of its files."""

    COMMON = "common"
    SIMULATOR = "simulator"


StateConversion.__module__ = "protomotions.simulator.base_simulator.simulator_state"


def test_protomotions_order_is_an_enum_that_need_not_be_here(
    tmp_path: Path, robot: CharacterModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_protomotions(tmp_path)
    fields = torch.load(path)
    for member in StateConversion:
        with monkeypatch.context() as here:
            for name in ("protomotions", StateConversion.__module__):
                here.setitem(sys.modules, name, types.SimpleNamespace(StateConversion=StateConversion))
            torch.save({**fields, "state_conversion": member}, path)
        if member is StateConversion.COMMON:
            np.testing.assert_allclose(import_clip(path, character=robot).frames[:, 6:], TRUTH.q, atol=1e-6)
        else:
            with pytest.raises(UserError, match=r"found state_conversion 'simulator', .* must be common"):
                import_clip(path, character=robot)


def test_bodies_of_another_model_of_the_robot(tmp_path: Path, robot: CharacterModel) -> None:
    """Joints of a known order need no bodies; where the order is open, the line says what is missing."""
    path = write_protomotions(tmp_path)
    fields = torch.load(path)
    more = {key: torch.cat([fields[key], fields[key][:, :1]], 1) for key in ("rigid_body_pos", "rigid_body_rot")}
    torch.save({**fields, **more}, path)
    ((clip, notes),) = import_clips(path, "", robot)
    np.testing.assert_allclose(clip.frames[:, 6:], TRUTH.q, atol=1e-6)
    assert f"bodies: the file's {len(BODIES) + 1} are not the character's, and are not looked at" in notes
    many = np.concatenate([TRUTH.body_pos, TRUTH.body_pos[:, :1]], axis=1)
    turns = np.concatenate([TRUTH.body_wxyz, TRUTH.body_wxyz[:, :1]], axis=1)
    np.savez(tmp_path / "b.npz", fps=RATE, joint_pos=TRUTH.q, body_pos_w=many, body_quat_w=turns)
    with pytest.raises(UserError, match=r"as many as .*'s, but its 10 bodies are not .*'s 9, .*; say --order mujoco"):
        import_clip(tmp_path / "b.npz", character=robot)
    ((clip, _),) = import_clips(tmp_path / "b.npz", "", robot, Wishes(order="mujoco"))
    np.testing.assert_allclose(clip.frames[:, 6:], TRUTH.q, atol=1e-6)


QUADRUPED = [f"{leg}_{part}" for leg in ("FL", "FR", "RL", "RR") for part in ("hip", "thigh", "calf")]


@pytest.mark.parametrize("width", [19, 61])
def test_quadrupeds(tmp_path: Path, width: int) -> None:
    legs = "".join(
        f'<body name="{leg}_hip"><joint name="{leg}_hip_joint" axis="1 0 0"/><geom size=".1"/><body name="{leg}_thigh">'
        f'<joint name="{leg}_thigh_joint" axis="0 1 0"/><geom size=".1"/><body name="{leg}_calf"><joint '
        f'name="{leg}_calf_joint" axis="0 1 0"/><geom size=".1"/></body></body></body>'
        for leg in ("FL", "FR", "RL", "RR")
    )  # fmt: skip
    (tmp_path / "dog.xml").write_text(
        f'<mujoco><worldbody><body><freejoint/><geom size=".1"/>{legs}</body></worldbody></mujoco>'
    )
    dog = CharacterModel.from_file(tmp_path / "dog.xml")
    q = np.arange(5)[:, None] * 0.01 + np.arange(12) * 0.1
    turns = Rotation.from_rotvec(np.arange(5)[:, None] * [0, 0, 0.2])
    if width == 19:
        turns = turns * Rotation.from_quat([0.5, 0.5, 0.5, 0.5])
    rows = np.hstack([np.ones((5, 3)) * 0.3, turns.as_quat(), q, np.zeros((5, width - 19))])
    path = tmp_path / "trot.txt"
    path.write_text(json.dumps({"LoopMode": "Wrap", "FrameDuration": 0.021, "Frames": rows.tolist()}))
    clip = import_clip(path, character=dog)
    assert (clip.loop_mode, clip.fps) == (LoopMode.WRAP, pytest.approx(1 / 0.021))
    np.testing.assert_allclose(clip.frames[:, 6:], q[:, [3, 4, 5, 0, 1, 2, 9, 10, 11, 6, 7, 8]], atol=1e-6)
    np.testing.assert_allclose(clip.frames[:, 5], np.arange(5) * 0.2, atol=1e-6)


@pytest.mark.parametrize("how", ["exp", "hinges"])
def test_joints_of_three_dofs_by_the_body_poses(tmp_path: Path, humanoid: CharacterModel, how: str) -> None:
    """Isaac Lab's humanoid: three columns are an exponential map or three hinges, which the bodies tell."""
    rng = np.random.default_rng(3)
    columns = rng.uniform(-0.6, 0.6, (12, humanoid.num_dofs))
    exp = columns.copy()
    if how == "hinges":
        for body, dim in enumerate(humanoid.dof_dim):
            if dim == 3:
                at = slice(humanoid.dof_index[body], humanoid.dof_index[body] + 3)
                exp[:, at] = Rotation.from_euler("XYZ", columns[:, at]).as_rotvec()
    root = torch.tensor([0.0, 0.0, 0.9]).expand(12, 3), torch.tensor([0.0, 0.0, 0.0, 1.0]).expand(12, 4)
    pos, quat = humanoid.forward_kinematics(*root, humanoid.dof_to_rot(torch.from_numpy(exp).float()))
    np.savez(
        tmp_path / "a.npz", fps=30, dof_names=np.array(humanoid.dof_columns()), dof_positions=columns,
        body_names=np.array(humanoid.body_names), body_positions=pos.numpy(),
        body_rotations=np.roll(quat.numpy(), 1, axis=-1),
    )  # fmt: skip
    np.testing.assert_allclose(import_clip(tmp_path / "a.npz", character=humanoid).frames[:, 6:], exp, atol=1e-5)


def test_smpl_for_a_body_with_its_joints(tmp_path: Path) -> None:
    """AMASS and PHC for the SMPL humanoid: global rotations with x forward, z up at rest."""
    from mimickit_hydra.config.paths import bundled_data

    smpl = CharacterModel.from_file(bundled_data() / "assets" / "smpl" / "smpl.xml")
    from mimickit_hydra.motion.importers.amass import JOINTS as ORDER
    from mimickit_hydra.motion.importers.amass import PARENTS

    poses = np.random.default_rng(0).uniform(-0.3, 0.3, (5, 24, 3))
    poses[:, 0] += [np.pi / 2, 0, 0]
    trans = np.tile([0.1, 0.2, 0.95], (5, 1))
    np.savez(tmp_path / "a.npz", poses=poses.reshape(5, 72), trans=trans, mocap_framerate=60.0)
    world: list[Any] = []
    for joint, parent in enumerate(PARENTS):
        own = Rotation.from_rotvec(poses[:, joint])
        world.append(own if parent < 0 else world[parent] * own)
    turned = [world[ORDER.index(name)] * Rotation.from_quat([0.5, 0.5, 0.5, 0.5]).inv() for name in smpl.body_names]
    truth = np.stack([one.as_quat() for one in turned], axis=1)
    joblib.dump({"a": {"root_trans_offset": trans, "pose_quat_global": truth, "fps": 60}}, tmp_path / "a.pkl")
    for file in ("a.npz", "a.pkl"):
        clip = import_clip(tmp_path / file, character=smpl)
        assert clip.fps == 60.0
        f = torch.from_numpy(clip.frames)
        _, quat = smpl.forward_kinematics(f[:, :3], rot.exp_map_to_quat(f[:, 3:6]), smpl.dof_to_rot(f[:, 6:]))
        assert float(rot.quat_diff_angle(quat, torch.from_numpy(truth).float()).max()) < 1e-3
        np.testing.assert_allclose(clip.frames[:, :3], trans, atol=1e-6)


def test_nothing_of_a_file_is_run(tmp_path: Path) -> None:
    import os

    class Evil:
        def __reduce__(self) -> Any:
            return os.system, (f"touch {tmp_path}/canary",)

    joblib.dump({"root_trans_offset": Evil()}, tmp_path / "a.pkl")
    np.save(tmp_path / "a.npy", {"skeleton_tree": Evil(), "rotation": 1}, allow_pickle=True)  # type: ignore[arg-type]
    torch.save({"dof_pos": Evil()}, tmp_path / "a.motion")
    for name in ("a.pkl", "a.npy", "a.motion"):
        with pytest.raises(UserError, match="refused"):
            import_clip(tmp_path / name)
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize("fps", [[[1.0] * 9] * 9, "30", {"a": 1}, np.zeros(2), 0, -1.0, float("nan"), 10**400])
def test_a_rate_that_is_none(tmp_path: Path, fps: Any) -> None:
    clip = {"root_trans_offset": TRUTH.pos, "dof": TRUTH.q, "root_rot": TRUTH.xyzw, "fps": fps}
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(clip))
    with pytest.raises(UserError, match=r"fps is no number of frames per second|nothing that joblib has dumped"):
        import_clip(tmp_path / "a.pkl")
