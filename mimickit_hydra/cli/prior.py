"""``mimickit prior``: trains SMP's diffusion prior on motion clips, and draws samples from it."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mimickit_hydra.cli.overrides import add_overrides
from mimickit_hydra.errors import UserError

if TYPE_CHECKING:
    from mimickit_hydra.agents.prior_training import PriorTrainer

PREFIX = "prior."
LOG_NAME = "log.txt"


def add_parser(subparsers: Any) -> None:
    """Add ``prior`` and its actions to the command line."""
    parser = subparsers.add_parser("prior", help="train SMP's diffusion prior, or draw motion from it")
    parser.set_defaults(run=run)
    actions = parser.add_subparsers(title="actions", dest="prior_action", metavar="ACTION", required=True)

    train = actions.add_parser(
        "train",
        help="fit a diffusion model to windows of the clips",
        description="Fit a diffusion model to windows of the clips, as method=smp shows them.",
    )
    train.add_argument("dir", metavar="DIR", help="a new directory for model and configuration")
    add_overrides(train, "OVERRIDE", "motion=..., character=..., prior.KEY=VALUE")

    sample = actions.add_parser("sample", help="write motion that a prior makes up as clips")
    sample.add_argument("dir", metavar="DIR", help="what prior train wrote")
    sample.add_argument("-o", "--out", metavar="OUT", help="directory for the clips (DIR/samples)")
    sample.add_argument("-n", "--num", type=int, default=16, help="how many (16)")
    sample.add_argument("--sampler", choices=("ddpm", "ddim"), default="ddpm")
    sample.add_argument("--steps", type=int, default=10, help="of ddim (10)")
    sample.add_argument("--device", default="auto")
    sample.add_argument("--seed", type=int, default=0)


def run(args: argparse.Namespace) -> int:
    return run_train(args) if args.prior_action == "train" else run_sample(args)


def run_train(args: argparse.Namespace) -> int:
    """``train``: DIR gets diffusion_config.yaml, env_config.yaml, log.txt and, at every output, model.pt."""
    out = _new_folder(Path(args.dir))
    settings = [entry for entry in args.overrides if entry.startswith(PREFIX)]
    args.overrides = ["method=smp", *(entry for entry in args.overrides if not entry.startswith(PREFIX))]

    from mimickit_hydra.config.compose import compose, to_run

    composed = to_run(compose(args.overrides))

    import torch

    from mimickit_hydra.agents.denoiser import require_diffusers
    from mimickit_hydra.agents.prior_training import PriorTrainer
    from mimickit_hydra.training import prior as files

    require_diffusers()
    config = files.prior_config(composed, settings)
    device = files.pick_device(config.device)
    torch.manual_seed(composed.rand_seed or 0)
    sampler = files.window_sampler(composed, device)
    trainer = PriorTrainer(config, sampler.draw, composed.env.num_disc_obs_steps, device)
    out.mkdir(parents=True, exist_ok=True)
    files.write_prior_configs(out, config, composed)
    parameters = sum(parameter.numel() for parameter in trainer.prior.dmodel.parameters())
    print(f"{composed.env.motion_file}: windows of {composed.env.num_disc_obs_steps} frames, {parameters:,} parameters")
    _fit(trainer, out)
    print(f"{out / 'model.pt'}: use it with method=smp agent.smp_prior_model={out / 'model.pt'}")
    return 0


def _fit(trainer: PriorTrainer, out: Path) -> None:
    from mimickit_hydra.training.prior import save_prior

    began = time.monotonic()
    with open(out / LOG_NAME, "w", encoding="utf-8") as log:
        log.write(f"{'Iteration':<25}{'Loss':<25}\n")

        def output(iteration: int, loss: float) -> None:
            log.write(f"{iteration:<25}{loss:<25.6g}\n")
            log.flush()
            save_prior(out, trainer.prior)
            rate = trainer.iteration / (time.monotonic() - began)
            left = (trainer.config.num_iterations - iteration) / rate
            print(
                f"iteration {iteration}  loss {loss:.4g}  {rate:.1f} iterations/s  {left / 60:.0f} min left", flush=True
            )

        try:
            trainer.fit(output)
        except KeyboardInterrupt:
            save_prior(out, trainer.prior)
            print(f"stopped at iteration {trainer.iteration}; {out / 'model.pt'} holds what was learned until then")


def run_sample(args: argparse.Namespace) -> int:
    """``sample``: clips motion_000.npz and so on, which ``mimickit motion view`` shows."""
    if args.num < 1:
        raise UserError(f"prior sample -n {args.num}: must be 1 or more")
    folder = Path(args.dir)
    if not (folder / "model.pt").is_file():
        raise UserError(f"{folder}: holds no model.pt; mimickit prior train DIR makes one")

    import torch

    from mimickit_hydra.agents.prior import load_prior
    from mimickit_hydra.agents.prior_config import CONFIG_NAME, ENV_CONFIG_NAME, read_yaml
    from mimickit_hydra.motion.clip import save_clip
    from mimickit_hydra.training import prior as files

    prior, window = load_prior(folder / CONFIG_NAME, folder / "model.pt")
    prior = prior.to(files.pick_device(args.device)).eval()
    torch.manual_seed(args.seed)
    samples = prior.generate(args.num, window.num_disc_obs_steps, args.sampler, args.steps)
    out = Path(args.out) if args.out else folder / "samples"
    out.mkdir(parents=True, exist_ok=True)
    env = read_yaml(folder / ENV_CONFIG_NAME)
    clips = files.windows_to_clips(samples, window, env, float(prior.config.control_freq))
    for clip in clips:
        save_clip(out / f"{clip.name}.npz", clip)
    print(f"{out}: {len(clips)} clips of {window.num_disc_obs_steps} frames at {prior.config.control_freq} Hz")
    return 0


def _new_folder(out: Path) -> Path:
    """Make the folder of a prior; UserError where there is a prior in it already."""
    if (out / "model.pt").exists():
        raise UserError(f"{out}: already holds a prior; choose another directory or move it away")
    return out
