"""``train.py`` and ``mimickit train``: Hydra composes, the checks run, the adapter starts the run."""

from __future__ import annotations

import argparse
import contextlib
import gc
import itertools
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from mimickit_hydra.cli.interrupt import EXIT_CODE, Interrupts, check_interrupt
from mimickit_hydra.config.errors import UserError

if TYPE_CHECKING:
    from omegaconf import DictConfig

_FULL_ERROR = "HYDRA_FULL_ERROR"


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Run the command and return its exit code: 0 done, 2 something the user can put right, 130 Ctrl-C."""
    with Interrupts() as interrupts:
        try:
            return _main(list(sys.argv[1:] if argv is None else argv), prog or sys.argv[0], interrupts)
        except KeyboardInterrupt:
            return EXIT_CODE


def _main(arguments: list[str], prog: str, interrupts: Interrupts) -> int:
    if "--help" in arguments or "-h" in arguments:
        from mimickit_hydra.cli.help import train_help

        print(train_help(prog))
        return 0
    if "--version" in arguments:
        from mimickit_hydra import __version__

        print(f"mimickit-hydra {__version__}")
        return 0
    from mimickit_hydra.config.sweep import is_sweep

    overrides: list[str] = []
    try:
        gc.disable()  # composing makes many small objects and no cycles worth looking for: a tenth of the start-up time
        args, flags = _parse(arguments, prog)
        overrides = args.overrides
        interrupts.check()
        if args.frozen:
            return _frozen(args.frozen)
        if _is_run(args) and is_sweep(args) and not (args.config_path or args.config_name or args.config_dir):
            return _sweep(overrides, flags, prog)
        extra = _preflight(args) if _is_run(args) else _check_shown(args)
        interrupts.check()
        _hydra([*overrides, *extra, *flags], prog)
    except Exception as error:
        interrupts.check()  # whatever it is, it may be what became of a KeyboardInterrupt
        from mimickit_hydra.config.one_line import one_line

        line = None if os.environ.get(_FULL_ERROR) == "1" else one_line(error, overrides)
        if line is None:
            raise
        print(line, file=sys.stderr)
        return 2
    finally:
        gc.enable()
    return 0


def job(cfg: DictConfig) -> float | None:
    """What Hydra calls for each run, here or on a cluster's node."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    gc.enable()
    hydra = HydraConfig.get()
    if hydra.mode == RunMode.MULTIRUN and os.path.exists(os.path.join(hydra.sweep.dir, "sweep.yaml")):
        from mimickit_hydra.cli.search import run_member

        return run_member(cfg, hydra)
    try:
        return _start(cfg, hydra)
    except Exception as error:
        check_interrupt()
        from mimickit_hydra.config.one_line import one_line

        line = one_line(error, hydra.overrides.task)
        if line is None or hydra.mode == RunMode.MULTIRUN:  # in a sweep the launcher reports which job failed
            raise
        print(line, file=sys.stderr)
        raise SystemExit(2) from None


def _start(cfg: DictConfig, hydra: Any) -> float | None:
    from omegaconf import OmegaConf

    from mimickit_hydra.config.compose import resolved_yaml, to_run
    from mimickit_hydra.config.repeat import choices_header
    from mimickit_hydra.config.validate import validate

    out_dir = os.path.abspath(hydra.runtime.output_dir)
    OmegaConf.update(cfg, "out_dir", out_dir)
    if cfg.rand_seed is None:  # drawn here, so that the saved config repeats the run
        OmegaConf.update(cfg, "rand_seed", time.time_ns() % 2**31)
    run = to_run(cfg)
    validate(run, machine=run.launch.launcher != "slurm")
    if run.launch.launcher != "local":
        from mimickit_hydra.cli.submission import submit_one

        submit_one(cfg, hydra.runtime.choices, list(hydra.overrides.task))
        return None
    text = choices_header(hydra.runtime.choices) + resolved_yaml(cfg)
    # Read when torch loads: threads that spin while they wait would take the cores from the physics and from others.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from mimickit_hydra.adapter.run import run as start

    check_interrupt()
    return start(run, resolved_yaml=text, overrides=list(hydra.overrides.task), out_dir=out_dir)


def _frozen(path: str) -> int:
    from mimickit_hydra.cli.frozen_run import start

    gc.enable()
    start(Path(path))
    return 0


def _sweep(overrides: list[str], flags: list[str], prog: str) -> int:
    from mimickit_hydra.cli.sweep import start

    return start(overrides, lambda extra: _hydra([*overrides, *extra, *flags], prog))


def hydra_sweep(overrides: Sequence[str], prog: str = "train.py") -> None:
    """Let Hydra's sweeper run ``overrides``."""
    _hydra([*overrides, "--multirun"], prog)


# -------------------------------------------------------------------------------------------------- the command line


def _parse(arguments: list[str], prog: str) -> tuple[argparse.Namespace, list[str]]:
    """Hydra's arguments with ``--from`` and ``resume=`` turned into overrides, and its flags apart from them."""
    from hydra._internal.utils import get_args_parser

    from mimickit_hydra.config.sweep import is_sweep

    def refuse(message: str) -> NoReturn:
        raise UserError(message)

    parser = get_args_parser()
    parser.error = refuse  # type: ignore[method-assign]
    parser.add_argument("--from", dest="from_run")
    parser.add_argument("--frozen")  # a run that was submitted: see config/frozen.py
    args, unknown = parser.parse_known_intermixed_args(arguments)
    if unknown:
        raise UserError(_unknown_flag(unknown[0], parser))
    if args.experimental_rerun is not None:
        raise UserError("--experimental-rerun: reads a pickle, which may run code; use --from RUN_DIR")
    _take_config_path(args)
    args.overrides = expand(args.overrides, args.from_run, sweep=is_sweep(args))
    return args, _flags(args)


def _take_config_path(args: argparse.Namespace) -> None:
    """``--config-path RUN_DIR``, the plain Hydra way to feed a saved config back, means ``--from RUN_DIR``."""
    if args.config_path is None or args.from_run is not None:
        return
    saved = Path(args.config_path) / f"{args.config_name or 'config'}.yaml"
    if saved.is_file() and not any(line.startswith("defaults:") for line in saved.read_text("utf-8").splitlines()):
        args.from_run, args.config_path, args.config_name = str(saved), None, None
    elif not Path(args.config_path).is_dir():
        raise UserError(f"--config-path {args.config_path}: no such directory")


def _flags(args: argparse.Namespace) -> list[str]:
    """Hydra's own flags again, without those that were ours."""
    flags = []
    for name in ("cfg", "package", "config_path", "config_name", "config_dir", "info"):
        value = getattr(args, name)
        if value is not None:
            value = os.path.abspath(value) if name in ("config_path", "config_dir") else value
            flags.append(f"--{name.replace('_', '-')}={value}")
    for name in ("resolve", "run", "multirun", "shell_completion", "hydra_help"):
        if getattr(args, name):
            flags.append(f"--{name.replace('_', '-')}")
    return flags


def _unknown_flag(flag: str, parser: argparse.ArgumentParser) -> str:
    from mimickit_hydra.config.catalog import groups, schema_fields
    from mimickit_hydra.config.one_line import suggestion

    name = flag.lstrip("-").split("=", 1)[0]
    if name in schema_fields()["RunConfig"] or name in groups():
        return f"{flag}: unknown flag; values are written without dashes: {name}=VALUE"
    options = [text for action in parser._actions for text in action.option_strings if text.startswith("--")]
    return f"{flag}: unknown flag{suggestion(flag, options)}"


def expand(overrides: list[str], from_run: str | None = None, *, sweep: bool = False) -> list[str]:
    """Put the config of the run that is repeated, resumed or tested before the overrides given by hand."""
    from mimickit_hydra.config.regroup import values_of
    from mimickit_hydra.config.repeat import with_home

    overrides = [with_home(text) for text in overrides]
    resume = _value_of("resume", overrides)
    tests = "test" in values_of("mode", overrides) or "smoke" in values_of("debug", overrides)
    model = _value_of("model_file", overrides) if tests else ""
    if resume:
        return _resumed(resume, from_run, overrides, sweep=sweep)
    if model and len(values_of("model_file", overrides)) > 1:
        raise UserError(
            f"model_file={model}: each policy is tested with its own config, so start one command for each; "
            "one policy on several engines: mimickit sim2sim RUN_DIR engine=newton,mujoco"
        )
    if from_run:
        return _on_top_of(from_run, overrides, tested=bool(model))
    if model:  # a policy only fits the config that it was trained with
        from mimickit_hydra.config.repeat import CONFIG_FILE

        for folder in (Path(model), Path(model).parent, Path(model).parent.parent):
            if (folder / CONFIG_FILE).is_file():
                return _on_top_of(str(folder), overrides, tested=True)
    return overrides


def _resumed(run_dir: str, from_run: str | None, overrides: list[str], *, sweep: bool) -> list[str]:
    from mimickit_hydra.config.regroup import refuse_other
    from mimickit_hydra.config.repeat import read_run

    if from_run:
        raise UserError(f"--from {from_run}: cannot be combined with resume={run_dir}")
    if sweep:
        raise UserError(f"resume={run_dir}: a sweep is continued with: mimickit sweep resume DIR")
    if not os.path.isdir(run_dir):
        raise UserError(f"resume={run_dir}: no such run directory")
    saved = read_run(run_dir)
    refuse_other(run_dir, saved.choices, overrides)
    return [*saved.overrides, *overrides]


def _on_top_of(run_dir: str, overrides: list[str], *, tested: bool) -> list[str]:
    """The saved run as far as it goes with ``overrides``, then these. A policy that is tested keeps its networks."""
    from mimickit_hydra.config.regroup import derived, on_its_machine, rates_of_training, regroup
    from mimickit_hydra.config.repeat import read_run

    saved = read_run(run_dir)
    choices = saved.choices
    if tested and "compute" not in choices and (compute := derived("compute", choices)):
        choices = {**choices, "compute": compute}
    before, dropped = regroup(run_dir, choices, saved.values, overrides, keep=("compute",) if tested else ())
    if tested:
        before += [*rates_of_training(saved.engine, overrides), *on_its_machine(choices, saved.values, overrides)]
    if dropped := [text for text in dropped if text not in before]:
        print(f"note: values of {run_dir} that have no place here: {' '.join(dropped)}", file=sys.stderr)
    return [*before, *overrides]


def _value_of(key: str, overrides: Sequence[str]) -> str:
    """The value that the last of the overrides gives ``key``; empty for null or none."""
    from mimickit_hydra.config.regroup import value_of

    found = value_of(key, overrides).strip("'\"")
    return "" if found.lower() in ("null", "none") else os.path.expanduser(found)


def _is_run(args: argparse.Namespace) -> bool:
    return not (args.cfg or args.info or args.hydra_help or args.shell_completion)


# ------------------------------------------------------------------------------------------------------------- Hydra


def _preflight(args: argparse.Namespace) -> list[str]:
    """Compose and check every run that is about to start, before torch is imported.

    Returns the override that tells Hydra the run directory, which is made here (a sweep makes its own).
    """
    from mimickit_hydra.config.compose import compose, to_run
    from mimickit_hydra.config.repeat import quote
    from mimickit_hydra.config.sweep import is_sweep, runs_of
    from mimickit_hydra.config.validate import validate
    from mimickit_hydra.runtime.run_dir import prepare_run_dir

    if args.config_path or args.config_name or args.config_dir:
        return []  # the user's own composition: checked when the job starts
    sweep = is_sweep(args)
    for overrides, here in runs_of(args.overrides, sweep=sweep):
        run = to_run(compose(overrides))
        validate(run, machine=here and run.launch.launcher != "slurm")
    if sweep:
        return []
    check_interrupt()
    given = run.resume or _value_of("out_dir", args.overrides)
    run_dir = prepare_run_dir(given or _unused(str(run.out_dir)), resume=run.resume is not None)
    return [f"hydra.run.dir={quote(str(run_dir))}"]


def _check_shown(args: argparse.Namespace) -> list[str]:
    """Showing the config needs no checks, except for the keys that ``+`` carries past the schema."""
    if args.cfg and any(text.startswith("+") for text in args.overrides):
        from mimickit_hydra.config.compose import compose, to_run

        to_run(compose(args.overrides))
    return []


def _unused(path: str) -> str:
    """``path``, or the same with a number where another run of the same second was faster."""
    for number in itertools.count(2):
        try:
            os.makedirs(path)
            return path
        except FileExistsError:
            path = f"{path.removesuffix(f'-{number - 1}')}-{number}"
        except OSError:  # said better by whoever prepares the directory
            return path
    raise AssertionError("unreachable")


def _hydra(arguments: list[str], prog: str) -> None:
    import hydra

    from mimickit_hydra.config.compose import CONFIG_NAME, VERSION_BASE
    from mimickit_hydra.config.paths import conf_dir
    from mimickit_hydra.config.store import register

    register()
    with _raw_errors(), _argv([prog, *arguments]):
        hydra.main(config_path=str(conf_dir()), config_name=CONFIG_NAME, version_base=VERSION_BASE)(job)()


@contextlib.contextmanager
def _argv(argv: list[str]) -> Iterator[None]:
    before = sys.argv
    sys.argv = argv
    try:
        yield
    finally:
        sys.argv = before


@contextlib.contextmanager
def _raw_errors() -> Iterator[None]:
    """Let Hydra raise instead of printing several lines and exiting: the caller prints one."""
    before = os.environ.get(_FULL_ERROR)
    os.environ[_FULL_ERROR] = "1"
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(_FULL_ERROR, None)
        else:
            os.environ[_FULL_ERROR] = before
