"""What is special to the MuJoCo engine; the contract is in tests/conformance."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from mimickit_hydra.engines.interface import EngineError, ObjectSpec, SceneSpec
from mimickit_hydra.engines.mujoco import physics as mujoco_physics
from mimickit_hydra.engines.mujoco.engine import MujocoEngine

ASSET = Path(__file__).parents[2] / "mimickit_hydra" / "data" / "assets" / "humanoid" / "humanoid.xml"
SCENE = SceneSpec((ObjectSpec("humanoid", str(ASSET), start_pos=(0.0, 0.0, 0.882416)),))


def make(num_envs=2, device="cpu", **changes):
    values = {"engine_name": "mujoco", "control_mode": "pos", "control_freq": 30, "sim_freq": 120, "num_threads": 1}
    values |= {"iterations": 100, "ls_iterations": 50, "impratio": 10.0}
    return MujocoEngine(SimpleNamespace(**(values | changes)), SCENE, num_envs, device)


def test_a_gpu_is_refused():
    with pytest.raises(EngineError, match=r"engine=mujoco runs on the CPU, found device 'cuda:0'"):
        make(device="cuda:0")


def test_options_reach_the_model():
    option = make(iterations=5, ls_iterations=6, impratio=2.0, sim_freq=240).scene.model.opt
    assert (option.iterations, option.ls_iterations, option.impratio) == (5, 6, 2.0)
    assert option.timestep == pytest.approx(1 / 240)


def test_zero_threads_means_the_cores_of_the_process(monkeypatch):
    asked = []
    monkeypatch.setattr(mujoco_physics, "available_cores", lambda: 3)
    monkeypatch.setattr(mujoco_physics, "BatchPhysics", lambda model, n, threads: asked.append(threads))
    for num_threads, num_envs in ((0, 8), (0, 2), (2, 8)):
        mujoco_physics.make_physics(None, num_envs, num_threads)
    assert asked == [3, 2, 2]
    monkeypatch.undo()
    assert mujoco_physics.available_cores() >= 1


def test_both_steppers_simulate_the_same(monkeypatch):
    if mujoco_physics.mujoco_batch is None:
        pytest.skip("this MuJoCo has no batch")
    batch = make()
    monkeypatch.setattr(mujoco_physics, "mujoco_batch", None)
    rollout = make()
    command = torch.zeros(2, 28)
    command[:, 6], command[:, 10] = 1.5708, -1.5708
    for engine in (batch, rollout):
        for _ in range(20):
            engine.set_command(command)
            engine.step()
    for name, tensor in vars(batch.states[0]).items():
        other = getattr(rollout.states[0], name)
        loose = 0.5 if "contact" in name else 1e-4  # the fallback starts its solver cold
        torch.testing.assert_close(tensor, other, atol=loose, rtol=1e-3, msg=name)


def test_a_simulation_error_marks_its_environment_only(monkeypatch):
    if mujoco_physics.mujoco_batch is None:
        pytest.skip("this MuJoCo has no batch")
    engine = make(num_envs=3)
    batch = engine._physics._batch

    class Failing:
        def __getattr__(self, name):
            return getattr(batch, name)

        def step(self, **options):
            batch.step(**options)
            raise mujoco_physics.mujoco_batch.SimulationError(np.array([1]), "stack overflow")

    engine._physics._batch = Failing()
    engine.step()
    assert engine.diverged.tolist() == [False, True, False]
    assert torch.isnan(engine.states[0].root_pos).all(dim=1).tolist() == [False, True, False]
    engine._physics._batch = batch
    engine.step()
    assert torch.isfinite(engine.states[0].root_pos[[0, 2]]).all()
