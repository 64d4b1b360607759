"""The engine for Isaac Lab 3.0, with the physics of Newton or PhysX, through one code path.

``engine.physics`` chooses: ``newton`` (MuJoCo Warp) and ``ovphysx`` (PhysX) run without Isaac Sim, ``isaacsim`` starts
it. The MJCF asset is the source as for every engine; :mod:`mjcf_usd` writes it as USD.
"""

# ruff: noqa: B905  (zip(strict=...) needs Python 3.10)
from __future__ import annotations

import warnings
from typing import Any, Dict, List, Mapping

import torch

from mimickit_hydra.engines.interface import Engine, ResetState, SceneSpec, check_saved_state
from mimickit_hydra.engines.isaac_lab.physics import Physics, make_physics


class IsaacLabEngine(Engine):
    """Isaac Lab behind the engine interface. Of ``config`` the attributes of ``IsaacLabEngineConfig`` are read.

    A simulation that blows up sets ``diverged``, and its state reads NaN until it is reset. With PhysX a checkpoint
    holds what the interface shows, so that a run continues closely but not bit for bit; with Newton it is exact.
    """

    name = "isaac_lab"
    capturable = False  # Isaac Lab works on the host between its launches

    def __init__(self, config: Any, scene: SceneSpec, num_envs: int, device: str = "cpu") -> None:
        self._describe(config, num_envs, _indexed(torch.device(device)))
        self._physics: Physics = make_physics(str(getattr(config, "physics", "newton")))
        self._closed = True
        self._launch = _launch(self._physics, config, scene, num_envs, self.device)
        from mimickit_hydra.engines.isaac_lab.process import Turn  # imports the simulator: after it was launched

        self._turn = Turn(self._physics.managers(), self._physics.exclusive)
        try:
            with self._turn:
                self._build(config, scene)
        except BaseException:
            self._turn.end()
            raise
        self._closed = False

    def _build(self, config: Any, scene: SceneSpec) -> None:
        import isaaclab.sim as sim_utils
        from isaaclab.scene import InteractiveScene
        from isaaclab.sim import SimulationContext
        from isaaclab.utils.timer import Timer

        from mimickit_hydra.engines.isaac_lab.object import LabObject
        from mimickit_hydra.engines.isaac_lab.scene import object_name, plan_scene, sensor_name

        # Targets of drives are held, so the simulator may take all substeps in one call. The other commands depend on
        # the pose: explicit PD, and torques and velocities of three-DoF joints, which it takes in other axes.
        held = self._physics.steps_inside and self.control_mode in ("pos", "none")
        self._at_once = self._substeps if held else 1
        plan = plan_scene(config, scene, self.num_envs, str(self.device), self._physics, self._at_once)
        Timer.enable_display_output = False
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Isaac Lab about its own future
            sim_utils.create_new_stage()
            self._sim = SimulationContext(plan.sim)
            self._physics.before(str(self.device), self.control_mode)
            self._scene = InteractiveScene(plan.scene)
            self._sim.reset()
        origins = torch.as_tensor(self._scene.env_origins, dtype=torch.float32, device=self.device).clone()
        self._objects: List[LabObject] = []
        for k, (spec, usd) in enumerate(zip(scene.objects, plan.assets)):
            sensor = self._scene[sensor_name(k)] if usd.colliders else None
            asset = self._scene[object_name(k)]
            self._objects.append(LabObject(spec, usd, asset, sensor, origins, self._physics.parent_velocities))
        self.models = [obj.model for obj in self._objects]
        self.states = [obj.state for obj in self._objects]
        self.diverged = torch.zeros(self.num_envs, dtype=torch.bool, device=self.device)
        self._pushed = [False] * len(self._objects)
        everyone = torch.ones(self.num_envs, dtype=torch.bool, device=self.device)
        for obj in self._objects:
            obj.write(everyone, obj.start)
        self._read(None)

    def set_command(self, command: torch.Tensor, obj: int = 0) -> None:
        if self._objects[obj].driven:
            self._objects[obj].command.copy_(command)

    def set_body_force(self, body: int, force: torch.Tensor, obj: int = 0) -> None:
        self._objects[obj].forces[:, body] = force
        self._pushed[obj] = True

    def step(self) -> None:
        with self._turn:
            self._refuse_bad_commands()
            anew = self.control_mode in ("vel", "torque", "pd_explicit")  # they depend on the pose or the velocity
            for index in range(self._substeps // self._at_once):
                if index and anew:
                    self._read(None)
                for obj, pushed in zip(self._objects, self._pushed):
                    if index == 0 or anew:
                        obj.drive(self.control_mode)
                    if pushed:
                        obj.push()
                self._scene.write_data_to_sim()
                self._sim.step(render=False)
                self._scene.update(self._at_once * self.sim_dt)
            for k, pushed in enumerate(self._pushed):
                if pushed:
                    self._objects[k].forces.zero_()
                    self._pushed[k] = False
            self._read(None)
            for obj in self._objects:
                obj.read_contacts()
            self._find_lost()

    def _refuse_bad_commands(self) -> None:
        """A command that is no number loses its environment; the simulator itself gets zero."""
        for obj in self._objects:
            if obj.model.num_dofs:
                bad = ~(obj.command.abs() < 1e10).all(1)
                self.diverged |= bad
                obj.command.masked_fill_(bad.unsqueeze(1), 0.0)

    def _find_lost(self) -> None:
        for obj in self._objects:
            self.diverged |= ~obj.finite()
        if self.device.type == "cpu" and not bool(self.diverged.any()):
            return
        for obj in self._objects:
            obj.invalidate(self.diverged)

    def _read(self, mask: Any) -> None:
        for obj in self._objects:
            obj.read(mask)

    def reset(self, mask: torch.Tensor, states: Mapping[int, ResetState]) -> None:
        mask = mask.to(self.device)
        if self.device.type == "cpu" and not bool(mask.any()):
            return
        with self._turn:
            lost = self.diverged & mask
            self.diverged &= ~mask
            for k, obj in enumerate(self._objects):
                obj.forget(mask)
                if k in states:
                    self._put(obj, mask, states[k])
                elif self.device.type != "cpu" or bool(lost.any()):
                    obj.write(lost, obj.start)
            self._read(mask)

    def place(self, obj: int, mask: torch.Tensor, state: ResetState) -> None:
        with self._turn:
            mask = mask.to(self.device)
            self._put(self._objects[obj], mask, state)
            self._objects[obj].read(mask)

    def _put(self, obj: Any, mask: torch.Tensor, state: ResetState) -> None:
        """A state that is no number loses its environment; the simulator itself gets the start."""
        new, bad = obj.or_start(state)
        obj.write(mask, new)
        self.diverged |= bad & mask

    def _saved(self) -> Dict[str, torch.Tensor]:
        found = {"physics.{}".format(name): tensor for name, tensor in self._physics.internals().items()}
        found["diverged"] = self.diverged
        for k, obj in enumerate(self._objects):
            found.update({"{}.{}".format(name, k): tensor for name, tensor in obj.saved().items()})
        return found

    def state_dict(self) -> Dict[str, torch.Tensor]:
        with self._turn:
            return {name: tensor.detach().cpu().clone() for name, tensor in self._saved().items()}

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        with self._turn:
            own = self._saved()
            check_saved_state(state, own)
            everyone = torch.ones(self.num_envs, dtype=torch.bool, device=self.device)
            for k, obj in enumerate(self._objects):
                for name, tensor in obj.saved().items():
                    tensor.copy_(state["{}.{}".format(name, k)])
                self._pushed[k] = bool(obj.forces.any())
                obj.write(everyone, obj.or_start(obj.as_reset())[0])
            self._sim.physics_manager.forward()  # what it does about new states comes before they are made exact
            self._read(everyone)
            self._physics.load({name: state["physics." + name] for name in self._physics.internals()})
            for name, tensor in own.items():
                if not name.startswith("physics."):
                    tensor.copy_(state[name])

    def warnings(self) -> List[str]:
        with self._turn:
            return self._physics.dropped()

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        from isaaclab.sim import SimulationContext

        with self._turn:
            self._scene = None
            SimulationContext.clear_instance()
        self._turn.end()
        if self._launch is not None:
            self._launch.__exit__(None, None, None)


def _launch(physics: Physics, config: Any, scene: SceneSpec, num_envs: int, device: torch.device) -> Any:
    """Start Isaac Sim where the physics needs it, before anything else of Isaac Lab is imported."""
    if not physics.needs_kit:
        return None
    from isaaclab.app import launch_simulation

    launched = launch_simulation(physics.cfg(config, 0), {"headless": True, "device": str(device)})
    launched.__enter__()
    return launched


def _indexed(device: torch.device) -> torch.device:
    if device.type == "cpu" or device.index is not None:
        return device
    return torch.device(device.type, torch.cuda.current_device())
