"""What this package brings, each thing by the name that a config calls it, and the keys of those that have some.

Every command of mimickit-hydra runs this, also the tab key: it says where the code is and does not import it, so that
neither torch nor a simulator is loaded to list what there is. A dataclass says what keys a config may have; each field
its default, its rule, its unit and its help.
"""

from dataclasses import dataclass
from pathlib import Path

from mimickit_hydra.agents.schema import PPOAgentConfig
from mimickit_hydra.config.fields import at_least, setting
from mimickit_hydra.engines.schema import MujocoEngineConfig
from mimickit_hydra.envs.tasks.schema import TaskEnvConfig
from mimickit_hydra.plugins import Plugin
from my_robot import terms

HERE = Path(__file__).parent


@dataclass(frozen=True)
class PaceConfig(TaskEnvConfig):
    """Walk forward at a pace that changes."""

    pace_min: float = setting(0.2, at_least(0), "m/s", up_to="pace_max")
    pace_max: float = setting(0.6, at_least(0), "m/s")
    pace_time: float = setting(3.0, at_least(0), "s", "until the next pace")


@dataclass(frozen=True)
class SurvivorConfig(PPOAgentConfig):
    """PPO with a bonus for every step that the character stays up."""

    alive_bonus: float = setting(0.2, at_least(0), help="added to the reward of every step")


@dataclass(frozen=True)
class SlipperyConfig(MujocoEngineConfig):
    """MuJoCo with less friction."""

    friction: float = setting(0.3, at_least(0), help="times what the assets say")


def register(plugin: Plugin) -> None:
    plugin.conf(HERE / "conf")  # laid out as mimickit-hydra's own conf/: its files are options of the same groups
    plugin.data(HERE / "data")  # where the files that those name are found
    terms.register(plugin)
    plugin.task("pace", "my_robot.task:Pace", schema="my_robot.plugin:PaceConfig", base="base_pace")
    plugin.agent(
        "survivor", "my_robot.agent:SurvivorAgent", schema="my_robot.plugin:SurvivorConfig", drives=("rewarded",)
    )
    plugin.engine(
        "slippery", "my_robot.engine:SlipperyEngine", schema="my_robot.plugin:SlipperyConfig",
        packages=("mujoco",), install="pip install mujoco", devices=("cpu",),
    )  # fmt: skip
    plugin.importer("csv", "my_robot.csv_clip:read_csv", suffixes=(".csv",), title="table of poses")
