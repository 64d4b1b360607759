"""Stand-in: reads MimicKit's flags and files, and writes what it would write."""

import multiprocessing
import os
import random
import shutil
import sys
import time

import envs.env_builder as env_builder
import learning.agent_builder as agent_builder

FLAGS = (
    "mode", "num_envs", "devices", "rand_seed", "out_dir", "visualize", "video", "logger", "save_int_models",
    "model_file", "max_samples", "test_episodes", "engine_config", "env_config", "agent_config",
)  # fmt: skip


def read_flags(words):
    found, key = {}, None
    for word in words:
        if word.startswith("--"):
            key = word[2:] if word[2:] not in found else None
            if key is not None:
                found[key] = []
        elif key is not None:
            found[key].append(word)
    return found


def run(rank, flags):
    device = flags["devices"][rank]
    random.seed(int(flags["rand_seed"][0]) + 41 * rank)
    print(f"rank {rank} of {len(flags['devices'])} on {device} in {os.getcwd()}", flush=True)
    env = env_builder.build_env(flags["env_config"][0], flags["engine_config"][0], rank)
    agent = agent_builder.build_agent(flags["agent_config"][0])
    out_dir = flags["out_dir"][0]
    if rank == 0 and flags["mode"] == ["test"]:
        with open(flags["model_file"][0]) as file:
            print("weights of", file.read())
        print(f"Mean Return: {random.random()}\nMean Episode Length: 30.5\nEpisodes: {flags['test_episodes'][0]}")
    elif rank == 0:
        for name in ("engine", "env", "agent"):
            shutil.copy(flags[f"{name}_config"][0], os.path.join(out_dir, f"{name}_config.yaml"))
        train(out_dir, env, agent, int(flags["max_samples"][0]), int(flags["num_envs"][0]))


def train(out_dir, env, agent, max_samples, num_envs):
    with open(os.path.join(out_dir, "log.txt"), "w", newline="") as log:
        log.write(f"{'Samples':<25}{'Test_Return':<25}\r")
        samples = 0
        while samples < max_samples:
            samples += num_envs * agent["steps_per_iter"]
            log.write(f"{samples:<25}{random.random():<25}\r")
            log.flush()
            with open(os.path.join(out_dir, "model.pt"), "w") as file:
                file.write(f"{env['frames']} frames")
            if env.get("fault") == "slow":
                print("training", flush=True)
                time.sleep(0.1)


def main(argv):
    flags = read_flags(argv[1:])
    unknown = [name for name in flags if name not in FLAGS]
    print("more flags:", unknown)
    multiprocessing.set_start_method("spawn")
    ranks = [multiprocessing.Process(target=run, args=(rank, flags)) for rank in range(1, len(flags["devices"]))]
    for process in ranks:
        process.start()
    run(0, flags)
    for process in ranks:
        process.join()


if __name__ == "__main__":
    main(sys.argv)
