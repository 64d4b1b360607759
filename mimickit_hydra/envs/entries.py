"""Registers the envs, tasks and terms of this package."""

from __future__ import annotations

from mimickit_hydra.plugins import Plugin

_ROOM = "mimickit_hydra.envs"
_SCHEMA = f"{_ROOM}.schema"
_IMITATION = f"{_ROOM}.builder:build_imitation"


def register(plugin: Plugin) -> None:
    plain = f"{_ROOM}.registry"
    for name, schema, kinds in (
        ("deepmimic", "DeepMimicEnvConfig", ("rewarded", "imagined")),
        ("static_objects", "StaticObjectsEnvConfig", ("rewarded", "imagined")),
        ("amp", "AMPEnvConfig", ()),
        ("ase", "ASEEnvConfig", ()),
        ("add", "AMPEnvConfig", ()),
        ("smp", "AMPEnvConfig", ()),
    ):
        plugin.env(name, _IMITATION, schema=f"{_SCHEMA}:{schema}", kinds=kinds, base=f"base_{name}_env")
    for name in ("location", "steering", "dodgeball"):
        place = f"{_ROOM}.tasks.{name}"
        schema = f"{place}_schema:{name.capitalize()}EnvConfig"
        plugin.task(f"task_{name}", f"{place}:{name.capitalize()}", schema=schema, base=f"base_{name}_env")
    plugin.env(
        "tracking", f"{_ROOM}.track.env:build_tracking", schema=f"{_ROOM}.track.schema:TrackingEnvConfig",
        kinds=("rewarded", "imagined"), base="base_tracking",
    )  # fmt: skip
    _register_terms(plugin)
    _register_tracking_terms(plugin)
    _register_events(plugin)
    _register_samplers(plugin)
    playback = f"{_ROOM}.playback_schema"
    plugin.env("char", f"{plain}:build_plain", schema=f"{_SCHEMA}:CharEnvConfig", base="base_char_env")
    plugin.env(
        "view_motion", f"{plain}:build_view_motion", schema=f"{playback}:ViewMotionEnvConfig", kinds=("unlearned",),
        base="base_view_motion_env",
    )  # fmt: skip
    plugin.env(
        "char_dof_test", f"{plain}:build_plain", schema=f"{playback}:DofTestEnvConfig", kinds=("unlearned",),
        base="base_dof_test_env",
    )  # fmt: skip


def _register_terms(plugin: Plugin) -> None:
    place, params = f"{_ROOM}.imitation_terms", f"{_ROOM}.term_schema"
    plugin.observation("character", f"{place}:CharacterObs", schema=f"{params}:FrameParams", measured=True)
    plugin.observation("phase", f"{place}:PhaseObs", schema=f"{params}:PhaseParams", needs_reference=True)
    plugin.observation("target", f"{place}:TargetObs", schema=f"{params}:TargetParams", follows_reference=True)
    for name, term, schema in (
        ("pose", "Pose", "JointError"),
        ("vel", "Velocity", "JointError"),
        ("root_pose", "RootPose", "RootError"),
        ("root_vel", "RootVelocity", "FrameError"),
        ("key_pos", "KeyPositions", "FrameError"),
        ("imitation", "ImitationReward", "Imitation"),
    ):
        plugin.reward(name, f"{place}:{term}", schema=f"{params}:{schema}Params", follows_reference=True)
    plugin.termination("fall", f"{place}:Fall", schema=f"{params}:FallParams")
    plugin.termination("pose_lost", f"{place}:PoseLost", schema=f"{params}:PoseLostParams", follows_reference=True)


def _register_tracking_terms(plugin: Plugin) -> None:
    place, params = f"{_ROOM}.track.terms", f"{_ROOM}.track.schema"
    for name in ("goal_joints", "goal_roots"):
        plugin.observation(name, f"{place}:{name}", schema=f"{params}:GoalParams", tracked=True)
    for name in ("command", "body_pos", "body_ori", "root_height"):
        plugin.observation(name, f"{place}:{name}", tracked=True)
    for name, noise in (("motion_anchor_pos_b", 0.25), ("motion_anchor_ori_b", 0.05)):
        plugin.observation(name, f"{place}:{name}", tracked=True, measured=True, noise=noise)
    for name, noise in (("base_lin_vel", 0.5), ("base_ang_vel", 0.2), ("joint_pos", 0.01), ("joint_vel", 0.5)):
        schema = f"{params}:EncoderParams" if name == "joint_pos" else ""
        plugin.observation(name, f"{place}:{name}", schema=schema, measured=True, noise=noise)
    plugin.observation("projected_gravity", f"{place}:projected_gravity", measured=True, noise=0.05)
    plugin.observation("actions", f"{place}:actions")
    for name in ("global_root_pos", "global_root_ori", "body_pos", "body_ori", "body_lin_vel", "body_ang_vel"):
        plugin.reward(f"motion_{name}", f"{place}:motion_{name}", schema=f"{params}:ErrorParams", tracked=True)
    plugin.reward("action_rate_l2", f"{place}:action_rate_l2", tracked=True)
    plugin.reward("joint_limit", f"{place}:joint_limit", tracked=True)
    plugin.reward("self_collisions", f"{place}:self_collisions", schema=f"{params}:ContactParams", tracked=True)
    for name in ("anchor_pos", "anchor_ori", "ee_body_pos", "root_pos", "root_ori"):
        plugin.termination(name, f"{place}:{name}", schema=f"{params}:ThresholdParams", tracked=True)


def _register_events(plugin: Plugin) -> None:
    place, params = f"{_ROOM}.events", f"{_ROOM}.event_schema"
    any_time, targets = ("startup", "reset", "interval"), ("pos", "pd_explicit")
    plugin.event("friction", f"{place}:ModelValue", schema=f"{params}:FrictionParams", when=any_time, varies="friction")
    for name in ("mass", "armature"):
        plugin.event(
            name, f"{place}:ModelValue", schema=f"{params}:ValueParams", when=("startup", "reset"), varies=name
        )
    for name in ("damping", "frictionloss", "torque_limit"):
        plugin.event(name, f"{place}:ModelValue", schema=f"{params}:ValueParams", when=any_time, varies=name)
    for name, modes in (("kp", targets), ("kd", ("vel", *targets))):
        plugin.event(
            name, f"{place}:ModelValue", schema=f"{params}:ValueParams", when=any_time, varies=name,
            control_modes=modes,
        )  # fmt: skip
    plugin.event("com", f"{place}:Offset", schema=f"{params}:ComParams", when=("startup", "reset"), varies="com")
    plugin.event("gravity", f"{place}:Offset", schema=f"{params}:GravityParams", when=any_time, varies="gravity")
    plugin.event(
        "encoder_bias", f"{place}:EncoderBias", schema=f"{params}:EncoderBiasParams", when=("startup", "reset")
    )
    plugin.event("push", f"{place}:Push", schema=f"{params}:PushParams", when=("interval", "reset"))
    for name in ("action_delay", "sensor_delay"):
        code = "".join(part.capitalize() for part in name.split("_"))
        plugin.event(name, f"{place}:{code}", schema=f"{params}:DelayParams", when=("reset", "startup", "interval"))
    plugin.event("sensor_noise", f"{place}:SensorNoise", schema=f"{params}:SensorNoiseParams", when=("startup",))


def _register_samplers(plugin: Plugin) -> None:
    place, params = f"{_ROOM}.sampling", f"{_ROOM}.sampling_schema"
    plugin.sampler("weight", f"{place}:ByWeight")
    plugin.sampler("uniform", f"{place}:Uniform")
    plugin.sampler("failure", f"{place}:ByFailure", schema=f"{params}:BinParams", of_failures=True)
    plugin.sampler("return", f"{place}:ByReturn", schema=f"{params}:BinParams", of_reward=True)
    plugin.sampler("mjlab", f"{place}:LikeMjlab", schema=f"{params}:MjlabParams", of_failures=True)
