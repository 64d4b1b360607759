"""Run by tests in an interpreter of their own: the emulated Isaac Gym before torch, then one check by name."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from types import SimpleNamespace

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
sys.path[:0] = [os.path.join(ROOT, "tests", "emulator"), ROOT]
HUMANOID = os.path.join(ROOT, "mimickit_hydra", "data", "assets", "humanoid", "humanoid.xml")


def too_late() -> None:
    """In the trainer's process torch is there already: one line says what to do."""
    import torch  # noqa: F401

    from mimickit_hydra.engines.interface import EngineError

    try:
        import mimickit_hydra.engines.isaac_gym.engine  # noqa: F401
    except EngineError as error:
        print(error)


def gpu_pipeline() -> None:
    """The order of calls that a GPU wants, on its emulation in ordinary memory."""
    import isaacgym  # noqa: F401
    import torch

    engine, other = make("cuda:0"), make("cpu")
    assert engine._sim.on_gpu
    assert str(engine.device) == "cuda:0"
    assert not engine.capturable
    for e in (engine, other):
        play(e)
    for name, value in vars(engine.states[0]).items():
        assert torch.equal(value, getattr(other.states[0], name)), name
    assert engine.warnings() == ["this isaacgym is the emulation of the tests, not NVIDIA's simulator"]
    assert engine.warnings() == []


def other_order() -> None:
    """A simulator that lists bodies and joints otherwise: ours is the same for it, in and out."""
    import isaacgym  # noqa: F401
    import numpy as np
    import torch

    from mimickit_hydra.engines.isaac_gym import sim as isaac_gym_sim

    usual = make("cpu")
    play(usual)
    by_name = isaac_gym_sim._order
    isaac_gym_sim._order = lambda asset, what, ours, theirs: np.arange(len(theirs))
    listed = make("cpu")
    isaac_gym_sim._order = by_name
    play(listed)
    assert isinstance(listed._objects[0].bodies, list)
    for name, value in vars(usual.states[0]).items():
        assert torch.equal(value, getattr(listed.states[0], name)), name
    asset = usual._sim.actors[0].asset
    back = by_name(asset, "body", asset.body_names, asset.body_names[::-1])
    assert [asset.body_names[::-1][i] for i in back] == asset.body_names
    refused(isaac_gym_sim.EngineError, lambda: by_name(asset, "body", asset.body_names, asset.body_names[:-1]))
    refused(isaac_gym_sim.EngineError, lambda: by_name(asset, "body", asset.body_names, ["x", *asset.body_names[1:]]))


def strict_emulator() -> None:
    """What the real one would refuse, or get wrong in silence, is an error."""
    import isaacgym
    import torch

    _checks, gymapi, gymtorch = (import_module(f"isaacgym.{name}") for name in ("_checks", "gymapi", "gymtorch"))
    assert isaacgym.EMULATED

    engine = make("cpu")
    sim, gym = engine._sim, engine._sim.gym
    engine.step()
    root = torch.zeros(engine.num_envs, 13)
    twice = torch.zeros(1, dtype=torch.int32)
    given = (gymtorch.unwrap_tensor(root), gymtorch.unwrap_tensor(twice), 1)
    gym.set_actor_root_state_tensor_indexed(sim.sim, *given)
    refused(RuntimeError, lambda: gym.set_actor_root_state_tensor_indexed(sim.sim, *given))
    wrong = gymtorch.unwrap_tensor(twice.long())
    refused(TypeError, lambda: gym.set_actor_root_state_tensor_indexed(sim.sim, given[0], wrong, 1))
    refused(RuntimeError, lambda: gymtorch.unwrap_tensor(torch.zeros(2, 3).t()))
    gym.simulate(sim.sim)
    refused(RuntimeError, lambda: gym.refresh_dof_state_tensor(sim.sim))
    refused(RuntimeError, lambda: gym.create_env(sim.sim, gymapi.Vec3(), gymapi.Vec3(), 1) and sim.sim._world.add_env())
    refused(AttributeError, lambda: setattr(gymapi.SimParams(), "step", 1.0))
    if _checks.STUB is not None:
        refused(TypeError, lambda: gym.simulate())
        refused(TypeError, lambda: gym.simulate(1.0))
        refused(TypeError, lambda: gym.create_env(sim.sim, (0, 0, 0), (1, 1, 1), 1))
    engine.close()
    refused(RuntimeError, lambda: gym.simulate(gymapi.Sim(sim_world(engine))))


def sim_world(engine):
    from isaacgym._world import World

    world = World(SimpleNamespace())
    world.destroy()
    return world


def refused(kind, call) -> None:
    try:
        call()
    except kind:
        return
    raise AssertionError("not refused")


def make(device):
    from mimickit_hydra.engines.interface import ObjectSpec, SceneSpec
    from mimickit_hydra.engines.isaac_gym.engine import IsaacGymEngine

    config = SimpleNamespace(
        control_mode="pos", control_freq=30, sim_freq=120, env_spacing=5.0, ground_contact_height=0.3
    )
    robot = None
    if len(sys.argv) > 2:  # a file with the values, as an interpreter without today's MuJoCo is handed them
        from mimickit_hydra.engines.subprocess import wire
        from mimickit_hydra.motion.robot import Robot

        with open(sys.argv[2], "rb") as file:
            robot = Robot.from_values(wire.unpack(file.read()))
    humanoid = ObjectSpec("humanoid", HUMANOID, start_pos=(0, 0, 0.9), robot=robot)
    return IsaacGymEngine(config, SceneSpec((humanoid,)), 3, device)


def play(engine) -> None:
    """Commands and a partial reset."""
    import torch

    from mimickit_hydra.engines.interface import ResetState

    random = torch.Generator().manual_seed(1)
    for index in range(4):
        engine.set_command(0.3 * torch.randn(3, 28, generator=random))
        engine.step()
        if index == 1:
            state = ResetState(
                torch.rand(3, 3, generator=random) + 1.0, torch.randn(3, 4, generator=random),
                *(torch.randn(3, n, generator=random) for n in (3, 3)),
                *(0.3 * torch.randn(3, 28, generator=random) for _ in range(2)),
            )  # fmt: skip
            engine.reset(torch.tensor([False, True, False]), {0: state})


if __name__ == "__main__":
    globals()[sys.argv[1]]()
    print("fine")
