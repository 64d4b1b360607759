"""Registers the agents of this package and what each can drive: envs by name, or by a kind they are registered as."""

from __future__ import annotations

from mimickit_hydra.plugins import Plugin

_ROOM = "mimickit_hydra.agents"


def register(plugin: Plugin) -> None:
    for name, module, schema, drives in (
        ("PPO", "ppo", "schema:PPOAgentConfig", ("rewarded",)),
        ("AdaptivePPO", "adaptive_ppo", "schema:AdaptivePPOAgentConfig", ("rewarded",)),
        ("AWR", "awr", "schema:AWRAgentConfig", ("rewarded",)),
        ("LCP", "lcp", "schema:LCPAgentConfig", ("rewarded",)),
        ("AMP", "amp", "schema:AMPAgentConfig", ("amp", "task")),
        ("ASE", "ase", "schema:ASEAgentConfig", ("ase", "task")),
        ("ADD", "add", "schema:AMPAgentConfig", ("add", "task")),
        ("SMP", "smp", "schema:SMPAgentConfig", ("smp", "task")),
        ("SuperMimic", "supermimic", "world_model.schema:SuperMimicAgentConfig", ("imagined",)),
        ("Dummy", "dummy", "schema:DummyAgentConfig", ("unlearned",)),
    ):
        place = f"{_ROOM}.{module}_agent:{name}Agent"
        plugin.agent(name, place, schema=f"{_ROOM}.{schema}", drives=drives)
