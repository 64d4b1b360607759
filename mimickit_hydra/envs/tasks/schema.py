"""Schema of the keys that every task has, on top of those of the imitation beneath it."""

from __future__ import annotations

from dataclasses import dataclass

from mimickit_hydra.config.fields import FRACTION, at_least, one_of, setting
from mimickit_hydra.envs.schema import AMPEnvConfig


@dataclass(frozen=True)
class TaskEnvConfig(AMPEnvConfig):
    """A task on top of the imitation that a method needs."""

    base_env: str = setting("smp", one_of("deepmimic", "amp", "ase", "add", "smp"), help="that imitation")
    default_reset_prob: float = setting(0.0, FRACTION, help="of starts in init_pose, with base_env=ase")
    default_pose_history: bool = setting(
        False, help="after such a start the discriminator sees init_pose at rest, not the clip"
    )
    imitation_reward_w: float = setting(0.7, at_least(0), help="weight of the reward of base_env=deepmimic")
    task_reward_w: float = setting(0.3, at_least(0), help="weight of the task's beside it")

    @property
    def imitates(self) -> bool:
        return self.base_env == "deepmimic" and self.imitation_reward_w > 0.0
