"""Registers the schema with Hydra, so that the YAML files can extend it by name (``- base_ppo``)."""

from __future__ import annotations

from typing import Any

from hydra.core.config_store import ConfigNode, ConfigStore
from omegaconf import DictConfig, ListConfig, OmegaConf

from mimickit_hydra.config import schema

# (group, name, dataclass). The prefix marks them as parts: no command lists them as options.
HIDDEN_PREFIX = "base_"
SCHEMAS: tuple[tuple[str | None, str, type], ...] = (
    (None, "base_run", schema.RunConfig),
    ("compute", "base_compute", schema.ComputeConfig),
    ("core", "base_native", schema.CoreConfig),
    ("core", "base_mimickit", schema.MimickitCoreConfig),
    ("engine", "base_mujoco", schema.MujocoEngineConfig),
    ("engine", "base_newton", schema.NewtonEngineConfig),
    ("engine", "base_isaac_lab", schema.IsaacLabEngineConfig),
    ("engine", "base_isaac_gym", schema.IsaacGymEngineConfig),
    ("character", "base_character", schema.CharacterConfig),
    ("motion", "base_motion", schema.MotionConfig),
    ("method", "base_method", schema.MethodConfig),
    ("env", "base_char_env", schema.CharEnvConfig),
    ("env", "base_deepmimic_env", schema.DeepMimicEnvConfig),
    ("env", "base_static_objects_env", schema.StaticObjectsEnvConfig),
    ("env", "base_amp_env", schema.AMPEnvConfig),
    ("env", "base_ase_env", schema.ASEEnvConfig),
    ("env", "base_add_env", schema.ADDEnvConfig),
    ("env", "base_smp_env", schema.SMPEnvConfig),
    ("env", "base_location_env", schema.LocationEnvConfig),
    ("env", "base_steering_env", schema.SteeringEnvConfig),
    ("env", "base_dodgeball_env", schema.DodgeballEnvConfig),
    ("env", "base_view_motion_env", schema.ViewMotionEnvConfig),
    ("env", "base_dof_test_env", schema.DofTestEnvConfig),
    ("agent", "base_ppo", schema.PPOAgentConfig),
    ("agent", "base_lcp", schema.LCPAgentConfig),
    ("agent", "base_awr", schema.AWRAgentConfig),
    ("agent", "base_amp", schema.AMPAgentConfig),
    ("agent", "base_add", schema.ADDAgentConfig),
    ("agent", "base_ase", schema.ASEAgentConfig),
    ("agent", "base_smp", schema.SMPAgentConfig),
    ("agent", "base_dummy", schema.DummyAgentConfig),
    ("logger", "base_logger", schema.LoggerConfig),
    ("launch", "base_launch_local", schema.LocalLaunchConfig),
    ("launch", "base_launch_packed", schema.PackedLaunchConfig),
    ("launch", "base_launch_tmux", schema.TmuxLaunchConfig),
    ("launch", "base_launch_slurm", schema.SlurmLaunchConfig),
)


class SchemaNode(ConfigNode):
    """A stored schema that is built when Hydra takes its copy: a run needs ten of them, and building all takes longer
    than the rest of the composition."""

    def __init__(self, name: str, group: str | None, cls: type) -> None:
        super().__init__(name=f"{name}.yaml", node=DictConfig({}), group=group, package=None, provider="schema")
        self._cls = cls

    def __copy__(self) -> ConfigNode:
        node: Any = _Fresh(self._cls)
        return ConfigNode(name=self.name, node=node, group=self.group, package=self.package, provider=self.provider)


class _Fresh:
    """Hydra copies deeply what it has copied: a node that is built at that moment needs no copy."""

    def __init__(self, cls: type) -> None:
        self._cls = cls

    def __deepcopy__(self, memo: Any) -> DictConfig:
        node: DictConfig = OmegaConf.structured(self._cls)
        prepare(node)
        return node


def register() -> None:
    """Put every schema into Hydra's store. Calling it again changes nothing."""
    store = ConfigStore.instance()
    for group, name, cls in SCHEMAS:
        folder = store.repo if group is None else store.repo.setdefault(group, {})
        folder.setdefault(f"{name}.yaml", SchemaNode(name, group, cls))


def prepare(node: DictConfig) -> None:
    """Let Hydra merge into the node: open tables take any key, and a list whose default is None becomes mandatory, so
    that the YAML that extends the schema has to name it."""
    for key in node:
        child = node._get_node(key)
        if isinstance(child, DictConfig) and not child._is_none() and not child._is_missing():
            if child._metadata.object_type is dict:
                OmegaConf.set_struct(child, False)  # an open table takes any key, without the +
            prepare(child)
        elif isinstance(child, ListConfig) and child._is_none():
            # Merging an interpolation into a list that is None would resolve it before its target has been merged.
            child._set_value("???")
