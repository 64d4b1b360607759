"""A method: PPO that is also rewarded for staying up."""

from torch import Tensor

from mimickit_hydra.agents.ppo_agent import PPOAgent
from my_robot.plugin import SurvivorConfig


class SurvivorAgent(PPOAgent):
    """Whatever PPO does not do as you want it is a method to override: the networks, the losses, the rewards."""

    config: SurvivorConfig

    def _rewards(self) -> Tensor:
        """Of the last rollout, ``[steps, environments]``."""
        return super()._rewards() + self.config.alive_bonus
