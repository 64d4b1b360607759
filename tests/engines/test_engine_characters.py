"""The bodies that come with the package: tree, mass, and that they hold a pose in the engine."""

from __future__ import annotations

import pytest
import torch

from mimickit_hydra.config.compose import compose, to_run
from mimickit_hydra.config.paths import bundled_data, resolve_data_file
from mimickit_hydra.engines.registry import make_engine
from mimickit_hydra.envs.scene import build_scene
from mimickit_hydra.motion.character import CharacterModel


@pytest.mark.parametrize(
    ("character", "bodies", "dofs", "mass"), [("smpl", 24, 69, 55.0), ("humanoid_sword_shield", 17, 31, 53.0)]
)
def test_a_bundled_body(character: str, bodies: int, dofs: int, mass: float) -> None:
    mujoco = pytest.importorskip("mujoco")
    torch.set_num_threads(1)
    run = to_run(compose([f"character={character}", "engine=mujoco"]))
    file = str(resolve_data_file(run.env.char_file))
    assert file.startswith(str(bundled_data()))
    model = CharacterModel.from_file(file)
    assert (model.num_bodies, model.num_dofs) == (bodies, dofs)
    assert len(run.env.init_pose) == 6 + dofs
    assert len(run.env.joint_err_w) == bodies - 1
    assert sum(mujoco.MjModel.from_xml_path(file).body_mass) == pytest.approx(mass, abs=0.01)
    engine = make_engine(run.engine, build_scene(run.env, file), 1, "cpu")
    assert list(engine.models[0].body_names) == list(model.body_names)
    for _ in range(30):
        engine.step()
    state = engine.states[0]
    assert torch.isfinite(state.body_pos).all()
    assert state.dof_vel.abs().max() < 50.0
    engine.close()
