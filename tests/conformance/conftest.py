"""One suite for every engine: it sees the interface alone, and runs on each engine that can be imported.

A further engine is one more line in ``ENGINES``.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from on_device import OnDevice

from mimickit_hydra.engines.catalog import Interpreter, importable, variable
from mimickit_hydra.engines.interface import Engine, EngineError, ObjectSpec, ObjectState, ResetState, SceneSpec
from mimickit_hydra.engines.registry import engine_problem, entry_of, make_engine
from mimickit_hydra.engines.subprocess.engine import HostedEngine
from mimickit_hydra.engines.subprocess.process import Worker

EMULATOR = Path(__file__).parents[1] / "emulator"
PYTHON38 = os.environ.get("MIMICKIT_TEST_PYTHON38", "")  # with numpy, torch, mujoco; .ci/isaac_gym makes one
HUMANOID = Path(__file__).parents[2] / "mimickit_hydra" / "data" / "assets" / "humanoid" / "humanoid.xml"
STAND_HEIGHT = 0.882416  # m

BALL = '<body name="ball"><freejoint/><geom type="sphere" size="0.1" mass="2"/></body>'
BOX = '<body name="box"><geom type="box" size="0.5 0.5 0.2"/></body>'


@dataclass(frozen=True)
class Config:
    """The attributes of an engine's configuration, without the configuration package."""

    engine_name: str
    control_mode: str = "pos"
    control_freq: int = 30
    sim_freq: int = 120
    env_spacing: float = 5.0
    num_threads: int = 2
    iterations: int = 100
    ls_iterations: int = 50
    impratio: float = 10.0
    ground_contact_height: float = 0.3
    njmax: int = 0
    nconmax: int = 0
    tolerance: float = 1e-6  # of newton and mjwarp, as the next two
    ls_tolerance: float = 0.01
    jacobian: str = "auto"
    physics: str = "newton"  # of isaac_lab


Factory = Callable[[Config, SceneSpec, int], Engine]


def _mujoco_without_batch(config: Config, scene: SceneSpec, num_envs: int) -> Engine:
    from mimickit_hydra.engines.mujoco import physics as mujoco_physics

    batch, mujoco_physics.mujoco_batch = mujoco_physics.mujoco_batch, None
    try:
        return make_engine(config, scene, num_envs, "cpu")
    finally:
        mujoco_physics.mujoco_batch = batch


def _on(device: str) -> Factory:
    return lambda config, scene, num_envs: make_engine(config, scene, num_envs, device)


def _on_cuda(config: Config, scene: SceneSpec, num_envs: int) -> Engine:
    return OnDevice(make_engine(config, scene, num_envs, "cuda:0"))


_idle_workers: dict[tuple[str, str], list[Worker]] = {}  # starting one takes seconds: tests take turns with them


def _hosted(name: str, python: str = sys.executable, path: Path | None = None, device: str = "cpu") -> Factory:
    """Engine ``name`` in another process of interpreter ``python``, with the modules of folder ``path``."""

    def build(config: Config, scene: SceneSpec, num_envs: int) -> Engine:
        where = Interpreter(python, "engine.python")
        idle = _idle_workers.setdefault((name, python), [])
        worker = idle.pop() if idle else start(where)
        try:
            engine = HostedEngine(config, scene, num_envs, device, worker.entry, where, worker)
        except EngineError:
            idle.append(worker)
            raise
        release = engine.close

        def close() -> None:
            release()
            if worker not in idle:
                idle.append(worker)

        engine.close = close  # type: ignore[method-assign]
        return engine

    def start(where: Interpreter) -> Worker:
        with pytest.MonkeyPatch.context() as patch:
            if path:
                patch.setenv(variable(name, "PYTHONPATH"), str(path))
            return Worker(name, entry_of(name), where, 120.0)

    return build


def _ovphysx(config: Config, scene: SceneSpec, num_envs: int) -> Engine:
    """PhysX runs one simulation in a process."""
    return _hosted("isaac_lab")(replace(config, physics="ovphysx"), scene, num_envs)


def _ovphysx_on_cuda(config: Config, scene: SceneSpec, num_envs: int) -> Engine:
    return OnDevice(_hosted("isaac_lab", device="cuda:0")(replace(config, physics="ovphysx"), scene, num_envs))


# label: (engine name, how to build it)
ENGINES: dict[str, tuple[str, Factory]] = {
    "mujoco": ("mujoco", _on("cpu")),
    "mujoco-rollout": ("mujoco", _mujoco_without_batch),
    "hosted-mujoco": ("mujoco", _hosted("mujoco")),
    "isaac_gym-real": ("isaac_gym", _on("cpu")),  # a worker a scene: one process can hold one simulation
    # Not the simulator: a stand-in of its interface with MuJoCo beneath, see tests/emulator.
    "isaac_gym-emulated": ("isaac_gym", _hosted("isaac_gym", path=EMULATOR)),
    "isaac_gym-emulated-py38": ("isaac_gym", _hosted("isaac_gym", PYTHON38, EMULATOR)),
    "newton": ("newton", _on("cpu")),
    "newton-cuda": ("newton", _on_cuda),
    "mjwarp": ("mjwarp", _on("cpu")),
    "mjwarp-cuda": ("mjwarp", _on_cuda),
    "isaac_lab": ("isaac_lab", _on("cpu")),
    "isaac_lab-cuda": ("isaac_lab", _on_cuda),
    "isaac_lab-ovphysx": ("isaac_lab", _ovphysx),  # where a developer installed it: it has NVIDIA's own licence
    "isaac_lab-ovphysx-cuda": ("isaac_lab", _ovphysx_on_cuda),
}


IN_ANY_ORDER = (
    "newton-cuda",
    "mjwarp-cuda",
    "isaac_lab-cuda",
    "isaac_lab-ovphysx-cuda",
)  # a GPU sums contacts as they come
SLOW = ("[isaac_gym-real", "[isaac_gym-emulated-py38")
ON_WARP = ("[newton", "[mjwarp", "[isaac_lab")
SLOW_ON_WARP = ("test_explicit_pd_tends_to_the_implicit_one", "test_feet_carry_the_weight")


# What PhysX does otherwise: its integrator, no order of contacts, and more state than its tensors show.
NOT_PHYSX = {
    "test_a_saved_engine_continues_to_the_bit": "PhysX keeps state that cannot be read",
    "test_damping_without_stiffness_is_a_gain_too": "its drives are integrated otherwise: 0.80 rad/s left, not 0.77",
    "test_drives_are_clamped": "its drives soften before their limit",
    "test_engines_agree_on_kinematics_and_on_a_flight": "another integrator",
    "test_environments_do_not_feel_each_other": "environments stand at different places, so rounding differs",
    "test_explicit_pd_tends_to_the_implicit_one": "another integrator",
    "test_feet_carry_the_weight": "another contact model",
    "test_free_fall": "another integrator",
    "test_objects_meet": "its contact forces are those of the last substep, when the ball has bounced off",
    "test_self_collisions_can_be_switched_off": "the links of a character do not meet with ovphysx 0.6.4",
}


# Every further scene or control mode is a minute of compiling on a GPU: by default it gets one scene.
ON_CUDA = (
    "test_a_reset_environment_forgets_its_past",
    "test_an_environment_that_is_lost_harms_no_other_and_recovers",
    "test_body_poses_equal_golden_kinematics",
    "test_body_velocities_after_reset_follow_from_the_joint_velocities",
    "test_environments_do_not_feel_each_other",
    "test_free_fall",
    "test_partial_reset_leaves_the_others_to_the_bit",
    "test_pd_reaches_its_target",
    "test_reset_clears_contacts_of_its_environments_only",
    "test_reset_reads_back_at_once",
    "test_a_saved_engine_of_another_size_is_refused",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Warp on a CPU takes its time where a test has hundreds of substeps, on a GPU where kernels are compiled."""
    for item in items:
        name = item.name.split("[")[0]
        if "[isaac_lab-ovphysx" in item.name:
            if not importable("ovphysx"):
                item.add_marker(pytest.mark.skip("ovphysx is not installed"))
            elif name in NOT_PHYSX:
                item.add_marker(pytest.mark.xfail(reason=NOT_PHYSX[name], strict=False))
        if "-cuda" in item.name:
            if not torch.cuda.is_available():
                item.add_marker(pytest.mark.skip("needs a CUDA device"))
            if name not in ON_CUDA:
                item.add_marker(pytest.mark.slow)
        elif any(label in item.name for label in (*SLOW, *ON_WARP) if label in SLOW or name in SLOW_ON_WARP):
            item.add_marker(pytest.mark.slow)


class Lab:
    """Builds engines and puts their environments into states."""

    def __init__(self, label: str, folder: Path) -> None:
        self.name, self._factory = ENGINES[label]
        self.exact = label not in IN_ANY_ORDER
        self._folder = folder
        self._engines: list[Engine] = []
        self.humanoid = ObjectSpec("humanoid", str(HUMANOID), start_pos=(0.0, 0.0, STAND_HEIGHT))

    def asset(self, name: str, body: str, **options: Any) -> ObjectSpec:
        path = self._folder / f"{name}.xml"
        path.write_text(f"<mujoco><worldbody>{body}</worldbody></mujoco>")
        return ObjectSpec(name, str(path), articulated=False, **options)

    def ball(self, around: str = "", **options: Any) -> ObjectSpec:
        """``around``: what else its file has at the top level."""
        return self.asset("shown_ball" if around else "ball", around + BALL, **options)

    def box(self, around: str = "", **options: Any) -> ObjectSpec:
        return self.asset("shown_box" if around else "box", around + BOX, fix_root=True, **options)

    def make(self, *objects: ObjectSpec, num_envs: int = 3, **config: Any) -> Engine:
        scene = SceneSpec(objects or (self.humanoid,))
        engine = self._factory(replace(Config(self.name), **config), scene, num_envs)
        self._engines.append(engine)
        return engine

    def rest(self, engine: Engine, obj: int = 0, height: float = 2.0, **parts: torch.Tensor) -> ResetState:
        """A state at rest, upright; ``parts`` replace fields and are expanded to all environments."""
        n, dofs = engine.num_envs, engine.models[obj].num_dofs
        state = ResetState(
            root_pos=torch.tensor([0.0, 0.0, height]).repeat(n, 1),
            root_rot=torch.tensor([0.0, 0.0, 0.0, 1.0]).repeat(n, 1),
            root_vel=torch.zeros(n, 3),
            root_ang_vel=torch.zeros(n, 3),
            dof_pos=torch.zeros(n, dofs),
            dof_vel=torch.zeros(n, dofs),
        )
        for name, value in parts.items():
            setattr(state, name, value.float().expand_as(getattr(state, name)).clone())
        return state

    def random(self, engine: Engine, seed: int = 0, height: float = 2.0, speed: float = 1.0) -> ResetState:
        """A random state of object 0 in the air, within its joint limits."""
        g = torch.Generator().manual_seed(seed)
        model, n = engine.models[0], engine.num_envs
        low, high = torch.tensor(model.dof_low).float(), torch.tensor(model.dof_high).float()

        def noise(*shape: int) -> torch.Tensor:
            return torch.randn(n, *shape, generator=g)

        return ResetState(
            root_pos=torch.tensor([0.0, 0.0, height]) + 0.1 * noise(3),
            root_rot=torch.nn.functional.normalize(noise(4), dim=-1),
            root_vel=speed * noise(3),
            root_ang_vel=speed * noise(3),
            dof_pos=low + (high - low) * (0.25 + 0.5 * torch.rand(n, model.num_dofs, generator=g)),
            dof_vel=speed * noise(model.num_dofs),
        )

    def reset_all(self, engine: Engine, state: ResetState, obj: int = 0) -> None:
        engine.reset(torch.ones(engine.num_envs, dtype=torch.bool), {obj: state})

    def mask(self, engine: Engine, *envs: int) -> torch.Tensor:
        mask = torch.zeros(engine.num_envs, dtype=torch.bool)
        mask[list(envs)] = True
        return mask

    def run(self, engine: Engine, steps: int, command: torch.Tensor | None = None) -> None:
        for _ in range(steps):
            if command is not None:
                engine.set_command(command)
            engine.step()

    def same(self, a: dict[str, torch.Tensor], b: dict[str, torch.Tensor], rows: Any = slice(None)) -> bool:
        """Whether the rows are equal to the bit, or nine numbers in ten nearly where contacts add up in any order."""
        pairs = [(a[name][rows], b[name][rows]) for name in a]
        if self.exact:
            return all(torch.equal(x, y) for x, y in pairs)
        floats = [(x.float(), y.float()) for x, y in pairs if x.numel()]
        near = [(x - y).abs().flatten() <= 0.05 * max(1.0, float(y.abs().max())) for x, y in floats]
        return float(torch.cat(near).float().mean()) >= 0.9

    def standing_pose(self, engine: Engine) -> torch.Tensor:
        """Arms down, ``[N, D]`` rad."""
        pose = torch.zeros(engine.num_envs, engine.models[0].num_dofs)
        pose[:, 6], pose[:, 10] = 1.5708, -1.5708
        return pose

    def close(self) -> None:
        for engine in self._engines:
            engine.close()


def _missing(label: str) -> str:
    """What an engine lacks here, or an empty string."""
    if not label.startswith("isaac_gym-emulated"):
        return engine_problem(ENGINES[label][0])
    if label.endswith("-py38") and not PYTHON38:
        return "needs MIMICKIT_TEST_PYTHON38=/path/to/python, a Python 3.8 as .ci/isaac_gym makes one"
    return ""


@pytest.fixture(params=list(ENGINES))
def lab(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Lab]:
    problem = _missing(request.param)
    if problem:
        pytest.skip(problem)
    torch.set_num_threads(1)
    lab = Lab(request.param, tmp_path)
    yield lab
    lab.close()


@pytest.fixture
def same(lab: Lab) -> Callable[..., bool]:
    """Whether two dictionaries of tensors are equal, in some rows or in all."""
    return lab.same


def _snapshot(state: ObjectState) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in vars(state).items()}


@pytest.fixture
def snapshot() -> Callable[[ObjectState], dict[str, torch.Tensor]]:
    """Copies of all tensors of an object's state."""
    return _snapshot
