"""Registers the schema with Hydra, so that the YAML files can extend it by name (``- base_ppo``)."""

from __future__ import annotations

import copy
from typing import Any

from hydra.core.config_store import ConfigNode, ConfigStore
from omegaconf import DictConfig, ListConfig, OmegaConf

from mimickit_hydra.plugins import SCHEMAS, Entry

HIDDEN_PREFIX = "base_"  # marks a schema as a part of options: no command lists it as one


class SchemaNode(ConfigNode):
    """A stored schema that is built when Hydra takes its copy: a run needs ten of them, and building all takes longer
    than the rest of the composition."""

    def __init__(self, name: str, group: str | None, entry: Entry) -> None:
        super().__init__(name=f"{name}.yaml", node=DictConfig({}), group=group, package=None, provider="schema")
        self._fresh = _Fresh(entry)

    def __copy__(self) -> ConfigNode:
        node: Any = self._fresh
        return ConfigNode(name=self.name, node=node, group=self.group, package=self.package, provider=self.provider)


class _Fresh:
    """Builds the schema when Hydra makes its deep copy; from the second time on a copy is kept, which is faster."""

    def __init__(self, entry: Entry) -> None:
        self._entry = entry
        self._nodes: list[DictConfig] = []

    def __deepcopy__(self, memo: Any) -> DictConfig:
        if len(self._nodes) < 2:
            self._nodes.append(self._build())
        return copy.deepcopy(self._nodes[1]) if len(self._nodes) > 1 else self._nodes[0]

    def _build(self) -> DictConfig:
        node: DictConfig = OmegaConf.structured(self._entry.load_schema())
        prepare(node)
        return node


def register() -> None:
    """Put every schema into Hydra's store. Calling it again changes nothing."""
    store = ConfigStore.instance()
    for entry in SCHEMAS.entries():
        group, _, name = entry.name.rpartition("/")
        folder = store.repo.setdefault(group, {}) if group else store.repo
        folder.setdefault(f"{name}.yaml", SchemaNode(name, group or None, entry))


def prepare(node: DictConfig) -> None:
    """Let Hydra merge into the node: open tables take any key, and a list whose default is None becomes mandatory, so
    that the YAML that extends the schema has to name it."""
    OmegaConf.set_readonly(node, None)  # the dataclasses are frozen, what they are composed from is not
    for key in node:
        child = node._get_node(key)
        if isinstance(child, DictConfig) and not child._is_none() and not child._is_missing():
            if child._metadata.object_type is dict:
                OmegaConf.set_struct(child, False)  # an open table takes any key, without the +
            prepare(child)
        elif isinstance(child, ListConfig) and child._is_none():
            # Merging an interpolation into a list that is None would resolve it before its target has been merged.
            child._set_value("???")
