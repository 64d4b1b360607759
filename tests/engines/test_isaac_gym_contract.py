"""The calls of engine=isaac_gym against the published signatures of Preview 4, by reading the code."""

from pathlib import Path
from typing import Any

import pytest
from isaac_gym_contract import check, stubs

ENGINES = Path(__file__).parents[2] / "mimickit_hydra" / "engines"
MODULES = sorted(path for path in (ENGINES / "isaac_gym").glob("*.py") if path.stem != "__init__")
SIM = ENGINES / "isaac_gym" / "sim.py"


@pytest.fixture(scope="module")
def stub() -> Any:
    path = stubs.find_stub()
    if path is None:
        pytest.skip(f"needs the published signatures: {stubs.INSTALL}")
    return stubs.load_stub(path)


@pytest.mark.parametrize("path", MODULES, ids=[path.stem for path in MODULES])
def test_every_call_of_isaac_gym_exists_and_fits(stub: Any, path: Path) -> None:
    assert check(path.read_text(), stub).errors == []


def test_the_check_sees_what_the_engine_uses(stub: Any) -> None:
    used = check(SIM.read_text(), stub).used
    assert len(used) > 60
    assert {
        "gym.create_sim", "gym.set_actor_root_state_tensor_indexed", "gym.set_dof_position_target_tensor",
        "gymtorch.unwrap_tensor", "gymapi.DOF_MODE_EFFORT", "PhysXParams.solver_type", "AssetOptions.fix_base_link",
        "RigidBodyProperties.com", "Vec3.x", "PlaneParams.normal", "Transform.r",
    } <= used  # fmt: skip


# What stands in the engine, what a mistake would make of it, and what the check is to say.
FAULTS = [
    ("gym.prepare_sim(", "gym.prepare_simulation(", "gym.prepare_simulation does not exist"),
    ("self.gym.fetch_results(self.sim, True)", "self.gym.fetch_results(self.sim)", "missing arg1"),
    ("self.gym.simulate(self.sim)", "self.gym.simulate(self.sim, True)", "2 positional arguments, at most 1"),
    ("self.gym.simulate(self.sim)", "self.gym.simulate(arg0=self.sim)", "no argument arg0"),
    ("gymapi.GLOBAL_SPACE", "gymapi.WORLD_SPACE", "gymapi.WORLD_SPACE does not exist"),
    ("gymapi.PlaneParams()", "gymapi.GroundParams()", "gymapi.GroundParams does not exist"),
    ("params.physx.solver_type", "params.physx.solver", "PhysXParams has no solver"),
    ("params.use_gpu_pipeline", "params.gpu_pipeline", "SimParams has no gpu_pipeline"),
    ("plane.static_friction", "plane.friction", "PlaneParams has no friction"),
    ("options.fix_base_link", "options.fix_base", "AssetOptions has no fix_base"),
    ("pose.r = ", "pose.q = ", "Transform has no q"),
    ("bodies[i].mass", "bodies[i].weight", "RigidBodyProperties has no weight"),
    ("bodies[i].com.x", "bodies[i].com.a", "Vec3 has no a"),
    ("gym.acquire_dof_state_tensor(sim)", "gym.acquire_dof_states_tensor(sim)", "acquire_dof_states_tensor does not"),
    ("gym.acquire_dof_state_tensor(sim)", "gym.acquire_dof_state_tensor()", "missing arg0"),
    ("gymtorch.unwrap_tensor(tensor)", "gymtorch.unwrap(tensor)", "gymtorch.unwrap does not exist"),
    ("gymapi.Vec3(0.0, 0.0, 1.0)", "gymapi.Vec3(0.0, 0.0, 1.0, 0.0)", "gymapi.Vec3: 4 positional"),
    ("self.gym.get_asset_dof_properties(handle)", "self.gym.get_asset_dof_properties()", "missing arg0"),
]


@pytest.mark.parametrize(("right", "wrong", "expected"), FAULTS)
def test_a_planted_fault_is_caught(stub: Any, right: str, wrong: str, expected: str) -> None:
    source = SIM.read_text()
    assert right in source
    errors = check(source.replace(right, wrong), stub).errors
    assert any(expected in error for error in errors), errors


def test_the_stub_is_repaired(stub: Any) -> None:
    """Two properties called lambda, and native signatures that stand in docstrings alone."""
    assert any("lambda" in cls.fields for cls in stub.classes.values())
    methods = {name: found for name, found in stub.classes["Gym"].methods.items() if not name.startswith("_")}
    assert [name for name, found in methods.items() if any(one.parameters is None for one in found)] == []
    assert len(methods) > 300
