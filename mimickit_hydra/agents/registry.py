"""Which class learns under which ``agent_name``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from mimickit_hydra.agents.add_agent import ADDAgent
from mimickit_hydra.agents.agent import Agent
from mimickit_hydra.agents.amp_agent import AMPAgent
from mimickit_hydra.agents.ase_agent import ASEAgent
from mimickit_hydra.agents.awr_agent import AWRAgent
from mimickit_hydra.agents.comm import Comm
from mimickit_hydra.agents.dummy_agent import DummyAgent
from mimickit_hydra.agents.errors import AgentError
from mimickit_hydra.agents.lcp_agent import LCPAgent
from mimickit_hydra.agents.ppo_agent import PPOAgent
from mimickit_hydra.agents.smp_agent import SMPAgent
from mimickit_hydra.config.one_line import suggestion
from mimickit_hydra.config.schema import AgentConfig

if TYPE_CHECKING:
    from mimickit_hydra.envs.env import Env
    from mimickit_hydra.runtime.timers import Timers

AGENTS: dict[str, type[Agent]] = {
    "PPO": PPOAgent,
    "AWR": AWRAgent,
    "LCP": LCPAgent,
    "AMP": AMPAgent,
    "ASE": ASEAgent,
    "ADD": ADDAgent,
    "SMP": SMPAgent,
    "Dummy": DummyAgent,
}


def make_agent(
    config: AgentConfig,
    env: Env,
    device: torch.device | str,
    comm: Comm | None = None,
    timers: Timers | None = None,
    update_threads: int = 1,
) -> Agent:
    """The agent that ``config.agent_name`` asks for; AgentError naming the nearest one if there is none."""
    if config.agent_name not in AGENTS:
        near = suggestion(config.agent_name, list(AGENTS))
        raise AgentError(f"agent.agent_name: no agent {config.agent_name!r}; allowed: {', '.join(AGENTS)}{near}")
    return AGENTS[config.agent_name](config, env, device, comm, timers, update_threads)
