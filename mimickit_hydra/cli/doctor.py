"""``mimickit doctor [OVERRIDES]``: checks this machine, every engine and, with overrides, a run."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any

from mimickit_hydra.cli.overrides import add_overrides
from mimickit_hydra.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mimickit_hydra.checks.reading import HintedFile
    from mimickit_hydra.config.presets import Preset
    from mimickit_hydra.config.schema import RunConfig
    from mimickit_hydra.doctor.health import Finding

USABLE, UNUSABLE = 0, 1


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "doctor",
        help="is everything here that a run needs? engines, GPU, files, one real step",
        description="Looks at this machine and at every engine, and takes one real step of those that are installed. "
        "With overrides: also at the run they compose, its files, its engine and the preset it comes from. The exit "
        "code is 0 if the engine (the default one without overrides) and the run can be used, 1 if not.",
    )
    add_overrides(parser, "OVERRIDE", "as on train.py's command line")
    parser.add_argument("--json", action="store_true", help="one JSON object, for programs")
    parser.add_argument("--smoke", action="store_true", help="also test the run for two episodes (debug=smoke)")
    parser.add_argument("--no-step", action="store_true", help="look at versions, start no simulator")
    parser.add_argument("--timeout", type=float, default=300.0, metavar="S", help="for a simulator's start (300 s)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    if args.timeout <= 0:
        raise UserError(f"--timeout {args.timeout:g}: must be more than 0 seconds")
    report = _Report(args)
    if args.overrides:
        report.look_at_run()
    report.look_at_machine()
    report.look_at_engines()
    if args.smoke:
        report.smoke()
    if args.json:
        print(json.dumps(report.as_json(), indent=2, default=str))
    else:
        report.say_verdict()
    return USABLE if report.usable else UNUSABLE


class _Report:
    """The findings so far; each part is printed as soon as it is known, unless JSON is asked for."""

    def __init__(self, args: argparse.Namespace) -> None:
        from mimickit_hydra.config.compose import compose, drop_hydra, to_run
        from mimickit_hydra.config.messages import one_line
        from mimickit_hydra.runs.repeat import expand

        self.args = args
        self.overrides: list[str] = expand(list(args.overrides))
        self.cfg = compose(self.overrides, with_hydra=True)
        self.choices = {key: str(value) for key, value in self.cfg.hydra.runtime.choices.items() if "/" not in key}
        drop_hydra(self.cfg)
        self.run: RunConfig = to_run(self.cfg)
        self.one_line = one_line
        self.findings: dict[str, list[Finding]] = {}
        self.files: list[HintedFile] = []
        self.preset: Preset | None = None

    @property
    def engine(self) -> str:
        return str(self.run.engine.engine_name)

    @property
    def usable(self) -> bool:
        from mimickit_hydra.doctor.health import FAIL

        needed = [*self.findings.get("run", []), *self.findings.get("machine", []), *self.findings.get("smoke", [])]
        needed += [finding for finding in self.findings.get("engines", []) if finding.topic == self.engine]
        return not any(finding.state == FAIL for finding in needed if finding.topic != "gpu" or self._on_gpu())

    def _on_gpu(self) -> bool:
        return any(device.startswith("cuda") for device in self.run.devices)

    # ---------------------------------------------------------------------------------------------------------- looks

    def look_at_run(self) -> None:
        from mimickit_hydra.checks.reading import named_files
        from mimickit_hydra.config.presets import compare_with_preset

        self._print_config()
        self.files = named_files(self.run)
        self.preset = compare_with_preset(self.overrides, self.run, self.choices)
        self._add("run", [*self._check_config(), self._check_files(), *self._check_preset()])

    def look_at_machine(self) -> None:
        from mimickit_hydra.doctor.health import check_machine

        self._add("machine", check_machine(self.run.out_dir if self.overrides else None))

    def look_at_engines(self) -> None:
        """Check every engine, or the one of the run."""
        from mimickit_hydra.doctor.engine_health import check_engine
        from mimickit_hydra.plugins import ENGINES

        found = []
        for name in [self.engine] if self.overrides else ENGINES:
            if self.run.core.name == "mimickit":
                break  # the checkout brings its own
            self._wait_for(name)
            found.append(
                check_engine(
                    name, self._engine_overrides(name), python=self.run.engine.python if self.overrides else None,
                    needed=name == self.engine, step=not self.args.no_step, timeout=self.args.timeout,
                )
            )  # fmt: skip
        self._add("engines", found)

    def _engine_overrides(self, name: str) -> list[str]:
        from mimickit_hydra.gpus import gpu_count

        if any(file.key == "env.char_file" and file.found is None for file in self.files):
            own = [text for text in self.overrides if text.startswith("engine.")]
            return [f"engine={name}", f"devices=[{','.join(self.run.devices)}]", *own]  # with another character
        if self.overrides:
            return self.overrides
        return [f"engine={name}", "devices=[cpu]"] if gpu_count() == 0 else [f"engine={name}"]

    def smoke(self) -> None:
        from mimickit_hydra.doctor.smoke import smoke_test

        self._wait_for("debug=smoke")
        command = [sys.executable, "-m", "mimickit_hydra.cli.main", "train"]
        self._add("smoke", [smoke_test(command, self.overrides, self.args.timeout)])

    # -------------------------------------------------------------------------------------------------- the run's parts

    def _check_config(self) -> list[Finding]:
        from mimickit_hydra.checks.check import validate
        from mimickit_hydra.doctor.health import FAIL, OK, Finding

        try:
            validate(self.run, machine=self.run.launch.launcher != "slurm")
        except Exception as error:
            line = self.one_line(error, self.overrides)
            if line is None:
                raise
            return [Finding("config", FAIL, line)]
        fine = Finding("config", OK, "every value passes its check, and the parts fit together")
        return [fine, *self._check_robot()]

    def _check_robot(self) -> list[Finding]:
        """What the training would say before it begins; a robot that no command moves is of no use."""
        from mimickit_hydra.doctor.health import FAIL, WARN, Finding
        from mimickit_hydra.training.advice import advice, robot_of

        found = [Finding("note", WARN, line) for line in advice(self.run)]
        robot = robot_of(self.run)
        without = robot.without_gains(self.run.engine.control_mode)
        if without.any() and without.sum() == robot.driven.sum():
            text = f"no joint of {self.run.env.char_file} has gains: commands move nothing"
            found.append(Finding("gains", FAIL, text, "add character.gains=from_inertia"))
        return found

    def _check_files(self) -> Finding:
        from mimickit_hydra.doctor.health import FAIL, OK, Finding

        missing = [file for file in self.files if file.found is None]
        if not missing:
            return Finding("files", OK, f"all {len(self.files)} files that the run names are there")
        shown = ", ".join(f"{file.path} ({file.key})" for file in missing[:3])
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        fixes = "; ".join(dict.fromkeys(file.hint for file in missing))
        return Finding("files", FAIL, f"{len(missing)} of {len(self.files)} are missing: {shown}{more}", fixes)

    def _check_preset(self) -> list[Finding]:
        from mimickit_hydra.doctor.health import OK, Finding

        if self.preset is None:
            what = f"method={self.choices['method']} character={self.choices['character']}"
            return [Finding("preset", "-", f"no experiment has {what}; mimickit list experiment")]
        label = "as" if self.preset.named else "nearest:"
        count = len(self.preset.differences)
        text = f"{label} {' '.join(self.preset.overrides)}, " + (
            f"{count} value{'s differ' if count > 1 else ' differs'}" if count else "no difference"
        )
        return [Finding("preset", OK, text)]

    # --------------------------------------------------------------------------------------------------------- printing

    def _add(self, part: str, found: Sequence[Finding]) -> None:
        self.findings[part] = list(found)
        if self.args.json or not found:
            return
        from mimickit_hydra.doctor.table import print_findings

        print_findings(part, found)
        if part == "run" and self.preset is not None and self.preset.differences:
            from mimickit_hydra.cli.diff import table

            heads = (" ".join(self.preset.overrides), "this run")
            print("\n".join([*table(self.preset.differences, *heads), ""]))

    def _print_config(self) -> None:
        if self.args.json:
            return
        from mimickit_hydra.cli.text import bold, dim
        from mimickit_hydra.config.compose import resolved_yaml

        print(f"{bold('config')} {dim('(where a value comes from: mimickit explain KEY OVERRIDES)')}")
        print(resolved_yaml(self.cfg))

    def _wait_for(self, what: str) -> None:
        if not self.args.json and sys.stderr.isatty():
            print(f"trying {what} ...", end="\r", file=sys.stderr, flush=True)

    def say_verdict(self) -> None:
        from mimickit_hydra.cli.text import bold, style
        from mimickit_hydra.doctor.health import FAIL

        what = "this run" if self.overrides else f"engine={self.engine}, the default,"
        if self.usable:
            print(style(f"{what} can be used", "32"))
            return
        reasons = [f for part in self.findings.values() for f in part if f.state == FAIL]
        nexts = [finding.next for finding in reasons if finding.next]
        print(style(f"{what} cannot be used: {', '.join(dict.fromkeys(f.topic for f in reasons))}", "31"))
        if nexts:
            print(f"next: {bold(nexts[0])}")

    def as_json(self) -> dict[str, Any]:
        import dataclasses

        from mimickit_hydra.config.compare import ABSENT
        from mimickit_hydra.config.compose import flatten

        found: dict[str, Any] = {"usable": self.usable, "engine": self.engine}
        for part, findings in self.findings.items():
            found[part] = [dataclasses.asdict(finding) for finding in findings]
        if self.overrides:
            found["overrides"] = self.overrides
            found["config"] = flatten(self.cfg, resolve=True)
            found["files"] = [dataclasses.asdict(file) for file in self.files]
        if self.preset is not None:
            found["preset"] = {
                "name": self.preset.name,
                "named": self.preset.named,
                "overrides": self.preset.overrides,
                "differences": [
                    {
                        "key": one.key,
                        "preset": None if one.left is ABSENT else one.left,
                        "run": None if one.right is ABSENT else one.right,
                    }
                    for one in self.preset.differences
                ],
            }
        return found
