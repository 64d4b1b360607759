import pickle
import sys
import time

import engines.engine_builder as engine_builder
import yaml


def build_env(env_file, engine_file, rank):
    with open(env_file) as file:
        config = yaml.safe_load(file)
    engine_builder.build_engine(engine_file)
    assert config["env_name"] in ("deepmimic", "amp")
    print("mass", config.get("mass", 50))
    with open(config["char_file"]) as file:
        assert "<mujoco" in file.read()
    break_down(config.get("fault"), config, rank)
    if config["motion_file"].endswith(".yaml"):
        with open(config["motion_file"]) as file:
            files = [entry["file"] for entry in yaml.safe_load(file)["motions"] if entry["weight"] > 0]
    else:
        files = [config["motion_file"]]
    config["frames"] = 0
    for name in files:
        with open(name, "rb") as file:
            config["frames"] += len(pickle.load(file)["frames"])
    return config


def break_down(fault, config, rank):
    if fault == "key":
        config["gravity"]
    elif fault == "module":
        import no_such_simulator  # noqa: F401
    elif fault == "assert":
        raise AssertionError(print("the ground is missing"))
    elif fault == "exit":
        print("license expired")
        sys.exit(7)
    elif fault == "crash":
        import os
        import signal

        os.kill(os.getpid(), signal.SIGSEGV)
    elif fault == "rank":
        if rank == 1:
            raise RuntimeError("rank one has no memory left")
        time.sleep(60)
