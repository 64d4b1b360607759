"""Each mistake is one line that names what was found, what is allowed and what is nearest."""

from __future__ import annotations

import errno
import importlib.util
from pathlib import Path

import pytest

from mimickit_hydra.checks.check import validate
from mimickit_hydra.config.compose import compose, to_run
from mimickit_hydra.config.messages import one_line
from mimickit_hydra.config.paths import bundled_data
from mimickit_hydra.files import link_atomic, write_text_atomic

COMPOSITION = [
    ("agent.actor_epoch=3", "agent.actor_epoch: unknown key; nearest: agent.actor_epochs"),
    ("learning_rate=1", "nearest: agent.actor_optimizer.learning_rate, agent.critic_optimizer.learning_rate"),
    ("engin=newton", "engin: unknown key; nearest: engine"),
    ("enigne=newton", "nearest: engine"),
    ("motion/humanoid=walk", "motion/humanoid: unknown group"),
    (
        "engine=newtn",
        "engine=newtn: no such option; nearest: newton; allowed: isaac_gym, isaac_lab, mjwarp, mujoco, newton",
    ),
    ("method=deepmimc", "method=deepmimc: no such option; nearest: deepmimic; allowed: add, amp"),
    ("method=Amp", "method=Amp: no such option; nearest: amp; allowed: add, amp"),
    ("METHOD=amp", "METHOD: unknown key; nearest: method"),
    ("motion=humanoid_wlak", "motion=humanoid_wlak: no such option; nearest: humanoid_walk; allowed: g1_"),
    ("debug=smok", "debug=smok: no such option; nearest: smoke; allowed: fast, smoke, tiny"),
    ("agent=null", "agent=null: this group needs an option; allowed: adaptive_ppo, add, amp"),
    ("agent.actor_epochs=abc", "agent.actor_epochs: found 'abc', must be a whole number"),
    ("agent.actor_epochs=1.5", "agent.actor_epochs: found '1.5', must be a whole number"),
    ("num_envs=1e3", "num_envs: found '1e3', must be a whole number"),
    (
        "motion=humanoid_walk.yaml",
        "motion=humanoid_walk.yaml: must be the name of an option; write motion=humanoid_walk",
    ),
    ("method=./amp", "method=./amp: must be the name of an option; write method=amp"),
    ("agent.discount=high", "agent.discount: found 'high', must be a number"),
    ("video=maybe", "video: found 'maybe', must be true or false"),
    ("video=2", "video: found 2, must be true or false"),
    ("env.rand_reset=-1", "env.rand_reset: found -1, must be true or false"),
    ("agent.actor_optimizer={}", "agent.actor_optimizer={}: changes nothing: what is in a table stays; it has type"),
    ("character='ü',b", "character='ü',b: must be one option; to run one after the other add --multirun"),
    ("out_dir=a;b", "out_dir=a;b: not a valid override (a character that has a meaning of its own, or none); quote"),
    ("env.episode_length=null", "env.episode_length: found null, must have a value"),
    ("devices=cpu", "devices: found cpu, must be a list: devices=[cpu]"),
    ("devices=cuda:0", "devices: found cuda:0, must be a list: devices=[cuda:0]"),
    ("env.key_bodies=head", "env.key_bodies: found head, must be a list: env.key_bodies=[head]"),
    ("env.tar_obs_steps=3", "env.tar_obs_steps: found 3, must be a list: env.tar_obs_steps=[3]"),
    ("agent.actor_optimiser.learning_rate=1e-4", "agent.actor_optimiser: unknown key; nearest: agent.actor_optimizer"),
    ("agnet.discount=0.9", "agnet: unknown key; nearest: agent"),
    ("optimizer.learning_rate=1", "optimizer.learning_rate: unknown key; nearest: agent.actor_optimizer.learning_rate"),
    ("agent={discont:0.9}", "agent.discont: unknown key; nearest: agent.discount"),
    ("agent.model=foo", "agent.model: found foo, must be a table"),
    ("~discont", "discont: unknown key; nearest: agent.discount"),
    ("engine.newkey=1", "engine.newkey: unknown key"),
    (
        "humanoid_jump",
        "is written key=value or group=option; did you mean motion=humanoid_jump?",
    ),
    ("num_envs=[", "num_envs=[: not a valid override"),
    ("num_envs=1,2", "num_envs=1,2: a list is written num_envs=[1,2]; to run one after the other add --multirun"),
    ("+num_envs=3", "num_envs: is there already"),
    ("env.char_file=${nowhere.x}", "env.char_file: refers to nowhere.x, which does not exist"),
    ("~agent.discount", "~agent.discount"),
]


def line_of(overrides: list[str], *, machine: bool = True) -> str:
    with pytest.raises(Exception) as caught:  # noqa: PT011 - any of Hydra's, OmegaConf's or ours
        validate(to_run(compose(overrides)), machine=machine)
    line = one_line(caught.value, overrides)
    assert line is not None, f"taken for a bug: {caught.value!r}"
    assert "\n" not in line
    return line


@pytest.mark.parametrize(("override", "expected"), COMPOSITION)
def test_mistakes_that_hydra_finds(override: str, expected: str) -> None:
    line = line_of([override])
    assert expected in line
    assert "hydra" not in line.lower()


def test_a_value_where_a_list_or_table_belongs() -> None:
    table = "launch.sbatch: found END, must be a table: launch.sbatch={name: value}"
    assert line_of(["launch=slurm", "launch.sbatch=END"]) == table
    line = "launch.setup: found module load cuda, must be a list: launch.setup=[module load cuda]"
    assert line_of(["launch=slurm", "launch.setup=module load cuda"]) == line


def test_a_number_of_a_file_is_shown_as_it_is_written_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text("# @package _global_\nagent:\n  actor_epochs: 1e1\n")
    monkeypatch.setenv("MIMICKIT_CONF", str(tmp_path))
    assert line_of(["experiment=mine"]).endswith("agent.actor_epochs: found '1e1', must be a whole number")


def test_a_file_names_options_as_they_are_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "experiment").mkdir()
    text = "# @package _global_\ndefaults:\n  - override /motion: humanoid_run.yaml\n"
    (tmp_path / "experiment" / "mine.yaml").write_text(text)
    monkeypatch.setenv("MIMICKIT_CONF", str(tmp_path))
    assert "motion=humanoid_run.yaml: must be the name of an option" in line_of(["experiment=mine"])


def test_empty_texts_that_mean_something(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_PROJECT", "")  # as if it were not set
    assert to_run(compose([])).logger.wandb_project == "mimickit"
    validate(to_run(compose(["launch=tmux", "launch.monitor=", "character.anchor_body="])))


def test_what_is_wrong_with_a_disk_or_a_place_is_one_line(tmp_path: Path) -> None:
    place = tmp_path / "versions.json"
    place.mkdir()
    for write in (lambda: write_text_atomic(place, "x"), lambda: link_atomic(Path(__file__), place)):
        with pytest.raises(OSError, match="directory") as caught:
            write()
        assert one_line(caught.value) == f"{place}: Is a directory"
    assert one_line(OSError(errno.ENOSPC, "No space left on device")) == (
        "a file could not be written: No space left on device"
    )
    assert one_line(FileNotFoundError(errno.ENOENT, "No such file or directory", "x")) is None  # our mistake


def test_the_sample_in_the_readme_is_what_is_printed() -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    command, line = readme.split("    $ python train.py ")[1].splitlines()[:2]
    assert line_of([command]) == line.strip()


WALK = bundled_data() / "motions" / "humanoid" / "humanoid_walk.npz"
VALUES = [
    (
        "engine.python=/no/python",
        "engine=mujoco: engine.python=/no/python does not exist, must be a Python interpreter",
    ),
    ("engine.worker_timeout=0", "engine.worker_timeout: found 0.0, must be more than 0"),
    ("data_root=['']", "data_root: found [''], must be texts that are not empty"),
    ("logger.wandb_project=", "logger.wandb_project: found '', must be a text that is not empty"),
    ("launch=slurm launch.account=", "launch.account: found '', must be a text that is not empty, or null"),
    ("num_envs=0", "num_envs: found 0, must be 1 or more"),
    ("num_envs=-4", "num_envs: found -4, must be 1 or more"),
    ("mode=trian", "mode: found 'trian', must be one of train, test; nearest: train"),
    ("max_samples=0", "max_samples: found 0.0, must be more than 0"),
    ("max_minutes=-1", "max_minutes: found -1.0, must be more than 0"),
    ("rand_seed=-1", "rand_seed: found -1, must be a whole number from 0"),
    ("test_episodes=-1", "test_episodes: found -1"),
    ("agent.steps_per_iter=0", "agent.steps_per_iter: found 0"),
    ("agent.actor_epochs=0", "agent.actor_epochs: found 0"),
    ("agent.critic_epochs=-2", "agent.critic_epochs: found -2"),
    ("agent.actor_batch_size=0", "agent.actor_batch_size: found 0.0, must be more than 0"),
    ("agent.critic_batch_size=33", "agent.critic_batch_size: found 33.0, must be at most agent.steps_per_iter=16"),
    ("agent.actor_optimizer.learning_rate=0", "agent.actor_optimizer.learning_rate: found 0.0, must be more than 0"),
    ("agent.critic_optimizer.learning_rate=nan", "agent.critic_optimizer.learning_rate: found nan"),
    ("agent.actor_optimizer.type=adam", "found 'adam', must be one of SGD, Adam, AdamW; nearest: Adam"),
    ("agent.model.actor_net=fc_2layer_256units", "nearest: fc_2layers_256units"),
    ("agent.model.actor_std_type=FIX", "must be one of FIXED, CONSTANT, VARIABLE"),
    ("agent.discount=1", "agent.discount: found 1.0, must be at least 0 and less than 1"),
    ("agent.iters_per_output=0", "agent.iters_per_output: found 0"),
    ("env.episode_length=0", "env.episode_length: found 0.0, must be more than 0"),
    ("env.tar_obs_steps=[0]", "env.tar_obs_steps: found [0]"),
    ("engine.control_freq=0", "engine.control_freq: found 0, must be 1 or more"),
    ("engine.sim_freq=100", "engine.sim_freq: found 100, must be a multiple of engine.control_freq=30"),
    ("engine.control_mode=position", "engine.control_mode: found 'position', must be one of none, pos"),
    ("devices=[]", "devices: found an empty list"),
    ("devices=[gpu]", "devices: found 'gpu', must be cpu or cuda:0"),
    ("devices=[cpu,'cuda:0']", "must be all cpu or all cuda"),
    ("agent.agent_name=PPG", "agent.agent_name: found 'PPG', must be one of PPO, AdaptivePPO, AWR, LCP, AMP"),
    ("env.env_name=amp", "env=amp: the agent PPO cannot drive it; it drives deepmimic"),
    ("method=add env=tracking", "env=tracking: the agent ADD cannot drive it; it drives add"),
    ("method=amp agent=ppo", "env=amp: the agent PPO cannot drive it"),
    ("method=smp env=view_motion", "env=view_motion: the agent SMP cannot drive it; it drives dodgeball, location"),
    ("method=supermimic env=steering", "env=steering: the agent SuperMimic cannot drive it; it drives deepmimic, tr"),
    ("method=supermimic observe=robot", "env.observations.projected_gravity.history: found 4, must be 1"),
    ("method=supermimic randomize=robot", "env.events.sensor_delay: found [0.0, 0.01] s, must be null"),
    (
        "agent=dummy recipe=mimickit",
        "env=deepmimic: the agent Dummy cannot drive it; it drives dof_test, view_motion",
    ),
    ("agent=dummy", "recipe=cpu: sets agent.model, which this agent lacks; recipe=mimickit leaves it as it is"),
    ("env.reward_vel_w=null", "env.reward_vel_w: found null, must be a number: env=deepmimic is rewarded with it"),
    ("env.reward_vel_w=-1", "env.reward_vel_w: found -1.0, must be 0 or more, or null"),
    ("method=amp agent.disc_batch_size=64", "agent.disc_batch_size: found 64.0, must be at most agent.steps_per_iter"),
    ("method=amp agent.model.disc_net=fc", "agent.model.disc_net: found 'fc', must be one of fc_2layers_128units"),
    ("method=ase agent.latent_time_min=9", "agent.latent_time_min: found 9.0, must be at most agent.latent_time_max=5"),
    ("method=ase agent.disc_optimizer.type=RMS", "agent.disc_optimizer.type: found 'RMS', must be one of SGD, Adam"),
    ("method=smp agent.critic_loss_weight=2", "must be 1: MimicKit never reads it"),
    ("method=smp agent.diffusion_steps=[]", "agent.diffusion_steps: found [], must be a list of whole numbers"),
    ("method=smp agent.gsi_sampler=ddp", "found 'ddp', must be one of ddpm, ddim; nearest: ddpm"),
    ("method=smp env=location agent.gsi_buffer_size=8", "agent.gsi_regen_num_motions: found 256, must be at most"),
    ("method=smp env=location env.tar_dist_max=0.5", "env.tar_dist_min: found 1.0, must be at most env.tar_dist_max"),
    ("method=smp env=location env.pose_termination=true", "must be false with agent.enable_gsi=true"),
    ("env=dodgeball env.num_projectiles=0", "env.num_projectiles: found 0, must be 1 or more"),
    ("env=dodgeball env.proj_speed_min=20", "env.proj_speed_min: found 20.0, must be at most env.proj_speed_max=15.0"),
    ("env=steering env.tar_speed_min=6", "env.tar_speed_min: found 6.0, must be at most env.tar_speed_max=5.0"),
    (
        "character=g1 motion=go2_run",
        "motion=go2_run: made for character go2, does not fit character=g1; motions for g1",
    ),
    ("motion=humanoid_sword_shield_all", "made for character humanoid_sword_shield, does not fit character=humanoid; "),
    ("motion.character=g1", "motion=humanoid_walk: made for character g1, does not fit character=humanoid"),
    ("env.key_bodies=[haed]", "env.key_bodies: humanoid has no body 'haed'; nearest: head; bodies: pelvis, torso"),
    ("env.contact_bodies=[rigth_foot]", "env.contact_bodies: humanoid has no body 'rigth_foot'; nearest: right_foot"),
    ("env.joint_err_w=[1,1]", "env.joint_err_w: found 2 numbers, must be 14, one per joint"),
    ("env.init_pose=[0,0,1,0]", "env.init_pose: found 4 numbers, must be 3 (root position) or 34"),
    ("engine.control_mode=pd_explicit", "pd_explicit drives hinges only, but humanoid has joints of several DoFs"),
    ("env.motion_file=data/motions/humanoid/humanoid_spinkik.pkl", "nearest: data/motions/humanoid/humanoid_spink"),
    ("env.motion_file=walk.xyz", "env.motion_file: found 'walk.xyz', must be a file ending in .npz, .pkl, .csv"),
    ("env.char_file=data/assets/humanoid/human.xml", "env.char_file: data/assets/humanoid/human.xml: no such file"),
    ("model_file=/nowhere/model.pt", "model_file: found '/nowhere/model.pt'"),
    ("resume=/nowhere", "resume: found '/nowhere'"),
    (
        f"model_file={__file__}",
        f"model_file: found {__file__!r}, must be a checkpoint (.pt) or a run directory with ch",
    ),
    (f"model_file={WALK.parent}", "must be a checkpoint (.pt) or a run directory with checkpoints in it"),
    (f"model_file={WALK}", "must be a checkpoint (.pt) or a run directory with checkpoints in it"),
    ("agent.actor_optimizer.learning_rate=inf", "learning_rate: found inf, must be a finite number"),
    ("env.init_pose=[inf,0,0]", "env.init_pose: found [inf, 0.0, 0.0], must be finite numbers"),
    ("engine.worker_timeout=inf", "engine.worker_timeout: found inf, must be a finite number"),
    (
        "launch=slurm launch.time=2 launch.signal_delay=300",
        "launch.signal_delay: found 300, must be less than the 120 seconds of launch.time=2",
    ),
    ("data_root=[/nowhere]", "data_root: found '/nowhere', must be an existing directory"),
]


@pytest.mark.parametrize(("override", "expected"), VALUES)
@pytest.mark.usefixtures("clips")
def test_mistakes_that_the_checks_find(override: str, expected: str) -> None:
    assert expected in line_of(override.split(" "))


@pytest.mark.parametrize("devices", ["[cuda:1,cuda:1]", "[cuda:0,cuda:1,cuda:1]", "[cuda,cuda:0]"])
@pytest.mark.usefixtures("clips")
def test_two_processes_on_one_gpu(devices: str) -> None:
    line = line_of(["engine=newton", f"devices={devices}"], machine=False)
    assert "must be another GPU for each process, but cuda:" in line
    assert line.endswith(" is there 2 times")
    validate(to_run(compose(["engine=newton", "devices=[cuda:0,cuda:1]"])), machine=False)
    validate(to_run(compose(["devices=[cpu,cpu]"])))


@pytest.mark.usefixtures("clips")
def test_what_may_be_infinite() -> None:
    keys = ["max_samples", "max_minutes", "agent.normalizer_samples", "agent.exp_anneal_samples"]
    validate(to_run(compose([f"{key}=inf" for key in keys])))


@pytest.mark.usefixtures("clips")
def test_what_a_run_can_start_from(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    (tmp_path / "theirs").mkdir()
    for name in ("any.name", "run/checkpoints/best.pt", "theirs/model.pt"):
        torch.save({"w": torch.zeros(2)}, tmp_path / name)
    for name in ("any.name", "run", "run/checkpoints", "run/checkpoints/best.pt", "theirs", "theirs/model.pt"):
        validate(to_run(compose([f"model_file={tmp_path}/{name}"])))


@pytest.mark.parametrize(
    ("override", "key", "hint"),
    [
        ("character=g1", "env.char_file", "; mimickit assets fetch g1"),
        ("experiment=amp_g1", "env.char_file", "; mimickit assets fetch g1"),
        ("character=pi_plus", "env.char_file", "; in the data folder that MimicKit's README links to"),
        ("motion=humanoid_climbing_up_down", "env.motion_file", "; clips: in the data folder that MimicKit's README"),
        (
            "method=smp",
            "agent.smp_prior_model",
            "; mimickit prior train DIR motion=humanoid_walk, then agent.smp_prior",
        ),
    ],
)
def test_what_is_missing_says_how_to_get_it(
    override: str, key: str, hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MIMICKIT_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    line = line_of([override], machine=False)
    assert line.startswith(f"{key}: ")
    assert hint in line
    typo = line_of(["env.motion_file=data/motions/humanoid/humanoid_spinkik.pkl"])
    assert "README" not in typo


def test_a_prior_needs_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "diffusers" else find_spec(name))
    line = "agent=smp: not installed (no module diffusers): pip install 'mimickit-hydra[smp]'"
    assert line_of(["method=smp"]) == line
    assert "diffusers" not in line_of(["method=smp"], machine=False)


@pytest.mark.usefixtures("clips")
def test_the_default_run_passes() -> None:
    validate(to_run(compose()))


def test_an_engine_that_is_not_installed_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name, package=None: None)
    line = line_of(["engine=newton"])
    assert line.startswith("engine=newton: not installed (no module newton, warp, mujoco_warp): pip install")
    assert line.endswith("or use engine=mujoco")


def test_an_engine_that_another_python_may_have_says_how_to_name_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MIMICKIT_ISAAC_GYM_PYTHON", raising=False)
    line = line_of(["engine=isaac_gym"])
    assert "engine=isaac_gym: not installed (no module isaacgym)" in line
    assert "engine.python=/path/to/python or MIMICKIT_ISAAC_GYM_PYTHON=/path/to/python" in line
    monkeypatch.setenv("MIMICKIT_ISAAC_GYM_PYTHON", "/no/python")
    assert line_of(["engine=isaac_gym"]).startswith(
        "engine=isaac_gym: MIMICKIT_ISAAC_GYM_PYTHON=/no/python does not exist"
    )


@pytest.mark.parametrize("engine", ["isaac_lab", "isaac_gym"])
@pytest.mark.usefixtures("clips")
def test_an_isaac_engine_says_what_is_missing(engine: str) -> None:
    assert line_of([f"engine={engine}"]).startswith(f"engine={engine}: ")


@pytest.mark.usefixtures("clips")
def test_a_gpu_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert "devices: cuda:0 asked for" in line_of(["devices=['cuda:0']"])
    assert "this machine has no GPU" in line_of(["compute=gpu"])


@pytest.mark.usefixtures("clips")
def test_a_gpu_that_was_typed_and_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """compute=cpu would change nothing about it."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    found = "devices: cuda:7 asked for, but this machine has no GPU; try devices=[cpu]"
    assert line_of(["devices=['cuda:7']"]) == found


def test_a_broken_yaml_names_its_file_and_line(tmp_path: Path) -> None:
    from yaml import YAMLError, safe_load

    path = tmp_path / "x.yaml"
    path.write_text("a: 1\nb: [1,\n")
    with pytest.raises(YAMLError) as caught, path.open() as file:
        safe_load(file)
    line = one_line(caught.value)
    assert line is not None
    assert str(path) in line
    assert "not valid YAML" in line


def test_a_bug_is_not_hidden() -> None:
    assert one_line(KeyError("x")) is None
    assert one_line(RuntimeError("x")) is None


def test_a_place_that_cannot_be_written_is_one_line() -> None:
    assert one_line(PermissionError(13, "Permission denied", "/closed/x")) == "/closed/x: Permission denied"
    assert one_line(OSError(30, "Read-only file system", "/ro/x")) == "/ro/x: Read-only file system"
    assert one_line(FileNotFoundError(2, "No such file or directory", "/x")) is None  # ours to foresee
