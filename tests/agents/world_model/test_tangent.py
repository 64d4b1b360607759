"""States of characters with hinges and ball joints, their tangents, and kinematics against the simulator's."""

import pytest
import torch

from mimickit_hydra.agents.world_model.tangent import StateLayout
from mimickit_hydra.config.paths import bundled_data
from mimickit_hydra.engines.interface import ObjectSpec, ResetState, SceneSpec
from mimickit_hydra.engines.registry import make_engine
from mimickit_hydra.engines.schema import MujocoEngineConfig
from mimickit_hydra.motion.character import CharacterModel
from mimickit_hydra.motion.rotations import quat_mul, quat_rotate, quat_to_matrix

N = 6
ROBOT = """<mujoco model="hinges"><compiler angle="radian"/><worldbody><body name="trunk" pos="0 0 1"><freejoint/>
 <geom type="box" size=".2 .1 .1"/>
 <body name="hip" pos=".1 .2 -.1" quat=".8 .6 0 0"><joint name="hip" axis="1 2 0" pos=".03 0 .05" range="-1 1"/>
  <geom size=".05"/>
  <body name="plate" pos="0 0 -.2" quat=".6 0 0 .8"><geom size=".03"/>
   <body name="foot" pos="0 .1 -.3"><joint name="ankle" axis="0 1 0" range="-2 1"/><geom size=".05"/></body></body>
 </body>
 <body name="arm" pos="0 -.2 .1"><joint name="arm" axis="0 0 1" pos="0 0 .1" range="-1 2"/><geom size=".05"/></body>
</body></worldbody></mujoco>"""


@pytest.fixture(scope="module")
def robot_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("robot") / "robot.xml"
    path.write_text(ROBOT)
    return path


def some_states(layout, n=N, seed=0):
    torch.manual_seed(seed)
    d = layout.character.num_dofs
    rotation = torch.nn.functional.normalize(torch.randn(n, 4), dim=-1)
    low, high = torch.as_tensor(layout.character.dof_low), torch.as_tensor(layout.character.dof_high)
    dof_pos = low.clamp(-1, 1) + torch.rand(n, d) * (high.clamp(-1, 1) - low.clamp(-1, 1))
    fields = (torch.randn(n, 3), rotation, torch.randn(n, 3), torch.randn(n, 3), dof_pos, torch.randn(n, d))
    return fields, layout.pack(*fields)


@pytest.fixture(params=["humanoid", "hinges"])
def layout(request, robot_file):
    file = bundled_data() / "assets/humanoid/humanoid.xml" if request.param == "humanoid" else robot_file
    return StateLayout(CharacterModel.from_file(file))


def test_axes_are_those_of_the_root(layout):
    (_, rotation, *_), state = some_states(layout)
    axes = layout.axes(state)
    torch.testing.assert_close(axes, quat_to_matrix(rotation))
    for i, axis in enumerate(torch.eye(3)):
        torch.testing.assert_close(axes[..., i], quat_rotate(rotation, axis.expand(N, 3)))


def test_plus_and_minus_are_inverse(layout):
    _, state = some_states(layout)
    tangent = 0.5 * torch.randn(N, layout.tangent_size)
    moved = layout.plus(state, tangent)
    torch.testing.assert_close(layout.minus(moved, state), tangent, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(layout.minus(state, state), torch.zeros_like(tangent), atol=1e-6, rtol=0)


def test_integrate_and_residual_are_inverse(layout):
    _, state = some_states(layout)
    _, following = some_states(layout, seed=1)
    following = layout.plus(state, 0.3 * layout.minus(following, state).clamp(-1, 1))
    residual = layout.residual(state, following, 0.02)
    torch.testing.assert_close(layout.minus(layout.integrate(state, residual, 0.02), following).abs().max(),
                               torch.zeros(()), atol=2e-5, rtol=0)  # fmt: skip


def test_without_a_residual_everything_moves_on_as_it_does(layout):
    (pos, _, vel, _, dof_pos, dof_vel), state = some_states(layout)
    after = layout.integrate(state, torch.zeros(N, layout.tangent_size), 0.1)
    found = layout.split(after)
    torch.testing.assert_close(found[0], pos + 0.1 * vel, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found[4], vel, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found[6], dof_vel)
    hinges = layout._hinge_dofs
    torch.testing.assert_close(found[2], (dof_pos + 0.1 * dof_vel)[:, hinges], atol=1e-5, rtol=1e-5)


def test_features_do_not_change_with_place_and_heading(layout):
    fields, state = some_states(layout)
    turn = torch.tensor([0.0, 0.0, 0.6, 0.8]).expand(N, 4)
    pos, rotation, vel, ang_vel, *dofs = fields
    shifted = quat_rotate(turn, pos) + torch.tensor([3.0, -2.0, 0.0])
    other = layout.pack(shifted, quat_mul(turn, rotation), quat_rotate(turn, vel), quat_rotate(turn, ang_vel), *dofs)
    features = layout.features(state, layout.axes(state))
    assert features.shape == (N, layout.feature_size)
    torch.testing.assert_close(layout.features(other, layout.axes(other)), features, atol=1e-5, rtol=1e-5)
    down = quat_rotate(rotation, features[:, 1:4])
    torch.testing.assert_close(down, torch.tensor([0.0, 0.0, -1.0]).expand(N, 3), atol=1e-5, rtol=0)


def test_the_way_to_a_target_is_what_plus_goes(layout):
    (*_, dof_pos, _), state = some_states(layout)
    way = 0.3 * torch.randn(N, layout.character.num_dofs)
    tangent = torch.zeros(N, layout.tangent_size)
    tangent[:, 6 : layout.config_size] = way
    goal = layout.character.rot_to_dof(layout.rotations(layout.plus(state, tangent))[:, 1:])
    torch.testing.assert_close(layout.dofs_to(state, goal), way, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(layout.dofs_to(state, dof_pos), torch.zeros_like(way), atol=2e-6, rtol=0)


def test_poses_and_velocities_of_bodies_are_the_simulators(layout):
    character = layout.character
    spec = ObjectSpec(character.name, str(character.source))
    engine = make_engine(MujocoEngineConfig(engine_name="mujoco", num_threads=1), SceneSpec((spec,)), N, "cpu")
    fields, state = some_states(layout)
    fields[0][:, 2] += 5.0
    state = layout.pack(*fields)
    engine.reset(torch.ones(N, dtype=torch.bool), {0: ResetState(*fields)})
    truth = engine.states[0]
    found = layout.character_state(state, torch.tensor([0, 2]))
    vel, ang_vel = character.body_velocities(
        found.body_pos, found.body_rot, found.root_vel, found.root_ang_vel, found.dof_vel
    )
    engine.close()
    torch.testing.assert_close(found.body_pos, truth.body_pos, atol=1e-5, rtol=0)
    same = (found.body_rot * truth.body_rot).sum(-1).abs()
    torch.testing.assert_close(same, torch.ones_like(same), atol=1e-5, rtol=0)
    torch.testing.assert_close(vel, truth.body_vel, atol=2e-5, rtol=1e-5)
    torch.testing.assert_close(ang_vel, truth.body_ang_vel, atol=2e-5, rtol=1e-5)
    torch.testing.assert_close(found.key_offset[:, 1], truth.body_pos[:, 2] - truth.root_pos, atol=1e-5, rtol=0)


def test_gradients_are_those_of_finite_differences(layout):
    """Through integration, kinematics and velocities, for a sum of everything that comes out."""
    _, state = some_states(layout, n=2)
    weights = torch.randn(20)

    def total(x):
        moved = layout.integrate(layout.plus(state.double(), x), 0.1 * x, 0.02)
        seen = layout.character_state(moved, torch.tensor([1]))
        vel, ang_vel = character.body_velocities(
            seen.body_pos, seen.body_rot, seen.root_vel, seen.root_ang_vel, seen.dof_vel
        )
        parts = [seen.body_pos, seen.body_rot, vel, ang_vel, seen.tan_norm, layout.features(moved, layout.axes(moved))]
        return sum(weights[k] * (part.sin()).sum() for k, part in enumerate(parts))

    character = layout.character
    doubles = {
        k: v.double() for k, v in vars(character).items() if isinstance(v, torch.Tensor) and v.is_floating_point()
    }
    before = {k: getattr(character, k) for k in doubles}
    vars(character).update(doubles)
    layout._axes, layout._identity, weights = layout._axes.double(), layout._identity.double(), weights.double()
    try:
        x = torch.zeros(2, layout.tangent_size, dtype=torch.float64, requires_grad=True)
        (gradient,) = torch.autograd.grad(total(x), x)
        way = torch.randn_like(x)
        step = 1e-6
        with torch.no_grad():
            slope = (total(x + step * way) - total(x - step * way)) / (2 * step)
    finally:
        vars(character).update(before)
    torch.testing.assert_close((gradient * way).sum(), slope, rtol=5e-4, atol=1e-5)
