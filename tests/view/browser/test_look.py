"""The shapes that the viewer draws are where MuJoCo has them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mimickit_hydra.config.paths import resolve_data_file
from mimickit_hydra.mj import mujoco
from mimickit_hydra.motion.mjcf import load
from mimickit_hydra.view.browser.look import placed, read_look

FILES = ["data/assets/humanoid/humanoid.xml", "data/assets/objects/dodgeball.xml", "data/assets/objects/vault_box.xml"]


@pytest.mark.parametrize("file", FILES)
def test_shapes_are_where_mujoco_has_them(file: str) -> None:
    path = resolve_data_file(file)
    source, look = load(path), read_look(path)
    model, data = source.model, mujoco.MjData(source.model)
    data.qpos[:] += 0.1 * np.random.default_rng(0).standard_normal(model.nq)
    mujoco.mj_forward(model, data)
    ids = [model.body(name).id for name in look.bodies]
    poses = data.xpos[ids], np.roll(data.xquat[ids], -1, axis=1)
    for kind, name in (("sphere", "mjGEOM_SPHERE"), ("box", "mjGEOM_BOX"), ("cylinder", "mjGEOM_CAPSULE")):
        wanted = data.geom_xpos[model.geom_type == int(getattr(mujoco.mjtGeom, name))]
        found = placed(*poses, look.batches[kind])[0] if len(wanted) else wanted
        for place in wanted:
            assert np.linalg.norm(found - place, axis=1).min() < 1e-6


def test_a_capsule_is_a_cylinder_between_two_balls() -> None:
    look = read_look(resolve_data_file(FILES[0]))
    model = load(resolve_data_file(FILES[0])).model
    capsules = int((model.geom_type == int(mujoco.mjtGeom.mjGEOM_CAPSULE)).sum())
    balls = int((model.geom_type == int(mujoco.mjtGeom.mjGEOM_SPHERE)).sum())
    assert len(look.batches["cylinder"].body) == capsules
    assert len(look.batches["sphere"].body) == balls + 2 * capsules
    assert not look.meshes


MESH = """<mujoco>
  <asset><mesh name="m" vertex="0 0 0  .1 0 0  0 .2 0  0 0 .3"/></asset>
  <worldbody><body name="a" pos="0 0 1">
    <freejoint/>
    <geom type="mesh" mesh="m" pos=".1 .2 .3" quat=".5 .5 .5 .5" rgba="1 0 0 1"/>
    <geom type="sphere" size=".5" group="3"/>
    <body name="b" pos="0 0 .5">
      <joint axis="0 1 0"/>
      <geom type="mesh" mesh="m" rgba="0 1 0 1"/>
      <geom type="ellipsoid" size=".1 .2 .3"/>
    </body>
  </body></worldbody>
</mujoco>"""


def test_meshes_are_where_mujoco_has_them_and_what_it_hides_is_hidden(tmp_path: Path) -> None:
    path = tmp_path / "mesh.xml"
    path.write_text(MESH)
    look, model = read_look(path), load(path, drawn=True).model
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    assert [mesh.color.tolist() for mesh in look.meshes] == [[255, 0, 0], [0, 255, 0]]
    assert look.colored
    assert look.batches["sphere"].scale.tolist() == [[0.1, 0.2, 0.3]]  # the ball of group 3 only collides
    for mesh in look.meshes:
        body = model.body(look.bodies[mesh.body]).id
        found = data.xpos[body] + mesh.vertices @ data.xmat[body].reshape(3, 3).T
        geom = next(g for g in range(model.ngeom) if model.geom_bodyid[g] == body and model.geom_dataid[g] >= 0)
        wanted = data.geom_xpos[geom] + model.mesh_vert[:4] @ data.geom_xmat[geom].reshape(3, 3).T
        assert np.abs(found - wanted).max() < 1e-6
