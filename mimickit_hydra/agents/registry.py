"""Builds agents by name."""

from __future__ import annotations

import torch

from mimickit_hydra.agents.agent import Agent
from mimickit_hydra.agents.schema import AgentConfig
from mimickit_hydra.distributed import Comm
from mimickit_hydra.envs.env import Env
from mimickit_hydra.plugins import AGENTS
from mimickit_hydra.timers import Timers


def make_agent(
    config: AgentConfig,
    env: Env,
    device: torch.device | str,
    comm: Comm | None = None,
    timers: Timers | None = None,
    update_threads: int = 1,
) -> Agent:
    """The agent that ``config.agent_name`` asks for; UserError naming the nearest one if there is none."""
    agent: Agent = AGENTS[config.agent_name].load()(config, env, device, comm, timers, update_threads)
    return agent
