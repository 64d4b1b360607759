"""What becomes of an asset and of the engine's options in Newton; the physics itself is tests/conformance."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from test_robot_files import FILES, USABLE, legs

from mimickit_hydra.engines.interface import EngineError, ObjectSpec, SceneSpec
from mimickit_hydra.engines.mujoco.model import build_model
from mimickit_hydra.engines.registry import engine_problem
from mimickit_hydra.motion.mjcf import read_robot

pytestmark = pytest.mark.skipif(bool(engine_problem("newton")), reason=engine_problem("newton") or "-")

HUMANOID = Path(__file__).parents[2] / "mimickit_hydra" / "data" / "assets" / "humanoid" / "humanoid.xml"
STONE = """<mujoco><asset><mesh name="stone" file="stone.obj"/></asset><worldbody><body name="stone"><freejoint/>
<geom type="sphere" size="0.1" mass="2"/><geom type="mesh" mesh="stone" {}/></body></worldbody></mujoco>"""
VERTICES = ("0 0 0", "0.1 0 0", "0 0.1 0", "0 0 0.1")
FACES = ("1 3 2", "1 2 4", "1 4 3", "2 3 4")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    from mimickit_hydra.engines.warp import newton_cache

    monkeypatch.setattr(newton_cache, "folder", lambda: tmp_path / "cache")
    return tmp_path / "cache"


def build(asset: Path, num_envs: int = 2, **options: Any) -> Any:
    import warp as wp

    from mimickit_hydra.engines.warp.newton_scene import build_scene

    values = {"control_mode": "pos", "sim_freq": 240, "iterations": 100, "ls_iterations": 50, "impratio": 10.0}
    config = SimpleNamespace(**values, njmax=0, nconmax=0)
    vars(config).update(options)
    scene = SceneSpec((ObjectSpec("stone", str(asset), articulated=False),))
    return build_scene(config, scene, num_envs, wp.get_device("cpu"))


def stone(folder: Path, options: str) -> Path:
    rows = [f"v {row}" for row in VERTICES] + [f"f {row}" for row in FACES]
    (folder / "stone.obj").write_text("\n".join(rows) + "\n")
    (folder / "stone.xml").write_text(STONE.format(options))
    return folder / "stone.xml"


def test_meshes_that_are_only_seen_are_left_out(tmp_path: Path) -> None:
    scene = build(stone(tmp_path, 'contype="0" conaffinity="0" mass="0"'))
    assert scene.mujoco_model.nmesh == 0
    assert scene.mujoco_model.body_mass[1] == pytest.approx(2.0)


def test_meshes_that_collide_are_read(tmp_path: Path) -> None:
    assert build(stone(tmp_path, 'mass="0"')).mujoco_model.nmesh == 1


@pytest.mark.parametrize("name", USABLE)
def test_a_robots_file_is_what_mujoco_makes_of_it(name: str) -> None:
    file = FILES / f"{name}.xml"
    newton = build(file).mujoco_model
    mujoco = build_model(SceneSpec((ObjectSpec("robot", str(file)),)), "pos").model
    for field in (
        "body_mass", "body_ipos", "body_gravcomp", "dof_armature", "dof_frictionloss", "dof_damping", "jnt_stiffness",
        "jnt_limited", "jnt_axis", "jnt_pos", "actuator_gainprm",
    ):  # fmt: skip
        ours = getattr(newton, field)
        np.testing.assert_allclose(ours, getattr(mujoco, field), rtol=1e-4, atol=1e-6, err_msg=field)
    np.testing.assert_allclose(newton.actuator_biasprm[:, :3], mujoco.actuator_biasprm[:, :3], rtol=1e-6)
    np.testing.assert_allclose(newton.body_pos[2:], mujoco.body_pos[2:], atol=1e-6)
    np.testing.assert_allclose(np.sort(newton.body_inertia), np.sort(mujoco.body_inertia), rtol=1e-3)
    limits = read_robot(file).torque_limits
    np.testing.assert_allclose(newton.jnt_actfrcrange[1:], np.stack([-limits, limits], axis=1), rtol=1e-6)


@pytest.mark.parametrize(
    ("bottom", "named"),
    [
        ('<equality><connect name="loop" body1="l_shin" body2="r_shin" anchor="0 0 0"/></equality>', "equality loop"),
        ('<tendon><spatial name="cord"><site site="l"/><site site="r"/></spatial></tendon>', "tendon cord"),
        ('<contact><pair geom1="l_foot" geom2="trunk"/></contact>', "contact pairs l_foot and trunk"),
        ('<actuator><motor joint="l_hip" forcerange="-1 2"/></actuator>', "uneven torque ranges l_hip"),
    ],
)
def test_what_newton_is_not_given_is_refused_by_name(tmp_path: Path, bottom: str, named: str) -> None:
    with pytest.raises(EngineError, match=f"engine=newton does not simulate its {named}; use engine=mujoco"):
        build(legs(tmp_path, bottom))


def test_what_stands_around_the_body_is_left_out(tmp_path: Path) -> None:
    """The floor of a file for looking at a model; its meshes need no package either."""
    asset = stone(tmp_path, 'contype="0" conaffinity="0" mass="0"')
    around = '<worldbody><geom type="plane" size="0 0 1"/><geom type="mesh" mesh="stone"/>'
    asset.write_text(asset.read_text().replace("<worldbody>", around))
    model = build(asset).mujoco_model
    assert model.geom_bodyid.tolist() == [0, 1]  # the scene's ground and the stone's sphere
    assert model.geom_pos[0].tolist() == [0.0, 0.0, 0.0]


def test_environments_share_one_model(tmp_path: Path) -> None:
    scene = build(stone(tmp_path, 'contype="0" conaffinity="0" mass="0"'), num_envs=5)
    assert scene.data.qpos.shape == (5, 7)
    assert scene.warp_model.body_mass.shape == (1, 2)


def test_without_options_the_solver_is_as_before(tmp_path: Path) -> None:
    option = build(stone(tmp_path, 'contype="0" conaffinity="0" mass="0"')).warp_model.opt
    found = [float(array.numpy()[0]) for array in (option.tolerance, option.ls_tolerance)]
    assert found == pytest.approx([1e-6, 0.01])


def test_a_newton_that_is_too_old_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import newton

    monkeypatch.setattr(newton, "__version__", "1.4.0rc1")
    with pytest.raises(EngineError, match=r"^engine=newton needs Newton 1\.6 or newer, found 1\.4\.0rc1: pip install"):
        build(stone(tmp_path, 'contype="0" conaffinity="0" mass="0"'))


def refuse(*_: Any) -> None:
    raise AssertionError("converted again")


def test_a_converted_scene_is_kept(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mimickit_hydra.engines.warp import newton_cache, newton_convert

    first = build(HUMANOID, num_envs=1)
    assert len(list(cache.iterdir())) == 1
    monkeypatch.setattr(newton_convert, "convert", refuse)
    second = build(HUMANOID, num_envs=3)
    mine, theirs = (dict(newton_cache._arrays(scene.warp_model)) for scene in (first, second))
    assert mine.keys() == theirs.keys()
    assert all(newton_cache._equal(mine[name], theirs[name]) for name in mine)
    assert (second.data.nworld, second.data.njmax, second.data.njmax_nnz) == (3, first.data.njmax, first.data.njmax_nnz)
    with pytest.raises(AssertionError, match="converted again"):
        build(HUMANOID, impratio=9.0)


def test_a_damaged_file_is_made_anew(cache: Path) -> None:
    build(HUMANOID)
    (file,) = cache.iterdir()
    whole = file.read_bytes()
    for damaged in (b"", whole[: len(whole) // 2], b"x" * 100):
        file.write_bytes(damaged)
        build(HUMANOID)
        assert file.stat().st_size == len(whole)


def test_assets_in_several_files_are_known_by_all_of_them(cache: Path, tmp_path: Path) -> None:
    asset = stone(tmp_path, 'mass="0"')
    build(asset)
    build(asset)
    assert len(list(cache.iterdir())) == 1
    mesh = asset.with_name("stone.obj")
    mesh.write_text(mesh.read_text().replace("0.1", "0.2"))
    os.utime(mesh, (2_000_000_000, 2_000_000_000))  # MuJoCo keeps meshes of a process until their time changes
    build(asset)
    assert len(list(cache.iterdir())) == 2


def test_without_a_place_for_the_cache_scenes_are_converted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mimickit_hydra.engines.warp import newton_cache

    (tmp_path / "file").touch()
    monkeypatch.setattr(newton_cache, "folder", lambda: tmp_path / "file")
    assert build(HUMANOID).mujoco_model.nbody == 16


def test_a_full_disk_leaves_nothing_behind(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert build(HUMANOID).mujoco_model.nbody == 16
    assert list(cache.iterdir()) == []


def test_a_gpu_that_warp_does_not_find_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with a driver that torch's CUDA still runs on and Warp's does not."""
    import torch
    import warp as wp

    from mimickit_hydra.engines.warp.engine import _warp_device

    assert _warp_device("newton", torch.device("cpu")) == wp.get_device("cpu")
    with pytest.raises(EngineError) as error:
        _warp_device("newton", torch.device("cuda", 77))
    assert str(error.value) == (
        f"engine=newton: Warp {wp.__version__} finds no cuda:77; its CUDA needs a newer driver, or use devices=[cpu]"
    )
