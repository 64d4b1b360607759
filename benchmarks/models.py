"""Trains the policies that come with the package, and packs each as it ends.

    python benchmarks/models.py OUT [NAME ...] [--at-once 1] [--gpus 0,1] [OVERRIDE ...]

Each is one command of ours, which stands on its card; those of ``newton`` and ``mjwarp`` need a GPU, the others a core.
OUT gets a folder a policy with its weights, config, card and log, and ``models.tar.gz`` of them all.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tarfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

GPU = (
    "engine=newton compute=gpu_fast engine.iterations=5 engine.ls_iterations=10 "
    "agent.model.actor_net=fc_2layers_512units agent.model.critic_net=fc_2layers_512units agent.iters_per_output=150 "
    "max_minutes=6"
)
CPU = "engine.num_threads=1 max_minutes=150"  # one core each; all of a machine's cores give the same samples sooner
# max_samples is what such a run needed, with a margin: on an H100 of its own; on a core, with 1,000 to 4,200 samples/s.
# Get-up, cartwheel, backflip and steering have not been made yet: theirs are guesses.
MODELS = {
    "humanoid_walk": "",  # the first command there is: eight minutes on all cores
    "humanoid_run": f"{CPU} motion=humanoid_run max_samples=4e6",
    "humanoid_fifteen": (
        "experiment=fifteen_clips engine=mjwarp compute=gpu_fast env.fuse=true agent.iters_per_output=400 max_minutes=9"
    ),
    "humanoid_getup": f"{CPU} motion=humanoid_getup_faceup max_samples=2e6",
    "humanoid_spinkick": f"{GPU} motion=humanoid_spinkick max_samples=3e7",
    "humanoid_cartwheel": f"{CPU} motion=humanoid_cartwheel max_samples=4e6",
    "humanoid_backflip": f"{CPU} motion=humanoid_backflip max_samples=4e6",
    "humanoid_amp_locomotion": f"{CPU} method=amp motion=humanoid_gaits max_samples=6.15e6",
    "g1_walk": f"{CPU} character=g1_mjlab motion=g1_humanoid_walk max_samples=2.2e6",
    "humanoid_steering": f"{GPU} method=amp env=steering motion=humanoid_gaits max_samples=6e7",
}
LICENCE = "Apache-2.0; clips: zlib (Bullet Physics), see data/motions/NOTICE"
LAST = "humanoid_steering"  # only where it is named


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("names", nargs="*", help="which (all but steering); words with = are overrides for all")
    parser.add_argument("--gpus", default="0", help="e.g. 0,1, taken in turn")
    parser.add_argument("--at-once", type=int, default=1, help="how many are trained side by side (1)")
    parser.add_argument("--engines", default="newton,mujoco", help="to test on")
    args = parser.parse_args()
    words = [name for name in args.names if "=" in name]
    names = [name for name in args.names if "=" not in name] or [name for name in MODELS if name != LAST]
    gpus = args.gpus.split(",")
    with ThreadPoolExecutor(args.at_once) as pool:
        jobs = [pool.submit(make, name, args, words, gpus[k % len(gpus)]) for k, name in enumerate(names)]
        for job in jobs:
            job.result()
    with tarfile.open(args.out / "models.tar.gz", "w:gz") as tar:
        for folder in ("data", "conf"):
            if (args.out / folder).is_dir():
                tar.add(args.out / folder, folder)
    print(f"{args.out / 'models.tar.gz'}: {(args.out / 'models.tar.gz').stat().st_size / 1e6:.1f} MB")


def make(name: str, args: argparse.Namespace, words: list[str], gpu: str) -> None:
    """Train and pack one policy; what its processes say goes to ``OUT/NAME.txt``."""
    env = {**os.environ, "CUDA_VISIBLE_DEVICES": gpu, "OMP_NUM_THREADS": "1"}
    run, packed = args.out / "runs" / name, args.out / "data" / "models" / name
    args.out.mkdir(parents=True, exist_ok=True)
    train = [*MODELS[name].split(), "rand_seed=1", *words]
    models = [sys.executable, "-m", "mimickit_hydra", "models"]
    pack = [*models, "pack", "--replace", f"--root={args.out}", f"--licence={LICENCE}"]
    started = time.time()
    with open(args.out / f"{name}.txt", "w") as log:
        call = [sys.executable, "train.py", *train, "video=false", "test_episodes=0", f"out_dir={run}"]
        code = subprocess.run(call, env=env, stdout=log, stderr=log).returncode
        trained = time.time() - started
        if code == 0:
            call = [*pack, str(run), name, f"engine={args.engines}", "video=false"]
            code = subprocess.run(call, env=env, stdout=log, stderr=log).returncode
    if packed.is_dir():
        shutil.copy(run / "log.txt", packed / "log.txt")
    print(f"{name}: exit code {code}, {trained:.0f} s of training, {time.time() - started:.0f} s in all", flush=True)


if __name__ == "__main__":
    main()
