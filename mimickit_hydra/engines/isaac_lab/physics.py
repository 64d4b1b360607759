"""What differs between the three physics of Isaac Lab: Newton, PhysX without Isaac Sim, and PhysX in Isaac Sim.

Each is asked for its configuration, for what has to be in place before and after a simulation is built, and for the
numbers beyond an object's coordinates that continue a simulation bit for bit. Nothing heavy is imported before one is
chosen.
"""

from __future__ import annotations

import importlib.util
import math
from typing import Any, Dict, List

import torch
import warp as wp

from mimickit_hydra.engines.interface import EngineError

wp.config.enable_backward = False  # adjoint kernels would only cost compile time
wp.config.log_level = wp.LOG_WARNING  # not a line for every kernel it loads

GROUND_PATH = "/World/ground"
GROUND_COLLIDER = GROUND_PATH + "/plane"


class Physics:
    """The part that all of them share; ``modules`` are looked for before anything is imported."""

    name = ""
    modules: tuple = ()
    install = ""
    ball_joints = False  # spherical joints, otherwise D6 joints
    overlapping = False  # environments may stand at the same place without meeting
    exclusive = True  # one simulation in a process
    needs_kit = False
    steps_inside = False  # it can take several substeps in a step
    joins_world = False  # the asset's own joint to the world holds a fixed root, wherever its environment stands
    parent_velocities = False  # of a three-DoF joint, in the parent's side of it

    def missing(self) -> List[str]:
        return [module for module in self.modules if importlib.util.find_spec(module) is None]

    def managers(self) -> List[type]:
        """Classes in whose attributes a simulation lives, besides those of Isaac Lab's core."""
        return []

    def cfg(self, config: Any, colliding: int, at_once: int = 1) -> Any:
        """The physics configuration for environments with ``colliding`` shapes, ``at_once`` substeps in a step."""
        raise NotImplementedError

    def ground_filter(self) -> Dict[str, List[str]]:
        """How a contact sensor is told to report the ground by itself."""
        return {"filter_prim_paths_expr": [GROUND_COLLIDER]}

    def before(self, device: str, control_mode: str) -> None:
        """Called once there is a simulation context, before the scene is built."""

    def internals(self) -> Dict[str, torch.Tensor]:
        """Live tensors that continue the simulation bit for bit; empty if there are none to be had."""
        return {}

    def load(self, saved: Dict[str, torch.Tensor]) -> None:
        """Restore the tensors that :meth:`internals` gave."""

    def dropped(self) -> List[str]:
        """Lines about contacts that did not fit since the last call."""
        return []


class NewtonPhysics(Physics):
    """MuJoCo Warp through Newton, the same solver as ``engine=newton``; three hinges are a ball joint."""

    name = "newton"
    modules = ("isaaclab_newton", "newton", "mujoco_warp")
    install = "pip install isaaclab==3.0.0 (Python 3.12; docs/engines/isaac_lab.md has the lines for others)"
    ball_joints = True
    joins_world = True
    steps_inside = True
    parent_velocities = True
    overlapping = True
    exclusive = False

    def managers(self) -> List[type]:
        from isaaclab_newton.physics import NewtonManager

        return [NewtonManager]

    def cfg(self, config: Any, colliding: int, at_once: int = 1) -> Any:
        from isaaclab_newton.physics import MJWarpSolverCfg, NewtonCfg, NewtonShapeCfg

        contacts = int(getattr(config, "nconmax", 0)) or 16 + math.ceil(1.25 * max(colliding, 1))
        rows = int(getattr(config, "njmax", 0)) or 32 + math.ceil(2.4 * contacts)
        solver = MJWarpSolverCfg(
            njmax=rows, nconmax=contacts, iterations=int(getattr(config, "iterations", 100)),
            ls_iterations=int(getattr(config, "ls_iterations", 50)), impratio=float(getattr(config, "impratio", 10.0)),
            solver="newton", integrator="implicitfast", cone="pyramidal", tolerance=1e-8,
        )  # fmt: skip
        # A gap would report contacts of bodies that only come near each other.
        return NewtonCfg(solver_cfg=solver, num_substeps=at_once, default_shape_cfg=NewtonShapeCfg(gap=0.0))

    def ground_filter(self) -> Dict[str, List[str]]:
        return {"filter_shape_prim_expr": [GROUND_COLLIDER]}

    def before(self, device: str, control_mode: str) -> None:
        """Make the drives of position targets clamp the sum of spring and damper, as a motor does.

        Isaac Lab makes two actuators of a joint with stiffness and damping, and clamps each.
        """
        from isaaclab.physics import PhysicsEvent
        from isaaclab.sim import SimulationContext
        from isaaclab_newton.physics import NewtonManager
        from isaaclab_newton.physics.newton_manager_cfg import NewtonBuilderCfg
        from newton import JointTargetMode

        def one_actuator_a_dof(_: Any) -> None:
            context = SimulationContext.instance()
            builder = context.get_or_create_backend(NewtonBuilderCfg(physics_cfg=context.cfg.physics))
            both, position = int(JointTargetMode.POSITION_VELOCITY), int(JointTargetMode.POSITION)
            builder.joint_target_mode[:] = [position if m == both else m for m in builder.joint_target_mode]

        if control_mode == "pos":
            NewtonManager.register_callback(one_actuator_a_dof, PhysicsEvent.MODEL_INIT, order=100, wrap_weak_ref=False)

    def internals(self) -> Dict[str, torch.Tensor]:
        from isaaclab_newton.physics import NewtonManager

        state, model, data = NewtonManager.get_state_0(), NewtonManager.get_model(), NewtonManager._solver.mjw_data
        arrays = {
            "joint_q": state.joint_q, "joint_qd": state.joint_qd, "body_q": state.body_q, "body_qd": state.body_qd,
            "joint_X_p": model.joint_X_p, "qacc_warmstart": data.qacc_warmstart,
        }  # fmt: skip
        return {name: wp.to_torch(array) for name, array in arrays.items()}

    def load(self, saved: Dict[str, torch.Tensor]) -> None:
        from isaaclab_newton.physics import NewtonManager
        from newton import ModelFlags

        live = self.internals()
        moved = not torch.equal(live["joint_X_p"].cpu(), saved["joint_X_p"])
        for name, tensor in live.items():
            tensor.copy_(saved[name])
        for refresh in NewtonManager._post_step_callbacks:  # Isaac Lab's own copies of these numbers
            refresh()
        if moved:  # roots that are fixed where the model says
            NewtonManager._solver.notify_model_changed(ModelFlags.JOINT_PROPERTIES)

    def dropped(self) -> List[str]:
        from isaaclab_newton.physics import NewtonManager

        data = NewtonManager._solver.mjw_data
        contacts, rows = int(data.nacon.numpy()[0]), int(data.nefc.numpy().max())
        if contacts < int(data.naconmax) and rows < int(data.njmax):
            return []
        return [
            "environments had more contacts than engine.nconmax={} or constraints than engine.njmax={} hold; some were "
            "dropped: raise them".format(int(data.naconmax) // int(data.nworld), int(data.njmax))
        ]


class OvPhysxPhysics(Physics):
    """PhysX from NVIDIA's ``ovphysx`` package, without Isaac Sim."""

    name = "ovphysx"
    modules = ("isaaclab_ov", "ovphysx")
    install = 'pip install "isaaclab[ovphysx]==3.0.0" (NVIDIA\'s own licence; Python 3.12)'

    def cfg(self, config: Any, colliding: int, at_once: int = 1) -> Any:
        from isaaclab_ov.physics import OvPhysxCfg

        return OvPhysxCfg()

    def before(self, device: str, control_mode: str) -> None:
        if device == "cpu" and not wp.is_cuda_available():
            cpu = wp.get_device("cpu")  # it asks for page-locked memory even where no GPU will read it
            cpu.pinned_allocator = cpu.default_allocator


class IsaacSimPhysics(Physics):
    """PhysX inside Isaac Sim, which is started with it."""

    name = "isaacsim"
    modules = ("isaaclab_physx", "isaacsim")
    install = (
        'pip install "isaaclab[isaacsim]==3.0.0" with NVIDIA\'s package index as its installation page says '
        "(Python 3.12, an RTX GPU), and accept NVIDIA's licence with OMNI_KIT_ACCEPT_EULA=YES"
    )
    needs_kit = True

    def cfg(self, config: Any, colliding: int, at_once: int = 1) -> Any:
        from isaaclab_physx.physics import PhysxCfg

        return PhysxCfg(bounce_threshold_velocity=0.2)


_KINDS = {kind.name: kind for kind in (NewtonPhysics, OvPhysxPhysics, IsaacSimPhysics)}


def make_physics(name: str) -> Physics:
    """The physics that ``engine.physics`` names; EngineError with one line if it is not installed."""
    physics = _KINDS[name]()
    missing = physics.missing()
    if missing:
        raise EngineError(
            "engine.physics={} needs the Python package{} {}, not found: {}".format(
                name, "s" if len(missing) > 1 else "", ", ".join(missing), physics.install
            )
        )
    return physics
