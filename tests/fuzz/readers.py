"""Every reader of files that may come from elsewhere: the files it starts from, how they are changed, how it is called.

A reader returns, or raises what the command line shows as one line. What it returns is used as a run would use it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import os
import pickle
import socket
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import mutate
import numpy as np
import torch

from mimickit_hydra.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [
    str(ROOT),
    str(ROOT / "tests"),
    str(ROOT / "tests" / "agents"),
    str(ROOT / "tests" / "motion" / "importers"),
]

Files = dict[str, bytes]


@dataclasses.dataclass(frozen=True)
class Reader:
    """``seeds`` are sets of files by name, of which the first is read; those in ``changed`` are what is damaged."""

    name: str
    seeds: Callable[[], list[Files]]
    read: Callable[[Path], Any]
    changed: Mapping[str, Callable[..., bytes]]
    names_file: bool = True  # whether its line says in which file the mistake is
    heavy: bool = False  # a tenth of the inputs: it composes a whole run for each


# ---------------------------------------------------------------------------------------------------------- the motions

COLUMNS = 10  # of the small character: root 6, one ball joint, one hinge


def _fields() -> dict[str, Any]:
    return {
        "fps": 30,
        "loop_mode": 1,
        "frames": [[0.01 * row + 0.1 * col for col in range(COLUMNS)] for row in range(4)],
    }


def clip_pickles() -> list[Files]:
    fields = _fields()
    arrays = {**fields, "frames": np.array(fields["frames"]), "fps": np.float64(30)}
    tensors = {**fields, "frames": torch.tensor(fields["frames"])}
    found = [pickle.dumps(fields, protocol=number) for number in (0, 2, 4)]
    return [
        {"clip.pkl": data} for data in (*found, pickle.dumps(arrays), pickle.dumps(arrays, 2), pickle.dumps(tensors))
    ]


def clip_archives() -> list[Files]:
    out = io.BytesIO()
    fields = {
        **_fields(),
        "name": np.array("walk"),
        "source": np.array("here"),
        "frames": np.array(_fields()["frames"]),
    }
    np.savez_compressed(out, allow_pickle=False, **fields)
    plain = io.BytesIO()
    np.savez(plain, allow_pickle=False, **fields)
    return [{"clip.npz": out.getvalue()}, {"clip.npz": plain.getvalue()}]


def clip_texts() -> list[Files]:
    from mimickit_hydra.motion.importers.deepmimic import SOURCE_COLUMNS

    row = [0.033, 0.0, 0.9, 0.0, *[1.0, 0.0, 0.0, 0.0] * 12]
    frames = [[*row, *[0.1] * SOURCE_COLUMNS][:SOURCE_COLUMNS] for _ in range(3)]
    return [{"clip.txt": json.dumps({"Loop": "wrap", "Frames": frames}).encode()}]


def read_clip(path: Path) -> None:
    from mimickit_hydra.checks.clips import _npz_facts
    from mimickit_hydra.motion.importers import import_clip

    if path.suffix == ".npz":
        _npz_facts(path)
    use_clip(import_clip(path))


def recordings(*names: str) -> Callable[[], list[Files]]:
    """Files that the tests of the importers write, by the names of the formats there."""

    def make() -> list[Files]:
        import tempfile

        import test_robots

        found = []
        for name in names:
            with tempfile.TemporaryDirectory() as folder:
                path = getattr(test_robots, f"write_{name}")(Path(folder))
                found.append({f"clip{path.suffix}": path.read_bytes()})
        return found

    return make


def human_files() -> list[Files]:
    import tempfile

    from test_human import write_bvh

    with tempfile.TemporaryDirectory() as folder:
        write_bvh(Path(folder) / "a.bvh")
        return [{"clip.bvh": (Path(folder) / "a.bvh").read_bytes()}]


def amass_files() -> list[Files]:
    def file(**fields: Any) -> Files:
        out = io.BytesIO()
        np.savez(out, trans=np.ones((4, 3)), **fields)
        return {"clip.npz": out.getvalue()}

    poses = 0.1 * np.ones((4, 156))
    return [
        file(poses=poses, mocap_framerate=np.array(120.0), gender=np.array("male"), betas=np.zeros(16)),
        file(root_orient=poses[:, :3], pose_body=poses[:, :63], mocap_frame_rate=np.array(30.0)),
    ]


def quadruped_files() -> list[Files]:
    rows = [[0.1 * k, 0.0, 0.3, 0.0, 0.0, 0.0, 1.0, *[0.1 * k] * 12] for k in range(4)]
    table = {"LoopMode": "Wrap", "FrameDuration": 0.02, "Frames": rows}
    return [{"clip.txt": json.dumps(table).encode()}]


def read_recording(path: Path) -> None:
    from mimickit_hydra.motion.importers import import_clips
    from mimickit_hydra.motion.importers.recording import Wishes

    for clip, notes in import_clips(path, "", _two_legs(), Wishes(30.0, "", "xyzw" if path.suffix == ".csv" else "")):
        assert all(isinstance(note, str) and "\n" not in note for note in notes)
        if clip.frames.shape[1] == 6 + _two_legs().num_dofs:
            use_clip(clip, _two_legs())


def read_skeleton(path: Path) -> None:
    from mimickit_hydra.motion.importers import read_motions

    (motion,) = read_motions(path)[1]
    assert np.isfinite(motion.world()[0]).all()
    assert len(motion.joint_names) == len(motion.parents) == motion.rotations.shape[1]
    assert 0 < motion.fps < 1e6


def read_quadruped(path: Path) -> None:
    from mimickit_hydra.motion.importers import importer_of, read_motions

    if importer_of(path) == "quadruped":
        (found,) = read_motions(path)[1]
        assert np.isfinite(found.root_rot).all()


def use_clip(clip: Any, character: Any = None) -> None:
    from mimickit_hydra.motion.check import check_clip
    from mimickit_hydra.motion.library import MotionLibrary, check_fits

    assert clip.frames.dtype == np.float32
    assert clip.frames.ndim == 2
    assert np.isfinite(clip.frames[:, :6]).all()
    assert not np.isinf(clip.frames).any()
    assert "\n" not in clip.label
    of_columns = _character if clip.frames.shape[1] == COLUMNS else _humanoid
    library = MotionLibrary([clip], [1.0], of_columns() if character is None else character)
    assert torch.isfinite(library.lengths).all()
    assert torch.isfinite(library.frames().root_vel).all()
    frame = library.query(torch.zeros(3, dtype=torch.long), torch.tensor([0.0, 0.05, 1e3]))
    assert torch.isfinite(frame.root_pos).all()
    check_fits(clip, library.character)
    check_clip(clip, library.character)


_kept: dict[str, Any] = {}


def _once(make: Callable[[], Any]) -> Callable[[], Any]:
    def get() -> Any:
        if make.__name__ not in _kept:
            _kept[make.__name__] = make()
        return _kept[make.__name__]

    return get


@_once
def _character() -> Any:
    import tempfile

    from mimickit_hydra.motion.character import CharacterModel

    folder = _kept["folder"] = tempfile.TemporaryDirectory()  # there as long as the process: checks look into the file
    file = Path(folder.name) / "small.xml"
    file.write_bytes(MJCF)
    return CharacterModel.from_file(file)


@_once
def _two_legs() -> Any:
    import tempfile

    from test_robots import MJCF as TWO_LEGS

    from mimickit_hydra.motion.character import CharacterModel

    folder = _kept["two_legs_folder"] = tempfile.TemporaryDirectory()
    file = Path(folder.name) / "two_legs.xml"
    file.write_text(TWO_LEGS)
    return CharacterModel.from_file(file)


@_once
def _humanoid() -> Any:
    from mimickit_hydra.config.paths import bundled_data
    from mimickit_hydra.motion.character import CharacterModel

    return CharacterModel.from_file(bundled_data() / "assets" / "humanoid" / "humanoid.xml")


def datasets() -> list[Files]:
    clip = clip_archives()[0]["clip.npz"]
    text = b"motions:\n  - file: a.npz\n    weight: 1.0\n  - file: b.npz\n    weight: 2\n"
    flow = b'# clips\nmotions: [{file: "a.npz", weight: 1e-1}, {weight: 0, file: b.npz}]\n'
    return [{"set.yaml": data, "a.npz": clip, "b.npz": clip} for data in (text, flow)]


def read_set(path: Path) -> None:
    from mimickit_hydra.motion.library import MotionLibrary

    MotionLibrary.from_file(path, _character())


# ----------------------------------------------------------------------------------------------------------- characters

MJCF = b"""<mujoco model="small">
  <compiler angle="radian" autolimits="true"/>
  <default><joint armature="0.01" damping="5"/><default class="arm"><geom density="900"/></default></default>
  <worldbody><geom name="floor" type="plane" size="5 5 1"/>
    <body name="root" pos="0 0 1"><freejoint name="root"/><geom type="sphere" size="0.1"/>
      <body name="arm" pos="0 0 0.2" quat="1 0 0 0" childclass="arm">
        <joint name="arm_x" axis="1 0 0" range="-1 1"/><joint name="arm_y" axis="0 1 0" range="-1 1"/>
        <joint name="arm_z" axis="0 0 1" range="-1 1"/><geom type="capsule" fromto="0 0 0 0 0 0.3" size="0.04"/>
        <body name="foot" pos="0 0 0.3"><joint name="foot" axis="0 1 0" range="0 2" actuatorfrcrange="-90 90"/>
          <geom type="box" size="0.1 0.1 0.05"/></body>
      </body></body>
  </worldbody>
  <actuator><motor joint="foot" gear="1"/><motor joint="arm_x" ctrlrange="-9 9"/><motor joint="arm_y" ctrlrange="-9 9"/>
  <motor joint="arm_z" ctrlrange="-9 9"/></actuator>
</mujoco>
"""
DEGREES = b"""<?xml version="1.0" encoding="utf-8"?>
<mujoco><asset><mesh name="m" vertex="0 0 0 1 0 0 0 1 0 0 0 1"/></asset><worldbody><body name="a"><joint type="free"/>
<geom type="mesh" mesh="m"/><body name="b" pos="0.1 0 0"><joint axis="0 0 1" limited="true" range="-90 90"/><geom type="cylinder"
size="0.1 0.2" contype="1"/></body><body name="c"><geom type="sphere" size="0.1" pos="0 0 1" quat="0 1 0 0"/></body></body></worldbody>
</mujoco>
"""


def characters() -> list[Files]:
    return [{"body.xml": MJCF}, {"body.xml": DEGREES}]


def read_character(path: Path) -> None:
    """As every run does first: our own reader, and the names of the files inside."""
    from mimickit_hydra.motion.character import CharacterModel

    character = CharacterModel.from_file(path)
    pos, rot = character.forward_kinematics(
        torch.zeros(1, 3),
        torch.tensor([[0.0, 0.0, 0.0, 1.0]]),
        character.dof_to_rot(torch.zeros(1, character.num_dofs)),
    )
    assert torch.isfinite(pos).all()
    assert torch.isfinite(rot).all()


def read_mujoco(path: Path) -> None:
    """What MuJoCo reads: a character that our reader has taken, or an object, for which there is only MuJoCo."""
    import mujoco

    from mimickit_hydra.engines.interface import ObjectSpec, SceneSpec
    from mimickit_hydra.engines.mujoco.model import build_model

    place = {"start_pos": (0.0, 0.0, 1.0), "start_rot": (0.0, 0.0, 0.0, 1.0)}
    scene = SceneSpec([ObjectSpec(name="body", asset_file=str(path), **place)])
    built = build_model(scene, "pos")
    data = mujoco.MjData(built.model)
    mujoco.mj_step(built.model, data)


def read_isaac_gym(path: Path) -> None:
    from mimickit_hydra.engines.interface import ObjectSpec
    from mimickit_hydra.engines.isaac_gym import asset

    found = asset.read_asset(ObjectSpec(name="body", asset_file=str(path)))
    for numbers in (
        found.local_pos,
        found.local_rot,
        found.axes,
        found.dof_low,
        found.kp,
        found.kd,
        found.torque_limits,
    ):
        assert np.isfinite(numbers).all()
    if not asset.is_plain(str(path)):
        assert found.plain
        path.write_text(found.plain, encoding="utf-8")
    asset.has_world_geoms(str(path))
    asset.edited_copy(str(path), str(path.parent / "copy"), is_visual=True)


def read_newton(path: Path) -> None:
    """What Newton's importer makes of a character, on Warp's CPU; nothing is kept in the cache of scenes."""
    from types import SimpleNamespace

    import newton  # noqa: F401
    import warp as wp

    from mimickit_hydra.engines.interface import ObjectSpec, SceneSpec
    from mimickit_hydra.engines.warp import newton_cache
    from mimickit_hydra.engines.warp.newton_scene import build_scene

    wp.config.quiet = True
    newton_cache._path = lambda *_: None  # type: ignore[assignment]
    options = {"control_mode": "pos", "sim_freq": 240, "iterations": 10, "ls_iterations": 10, "impratio": 1.0}
    config = SimpleNamespace(**options, njmax=0, nconmax=0)
    build_scene(config, SceneSpec((ObjectSpec("body", str(path)),)), 2, wp.get_device("cpu"))


def read_usd(path: Path) -> None:
    from mimickit_hydra.engines.interface import ObjectSpec
    from mimickit_hydra.engines.isaac_lab.mjcf_usd import usd_asset

    usd_asset(ObjectSpec("body", str(path)), ball_joints=True, cache_dir=str(path.parent / "cache"))


# -------------------------------------------------------------------------------------------------------------- weights


def _saved(value: Any, **options: Any) -> bytes:
    out = io.BytesIO()
    torch.save(value, out, **options)
    return out.getvalue()


def _toy_agent() -> Any:
    from toy_env import ToyEnv, toy_config

    from mimickit_hydra.agents.ppo_agent import PPOAgent

    torch.manual_seed(0)
    return PPOAgent(toy_config(steps_per_iter=4), ToyEnv(2), "cpu")


@_once
def _agent() -> Any:
    return _toy_agent()


@_once
def _trainer() -> Any:
    from types import SimpleNamespace

    from mimickit_hydra.config.compose import compose, to_run
    from mimickit_hydra.distributed import Comm
    from mimickit_hydra.timers import Timers
    from mimickit_hydra.training.train import Trainer

    agent = _toy_agent()
    parts: Any = SimpleNamespace(agent=agent, env=agent.env, timers=Timers(None))
    stop: Any = None
    run = to_run(compose([]))
    return Trainer(parts, run, Path("x"), Comm(), stop, "")


def models() -> list[Files]:
    return [{"model.pt": _saved(_agent().model_state_dict())}]


def checkpoints() -> list[Files]:
    return [{"checkpoints/ckpt_0000000001.pt": _saved(_trainer().payload())}]


def read_model(path: Path) -> None:
    from types import SimpleNamespace

    from mimickit_hydra.training.run import load_model

    parts: Any = SimpleNamespace(agent=_agent())
    load_model(parts, str(path), alone=True)
    assert torch.isfinite(_agent().act(torch.zeros(2, 6))).all()


def read_checkpoint(path: Path) -> None:
    from mimickit_hydra.training.checkpoint import load_checkpoint

    found = load_checkpoint(path.parent.parent)
    _trainer().restore(found.payload, found.path)


def _prior_texts() -> dict[str, str]:
    text = "num_layers: 1\nnum_attention_heads: 1\nattention_head_dim: 8\nT: 5\n"
    text += "env_config: env_config.yaml\nlr: 1e-4\nmodel_ema: false\nmotion_file: x.pkl\nmodel_name: dmodel\n"
    env = "env_name: smp\nnum_disc_obs_steps: 10\nglobal_obs: false\nroot_height_obs: true\nkey_bodies: [arm, foot]\n"
    return {"diffusion_config.yaml": text, "env_config.yaml": env}


def priors() -> list[Files]:
    from mimickit_hydra.agents.prior import DiffusionPrior
    from mimickit_hydra.agents.prior_config import parse_prior_config

    values = {"num_layers": 1, "num_attention_heads": 1, "attention_head_dim": 8, "T": 5}
    prior = DiffusionPrior(parse_prior_config(values, "seed"), 4)
    model = _saved({name: value.clone() for name, value in prior.state_dict().items()})
    return [{**{name: text.encode() for name, text in _prior_texts().items()}, "model.pt": model}]


def read_prior(path: Path) -> None:
    from mimickit_hydra.agents.prior import load_prior

    prior, window = load_prior(path, path.with_name("model.pt"))
    assert isinstance(window.num_disc_obs_steps, int)
    assert all(isinstance(name, str) for name in window.key_bodies)
    assert torch.isfinite(prior.unnormalize(torch.zeros(1, 2 * prior.channels))).all()


# ------------------------------------------------------------------------------------------------------- MimicKit's files


def arguments() -> list[Files]:
    """The files that MimicKit ships for one run, and notes as they stand in them."""
    import yaml

    shipped = json.loads((ROOT / "tests" / "mimickit" / "data" / "mimickit_configs.json").read_text())
    found = []
    for name in ("deepmimic_humanoid_ppo_args", "amp_humanoid_args"):
        one = shipped[name]
        flags = {**one["args"], **{f"{part}_config": f"{part}.yaml" for part in ("engine", "env", "agent")}}
        files = {
            "args.txt": "# a run\n" + "".join(f"--{key} {value}\n" for key, value in flags.items()) + "# --video true\n"
        }
        files |= {f"{part}.yaml": yaml.safe_dump(one[part], sort_keys=False) for part in ("engine", "env", "agent")}
        found.append({name: text.encode() for name, text in files.items()})
    return found


def read_arguments(path: Path) -> None:
    from mimickit_hydra.mimickit.convert import convert

    convert(path).words()


def read_arguments_alone(path: Path) -> None:
    from mimickit_hydra.mimickit.argfile import read_arg_file, single

    found = read_arg_file(path)
    for name in found.flags:
        if name not in ("devices",):
            single(found, name)


def checkouts() -> list[Files]:
    """A checkout with the files that a config for it may name."""
    root = ROOT / "tests" / "mimickit" / "standin_mimickit"
    code = {f"checkout/{path.relative_to(root)}": path.read_bytes() for path in root.rglob("*.py")}
    prior = {name: text.encode() for name, text in _prior_texts().items()}
    return [{**clips, **prior, **code} for clips in datasets()]


def read_checkout(path: Path) -> None:
    from types import SimpleNamespace

    from mimickit_hydra.mimickit.bridge_config import Files as Named
    from mimickit_hydra.mimickit.bridge_config import write_sections
    from mimickit_hydra.mimickit.checkout import BUILDERS, open_checkout

    folder = path.parent
    checkout = open_checkout(SimpleNamespace(root=str(folder / "checkout"), entry="mimickit/run.py", python=None))
    for section in BUILDERS:
        with contextlib.suppress(UserError):
            checkout.check_builds(section, "other")
    assert list(checkout.unread({"nobody_reads_this": 1}, "env."))
    values = {
        "env": {"motion_file": str(folder / "set.yaml")},
        "agent": {"smp_prior_cfg": str(folder / "diffusion_config.yaml")},
    }
    files = Named(checkout, [str(folder)], folder / "out")
    write_sections({name: files.localise(value, name) for name, value in values.items()}, folder)


# ------------------------------------------------------------------------------------------------------ runs and sweeps

LOG = (
    b"Iteration                Wall_Time                Samples                  Test_Return              Train_Return\n"
    b"0                        0.001                    32                       1.5                      1.25\n"
    b"1                        0.002                    64                       nan                      1.5\n"
    b"2                        0.003                    96                       2.5                      2.5\n"
)


@_once
def _run_files() -> Files:
    from mimickit_hydra.config.compose import compose, resolved_yaml, to_run
    from mimickit_hydra.runs.saved import choices_header
    from mimickit_hydra.runs.snapshot import freeze

    cfg = compose(["num_envs=8"], with_hydra=True)
    choices = dict(cfg.hydra.runtime.choices)
    saved = choices_header(choices) + resolved_yaml(cfg)
    return {"config.yaml": saved.encode(), "frozen.yaml": freeze(to_run(cfg), choices, ["num_envs=8"]).text.encode()}


def saved_runs() -> list[Files]:
    config = _run_files()["config.yaml"]
    return [{"config.yaml": config}, {"config.yaml": b"\n".join(config.split(b"\n")[2:])}]


def read_saved(path: Path) -> None:
    from mimickit_hydra.runs.saved import read_run

    before = os.environ.get("MIMICKIT_CONF")
    try:
        found = read_run(path.parent)
        assert all(isinstance(word, str) for word in found.overrides)
    finally:
        _put_back("MIMICKIT_CONF", before)


def _put_back(name: str, value: str | None) -> None:
    os.environ.pop(name, None)
    if value is not None:
        os.environ[name] = value


def frozen_runs() -> list[Files]:
    return [{"frozen.yaml": _run_files()["frozen.yaml"]}]


def read_frozen_run(path: Path) -> None:
    from mimickit_hydra.runs.snapshot import read_frozen

    found = read_frozen(path)
    assert all(isinstance(word, str) for word in found.overrides)


def recorded_runs() -> list[Files]:
    """A run that has started twice, with what it recorded of its files each time."""
    entry = {"key": "env.motion_file", "name": "a.npz", "owner": "env.motion_file", "path": "/tmp/a.npz",
             "sha256": "0" * 64, "size": 10, "mtime_ns": 1}  # fmt: skip
    record: Files = {
        "files.json": json.dumps([entry]).encode(), "overrides.txt": b"num_envs=8\n", "versions.json": b'{"python": "3"}',
        "config.yaml": b"num_envs: 8\n", "git.txt": b"abc", "git.diff": b"",
    }  # fmt: skip
    return [{**record, **{f"starts/1/{name}": content for name, content in record.items()}, "frozen.yaml": b"a: 1\n"}]


def read_record(path: Path) -> None:
    from mimickit_hydra.runs import directory
    from mimickit_hydra.runs.directory import newest_start, write_run_files
    from mimickit_hydra.runs.files import read_files
    from mimickit_hydra.training.checkpoint import put_best_aside

    directory.git_state = lambda: ("", "")  # nobody asks git
    for folder in (path.parent, newest_start(path.parent)):
        for record in read_files(folder):
            assert not record.is_at(Path(record.path))
    earlier = write_run_files(path.parent, "num_envs: 9\n", ["num_envs=9"])
    assert earlier is None or earlier == newest_start(path.parent)
    put_best_aside(path.parent, newest_start(path.parent))
    assert read_files(path.parent) == []


def run_states() -> list[Files]:
    from mimickit_hydra.runs.state import RunState

    host = socket.gethostname()
    state = dataclasses.asdict(RunState("running", 1, host, "12_3", "slurm", 64, 3.5, 9.0, 1e9, "x", 1e9, 2, 0))
    lock = {"pid": 1, "host": host, "job_id": "7", "since": "2026-01-01T00:00:00"}
    metrics = {"return": 1.0, "success_rate": 0.5, "dtw_pose_err": 0.1, "episode_length": 30.0}
    config = b"engine:\n  engine_name: mujoco\nmethod:\n  name: deepmimic\nrand_seed: 5\n"
    files: dict[str, Any] = {
        "state.json": state, "run.lock": lock, "runner.json": {"pid": 1, "host": host}, "metrics.json": metrics,
        "checkpoints/best.json": {"metric": 1.5, "iteration": 3}, "versions.json": {"python": "3.11.0", "torch": "2.5"},
    }  # fmt: skip
    texts = {name: json.dumps(content).encode() for name, content in files.items()}
    return [{**texts, "log.txt": LOG, "config.yaml": config}, {**texts, "frozen.yaml": config}]


def read_states(path: Path) -> None:
    from mimickit_hydra.cli.status import _doing, _record
    from mimickit_hydra.runs import find
    from mimickit_hydra.runs.directory import add_versions
    from mimickit_hydra.runs.find import find_runs
    from mimickit_hydra.runs.jobs import Jobs, living_runner
    from mimickit_hydra.runs.lock import RunLock
    from mimickit_hydra.runs.state import is_alive, update_state
    from mimickit_hydra.training.checkpoint import read_best
    from mimickit_hydra.view.report_data import collect

    folder = path.parent
    jobs = Jobs()
    jobs.slurm, jobs.tmux = {"12_3": "RUNNING"}, set()
    find.Jobs = lambda: jobs  # type: ignore[misc,assignment]  # nobody asks squeue
    for run in find_runs([folder], jobs):
        _doing(run, jobs)
        json.dumps(_record(run))
        is_alive(run.detail)
    living_runner(folder)
    read_best(folder)
    collect(folder)
    add_versions(folder, "worker", {"python": "3.8"})
    update_state(folder, samples=5)
    with RunLock(folder):
        pass


def logs() -> list[Files]:
    return [{"log.txt": LOG}]


def read_logs(path: Path) -> None:
    from mimickit_hydra.cli.status import logged_samples
    from mimickit_hydra.runs.log_table import read_log
    from mimickit_hydra.training.loggers import TextLogger
    from mimickit_hydra.view.curves import _headline
    from mimickit_hydra.view.report_data import _figures, _line

    table = read_log(path)
    logged_samples(path.parent)
    _figures({}, table)
    _line(table, "Test_Return")
    if len(table.get("Samples", ())):
        _headline(table, "x")
    logger = TextLogger(path, resume=True)
    logger.write({"Test_Return": 1.0, "New": 2.0}, 128)
    assert read_log(path)["Samples"][-1] == 128


def manifests() -> list[Files]:
    text = (
        "# continue this sweep\nformat: 1\ncreated: '2026-01-01T00:00:00+0000'\ncommand: ['num_envs=8,16']\ncwd: /tmp\n"
        "sweeper: basic\ntrials: null\nruns:\n"
        "- {number: 0, dir: a, overrides: [num_envs=8], varied: [num_envs=8], config: a/frozen.yaml}\n"
        "- {number: 1, dir: b, overrides: [num_envs=16], varied: [num_envs=16], config: b/frozen.yaml}\n"
    )
    return [{"sweep.yaml": text.encode()}]


def read_manifest(path: Path) -> None:
    from mimickit_hydra.runs.find import find_runs
    from mimickit_hydra.runs.jobs import Jobs
    from mimickit_hydra.runs.manifest import read_sweep, write_sweep

    jobs = Jobs()
    jobs.slurm, jobs.tmux = None, set()
    find_runs([path.parent], jobs)
    sweep = read_sweep(path)
    for run in sweep.runs:
        assert isinstance(run.number, int)
        assert (sweep.path / run.config).resolve().is_relative_to(path.parent.resolve())
        assert all(isinstance(word, str) for word in (*run.overrides, *run.varied))
    assert all(isinstance(word, str) for word in (*sweep.command, sweep.created, sweep.cwd, sweep.sweeper))
    assert sweep.trials is None or isinstance(sweep.trials, int)
    write_sweep(sweep)
    assert read_sweep(path) == sweep


def presets() -> list[Files]:
    experiment = (
        b"# @package _global_\n# Mine: a test.\ndefaults:\n  - override /method@_global_.method: amp\n"
        b"  - override /motion@_global_.motion: humanoid_run\nnum_envs: 16\nagent:\n  discount: 0.9\n  model:\n    action_std: 0.1\n"
    )
    motion = b"# A walk.\ndefaults:\n  - base_motion\n  - _self_\nname: mine\ncharacter: humanoid\nmotion_file: data/motions/humanoid/humanoid_walk.pkl\n"
    return [
        {"experiment/mine.yaml": experiment, "motion/mine.yaml": motion},
        {"motion/mine.yaml": motion, "experiment/mine.yaml": experiment},
    ]


def read_preset(path: Path) -> None:
    from mimickit_hydra.config.compose import compose, to_run
    from mimickit_hydra.config.groups import groups
    from mimickit_hydra.config.roots import CONF_ENV_VAR

    before = os.environ.get(CONF_ENV_VAR)
    try:
        os.environ[CONF_ENV_VAR] = str(path.parent.parent)
        for group in ("experiment", "motion"):
            for option in groups()[group].options:
                str(option)
        to_run(compose([f"{path.parent.name}=mine"]))
    finally:
        _put_back(CONF_ENV_VAR, before)


_YAML, _JSON = mutate.yaml_file, mutate.json_file

READERS = (
    Reader("pkl", clip_pickles, read_clip, {"clip.pkl": mutate.pickle_file}),
    Reader("npz", clip_archives, read_clip, {"clip.npz": mutate.npz_file}),
    Reader("deepmimic", clip_texts, read_clip, {"clip.txt": mutate.json_file}),
    Reader("robot_csv", recordings("lafan", "named", "bones"), read_recording, {"clip.csv": mutate.text_file}),
    Reader("gmr", recordings("gmr"), read_recording, {"clip.pkl": mutate.pickle_file}),
    Reader("phc", recordings("phc", "phc_packed"), read_recording, {"clip.pkl": mutate.joblib_file}),
    Reader("robot_npz", recordings("mjlab", "beyondmimic", "mjlab_names", "isaaclab", "loco", "loco_old"), read_recording,
           {"clip.npz": mutate.npz_file}),
    Reader("protomotions", recordings("protomotions"), read_recording, {"clip.motion": mutate.torch_file}),
    Reader("poselib", recordings("poselib", "poselib_world"), read_recording, {"clip.npy": mutate.npy_object_file}),
    Reader("quadruped", quadruped_files, read_quadruped, {"clip.txt": mutate.json_file}),
    Reader("bvh", human_files, read_skeleton, {"clip.bvh": mutate.text_file}),
    Reader("amass", amass_files, read_skeleton, {"clip.npz": mutate.npz_file}),
    Reader("dataset", datasets, read_set, {"set.yaml": _YAML}),
    Reader("mjcf", characters, read_character, {"body.xml": mutate.xml_file}),
    Reader("mjcf_mujoco", characters, read_mujoco, {"body.xml": mutate.xml_file}),
    Reader("mjcf_isaac_gym", characters, read_isaac_gym, {"body.xml": mutate.xml_file}),
    Reader("mjcf_newton", characters, read_newton, {"body.xml": mutate.xml_file}, heavy=True),
    Reader("mjcf_usd", characters, read_usd, {"body.xml": mutate.xml_file}),
    Reader("model", models, read_model, {"model.pt": mutate.torch_file}),
    Reader("checkpoint", checkpoints, read_checkpoint, {"checkpoints/ckpt_0000000001.pt": mutate.torch_file}),
    Reader("prior", priors, read_prior, {"diffusion_config.yaml": _YAML, "env_config.yaml": _YAML, "model.pt": mutate.torch_file}),
    Reader("arguments", arguments, read_arguments_alone,
           {"args.txt": mutate.text_file, "engine.yaml": _YAML, "env.yaml": _YAML, "agent.yaml": _YAML}, names_file=False),
    Reader("convert", arguments, read_arguments,
           {"args.txt": mutate.text_file, "engine.yaml": _YAML, "env.yaml": _YAML, "agent.yaml": _YAML}, names_file=False, heavy=True),
    Reader("saved_config", saved_runs, read_saved, {"config.yaml": _YAML}, heavy=True),
    Reader("frozen", frozen_runs, read_frozen_run, {"frozen.yaml": _YAML}, heavy=True),
    Reader("checkout", checkouts, read_checkout,
           {"set.yaml": _YAML, "diffusion_config.yaml": _YAML, "checkout/mimickit/envs/env_builder.py": mutate.text_file}),
    Reader("starts", recorded_runs, read_record,
           {"files.json": _JSON, "config.yaml": _YAML, "versions.json": _JSON, "frozen.yaml": _YAML,
            "starts/1/files.json": _JSON, "starts/1/config.yaml": _YAML}),
    Reader("state", run_states, read_states,
           {"state.json": _JSON, "run.lock": _JSON, "runner.json": _JSON, "metrics.json": _JSON, "versions.json": _JSON,
            "checkpoints/best.json": _JSON, "config.yaml": _YAML, "frozen.yaml": _YAML}, names_file=False),
    Reader("log", logs, read_logs, {"log.txt": mutate.text_file}),
    Reader("manifest", manifests, read_manifest, {"sweep.yaml": _YAML}),
    Reader("preset", presets, read_preset, {"experiment/mine.yaml": _YAML, "motion/mine.yaml": _YAML}, names_file=False, heavy=True),
)  # fmt: skip


@contextlib.contextmanager
def silence() -> Any:
    """Context in which nothing is printed, also by C libraries."""
    kept = os.dup(1), os.dup(2)
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)
    try:
        yield
    finally:
        os.dup2(kept[0], 1)
        os.dup2(kept[1], 2)
