"""Checks a run for what types cannot express. Every failure is one line; imports neither torch nor a simulator."""

from __future__ import annotations

import dataclasses
import importlib.util

from mimickit_hydra.checks.compatibility import check_pairs
from mimickit_hydra.checks.files import check_files
from mimickit_hydra.checks.machine import check_devices, check_engine, check_logger, check_viewer
from mimickit_hydra.config.fields import check_fields, wrong
from mimickit_hydra.config.paths import resolve_data_file
from mimickit_hydra.config.schema import RunConfig
from mimickit_hydra.envs.event_schema import check_events, read_events
from mimickit_hydra.envs.sampling_schema import DEFAULT, read_sampling
from mimickit_hydra.envs.term_schema import KINDS, check_terms
from mimickit_hydra.errors import UserError, nearest
from mimickit_hydra.mimickit.bridge_config import sections
from mimickit_hydra.mimickit.bridge_older import older_sections
from mimickit_hydra.mimickit.checkout import BUILDERS, open_checkout


def validate(run: RunConfig, *, machine: bool = True) -> None:
    """Raise UserError for the first thing in ``run`` that cannot work.

    With ``machine`` off, what only concerns the machine that will run it (GPU, packages) is left out.
    """
    ours = run.core.name == "native"
    _check_values(run)
    _check_frequencies(run)
    check_pairs(run)
    check_events(run)
    if ours:
        check_engine(run.engine, installed=machine)
    else:
        run = _check_checkout(run)
    check_devices(run, present=machine)
    _check_repeated_gpu(run)
    if machine and ours:
        check_logger(run)
        _check_diffusers(run)
        if run.visualize:
            check_viewer("visualize=true")
    check_files(run)
    _check_body(run)


def _check_checkout(run: RunConfig) -> RunConfig:
    """UserError unless the checkout is one and knows what it is to build; returns ``run`` with its data in sight.

    What its interpreter has installed shows when it starts.
    """
    if run.resume is not None:
        raise UserError(f"resume={run.resume}: MimicKit cannot resume a run; start from its weights with model_file=")
    if kind := next((kind for kind in (*KINDS, "critic_observations", "events") if getattr(run.env, kind)), None):
        raise UserError(f"env.{kind}: core=mimickit runs MimicKit's own envs, which take no further terms")
    for key, value in (
        ("sampling", DEFAULT),
        ("motion_split", None),
        ("held_out", 0.0),
        ("action_about", "default"),
        ("state_estimation", True),
    ):
        if getattr(run.env, key, value) != value:
            raise wrong(
                f"env.{key}", getattr(run.env, key), f"{'null' if value is None else value}: MimicKit has no other"
            )
    if run.character.gains is not None:
        raise UserError("character.gains: core=mimickit takes the gains of the character's file; must be null")
    checkout = open_checkout(run.core)
    for section, (key, _) in BUILDERS.items():
        name = getattr(run.core, section).get(key) or getattr(getattr(run, section), key)
        checkout.check_builds(section, str(name))
    older_sections(sections(run), checkout, run)
    return dataclasses.replace(run, data_root=[*([str(checkout.data)] * checkout.data.is_dir()), *run.data_root])


def _check_values(run: RunConfig) -> None:
    """Check each value by the rule of its field, then each group by what its dataclass says of them together."""
    check_fields(run)
    check_terms(run.env)
    if hasattr(run.env, "sampling"):
        read_sampling(run.env)
    for section in dataclasses.fields(run):
        check = getattr(getattr(run, section.name), "check", None)
        if check is not None:
            check()


def _check_frequencies(run: RunConfig) -> None:
    engine = run.engine
    if engine.sim_freq % engine.control_freq != 0:
        allowed = f"a multiple of engine.control_freq={engine.control_freq}"
        raise wrong("engine.sim_freq", engine.sim_freq, allowed)


# -------------------------------------------------------------------------------------------------- what the run needs


def _check_repeated_gpu(run: RunConfig) -> None:
    """UserError for a GPU named twice: processes may share a CPU, but NCCL refuses to share a GPU."""
    gpus = [f"{device}:0" if device == "cuda" else device for device in run.devices if device != "cpu"]
    for gpu in gpus:
        if gpus.count(gpu) > 1:
            allowed = f"another GPU for each process, but {gpu} is there {gpus.count(gpu)} times"
            raise wrong("devices", list(run.devices), allowed)


def _check_diffusers(run: RunConfig) -> None:
    if run.agent.agent_name == "SMP" and importlib.util.find_spec("diffusers") is None:
        raise UserError("agent=smp: not installed (no module diffusers): pip install 'mimickit-hydra[smp]'")


# --------------------------------------------------------------------------------------- the body of the character


def _bodies_of_events(run: RunConfig) -> list[tuple[str, list[str]]]:
    """The bodies that events name; patterns and the root, which an empty name means, are left to the env."""
    found = [(event.name, getattr(event.params, "bodies", [])) for event in read_events(run.env)]
    return [(name, [body for body in bodies if body and not set(body) & set("*?[")]) for name, bodies in found]


def _check_body(run: RunConfig) -> None:
    """Check bodies, poses and control mode against the character's own file."""
    from mimickit_hydra.motion.mjcf import read_robot
    from mimickit_hydra.motion.robot import NO_TORQUE_LIMIT

    robot = read_robot(resolve_data_file(run.env.char_file, run.data_root), run.character.gains)
    names = robot.body_names
    target = getattr(run.env, "proj_target_body", None)
    for key, wanted in (
        *(
            (key, getattr(run.env, key, []))
            for key in ("key_bodies", "contact_bodies", "tracked_bodies", "end_effectors")
        ),
        ("anchor_body", [anchor] if (anchor := getattr(run.env, "anchor_body", "")) else []),
        ("proj_target_body", [] if target is None else [target]),
        *((f"events.{name}.bodies", bodies) for name, bodies in _bodies_of_events(run)),
    ):
        for name in wanted:
            if name not in names:
                near = nearest(name, names, count=1)
                hint = f"; nearest: {near[0]}" if near else ""
                raise UserError(
                    f"env.{key}: {run.character.name} has no body {name!r}{hint}; bodies: {', '.join(names)}"
                )
    weights = getattr(run.env, "joint_err_w", None)
    if weights and len(weights) != len(names) - 1:
        raise UserError(f"env.joint_err_w: found {len(weights)} numbers, must be {len(names) - 1}, one per joint")
    endless = robot.driven & (robot.torque_limits >= NO_TORQUE_LIMIT)
    if run.engine.control_mode == "torque" and endless.any():
        raise UserError(
            f"engine.control_mode: found torque, but nothing in {run.env.char_file} limits the torque of joints "
            f"{robot.joints(endless)}; give them actuatorfrcrange, or use pos"
        )
    dofs = robot.dof_dims.tolist()
    if len(run.env.init_pose) not in (0, 3, 6 + sum(dofs)):
        allowed = f"3 (root position) or {6 + sum(dofs)} (root position and rotation, then the DoFs)"
        raise UserError(f"env.init_pose: found {len(run.env.init_pose)} numbers, must be {allowed}")
    if run.engine.control_mode == "pd_explicit" and max(dofs) > 1:
        body = names[dofs.index(max(dofs))]
        raise UserError(
            f"engine.control_mode: pd_explicit drives hinges only, but {run.character.name} has joints of several "
            f"DoFs (the first at {body}); use pos"
        )
