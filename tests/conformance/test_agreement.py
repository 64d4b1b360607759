"""Engines against each other: the same state and the same targets lead to the same motion.

The golden arrays are those of ``engine=mujoco`` (MuJoCo 4.0.0), written by running this file as a script.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from mimickit_hydra.engines.interface import ResetState

GOLDEN = Path(__file__).parents[1] / "golden" / "engine_agreement.npz"
STATE = tuple(ResetState.__dataclass_fields__)
STEPS = 8
ENVS = 2


def start(lab, engine):
    """High in the air, tumbling, with joints in motion; and targets so near that no motor reaches its limit.

    At the limit versions of MuJoCo part: they differ in how a clamped motor damps.
    """
    state = lab.random(engine, seed=11, height=50.0, speed=0.5)
    state.dof_pos *= 0.5
    targets = state.dof_pos + 0.1 * torch.cos(torch.arange(state.dof_pos.numel())).view_as(state.dof_pos)
    return state, targets


def flight(lab):
    """The states of a contact-free rollout: after the reset, and after every control step."""
    engine = lab.make(replace(lab.humanoid, enable_self_collisions=False), num_envs=ENVS, sim_freq=240)
    state, targets = start(lab, engine)
    lab.reset_all(engine, state)
    frames = [{name: tensor.clone() for name, tensor in vars(engine.states[0]).items()}]
    for _ in range(STEPS):
        lab.run(engine, 1, targets)
        frames.append({name: tensor.clone() for name, tensor in vars(engine.states[0]).items()})
    return frames


def test_engines_agree_on_kinematics_and_on_a_flight(lab):
    golden = np.load(GOLDEN)
    frames = flight(lab)
    for name in (*STATE, "body_pos", "body_rot", "body_vel", "body_ang_vel"):
        want = torch.from_numpy(golden[name])
        got = torch.stack([frame[name] for frame in frames])
        if name.endswith("_rot"):
            got = got * (got * want).sum(-1, keepdim=True).sign()
        torch.testing.assert_close(got[0], want[0], atol=1e-4, rtol=1e-4, msg=f"{name} after the reset")
        if name in ("root_pos", "root_rot", "body_pos", "body_rot", "dof_pos"):
            torch.testing.assert_close(got, want, atol=1e-2, rtol=0, msg=f"{name} in flight")
    speed = torch.from_numpy(golden["dof_vel"]).abs().amax((1, 2))
    assert speed.max() > 1.0  # there is something to see


if __name__ == "__main__":
    import sys
    import tempfile

    sys.path.insert(0, str(Path(__file__).parent))
    from conftest import Lab

    with tempfile.TemporaryDirectory() as folder:
        bench = Lab("mujoco", Path(folder))
        frames = flight(bench)
        bench.close()
    np.savez_compressed(GOLDEN, **{name: torch.stack([f[name] for f in frames]).numpy() for name in frames[0]})
