"""The docs hold: ``train.py`` composes their commands, ``mimickit`` knows its arguments, the files exist."""

from __future__ import annotations

import ast
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from mimickit_hydra.cli.main import make_parser
from mimickit_hydra.config.compose import compose, to_run
from mimickit_hydra.config.overrides import parse, written_out
from mimickit_hydra.config.paths import bundled_data
from mimickit_hydra.runs.repeat import expand

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
RUN = bundled_data() / "models" / "humanoid_walk"  # reads like a run directory
CODE = re.compile(r"^```\w*\n(.*?)^```|^((?: {4}.*\n)+)", re.MULTILINE | re.DOTALL)
A_RUN = re.compile(r"\bRUN_DIR\b|\boutputs/RUN\b|(?<=[= ])RUN\b")
PLACEHOLDER = re.compile(r"\b(RUN\w*|DIR|PATH|NAME|X|KEY|GROUP|FILE|METHOD|YAML)\b|\.\.\.|\bmy_|[~$\[{]|/")


def commands(program: str) -> Iterator[tuple[str, list[str]]]:
    """Place and words of every command in the docs that begins with ``program``."""
    for page in PAGES:
        for found in CODE.finditer(page.read_text("utf-8")):
            code = next(filter(None, found.groups())).replace("\\\n", " ")
            for line in code.splitlines():
                command = re.split(r"\s{3,}|\s#", line.strip())[0]
                if command.startswith(f"{program} "):
                    yield f"{page.name}: {command}", shlex.split(command)[len(program.split()) :]


def train_commands() -> Iterator[tuple[str, list[str]]]:
    """Commands of train.py with no flag but ``-m`` and ``--from``; a run that exists replaces the docs' own."""
    for place, given in commands("python train.py"):
        words = [A_RUN.sub(str(RUN), f" {word}")[1:] for word in given if word != "-m"]
        flags = [word for word in words if word.startswith("-")]
        if flags in ([], ["--from"]) and not any(PLACEHOLDER.search(word.replace(str(RUN), "")) for word in words):
            yield place, words


def composes(place: str, words: list[str]) -> None:
    from_run = None
    if "--from" in words:
        at = words.index("--from")
        words, from_run = [*words[:at], *words[at + 2 :]], words[at + 1]
    try:
        overrides = [parse(word) for word in words]
        one = [word.each()[0] for word in overrides if not word.is_hydra and word.key != "sweep"]
        to_run(compose(expand(one, from_run)))
    except Exception as error:
        pytest.fail(f"{place}: {error}")


def test_what_follows_train_composes() -> None:
    found = {tuple(words): place for place, words in train_commands() if str(RUN) not in " ".join(words)}
    for words, place in found.items():
        composes(place, list(words))
    assert len(found) > 20


@pytest.mark.slow
def test_what_follows_train_composes_with_a_run() -> None:
    found = {tuple(words): place for place, words in train_commands() if str(RUN) in " ".join(words)}
    for words, place in found.items():
        composes(place, list(words))
    assert len(found) > 5


def test_what_follows_mimickit_composes() -> None:
    """The overrides of ``explain``, ``doctor`` and others, as far as they name no file of the reader's."""
    parser, found = make_parser(), {}
    for place, words in commands("mimickit"):
        if "..." in words or any(word.startswith("[") for word in words):
            continue
        args = parser.parse_args(words)
        words = [word for word in getattr(args, "overrides", None) or () if "=" in word]
        if not words or any(map(PLACEHOLDER.search, words)) or any(word.startswith("prior.") for word in words):
            continue
        if args.command == "sweep" and not words[0].startswith("launch="):  # on top of where it was launched
            words = ["launch=slurm", *words]
        found[tuple(words)] = place
    for overrides, place in found.items():
        composes(place, [written_out(word) for word in overrides])
    assert len(found) > 5


def test_scripts_that_the_docs_start_are_there() -> None:
    for place, words in commands("python"):
        if words[0].startswith(("benchmarks/", "docs/", "examples/", "tests/")):
            assert (ROOT / words[0]).is_file(), place


def test_blocks_of_python_and_yaml_are_that() -> None:
    readers = {"python": ast.parse, "yaml": yaml.safe_load, "json": json.loads}
    for page in PAGES:
        for language, code in re.findall(r"^```(python|yaml|json)\n(.*?)^```", page.read_text("utf-8"), re.M | re.S):
            readers[language](code)


def test_mimickit_knows_its_arguments() -> None:
    parser, tried = make_parser(), 0
    for place, words in commands("mimickit"):
        if "..." in words or any(word.startswith("[") for word in words):
            continue
        try:
            parser.parse_args(words)
        except Exception as error:
            pytest.fail(f"{place}: {error}")
        tried += 1
    assert tried > 20


def test_the_files_that_the_docs_name_exist() -> None:
    folders, missing = (ROOT, ROOT / "examples" / "my_robot" / "my_robot"), []
    for page in PAGES:
        text = page.read_text("utf-8")
        for path in re.findall(r"`((?:conf|docs|benchmarks|tests|mimickit_hydra|examples)/[\w./-]+)`", text):
            missing += [] if any((folder / path).exists() for folder in folders) else [f"{page.name}: {path}"]
        for path in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
            missing += [] if (page.parent / path).exists() else [f"{page.name}: {path}"]
    assert missing == []
