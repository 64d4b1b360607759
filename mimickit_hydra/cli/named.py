"""Finds the characters, clips and policies that commands are given, by name or as a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mimickit_hydra.errors import UserError

if TYPE_CHECKING:
    from mimickit_hydra.motion.character import CharacterModel

DEFAULT_CHARACTER = "humanoid"


def find_character(name: str) -> tuple[CharacterModel, Path]:
    """A character by its name or its MJCF, and that file."""
    from mimickit_hydra.config.paths import resolve_data_file
    from mimickit_hydra.motion.character import CharacterModel

    try:
        path = resolve_data_file(name if name.endswith(".xml") else named_value("character", name, "char_file"))
    except UserError as error:
        from mimickit_hydra.assets.fetch import PACKAGES

        raise UserError(f"{error}; mimickit assets fetch {name}" if name in PACKAGES else str(error)) from None
    return CharacterModel.from_file(path), path


def named_value(group: str, name: str, key: str, argument: str = "") -> Any:
    """What an option of ``conf/`` says of ``key``, or None; UserError, naming the argument, where there is none."""
    from mimickit_hydra.config.defaults import read
    from mimickit_hydra.config.groups import groups
    from mimickit_hydra.errors import suggestion

    options = {option.name: option.path for option in groups()[group].options}
    if name not in options:
        hint = f"{suggestion(name, list(options))}; allowed: {', '.join(options)}, or an MJCF ending in .xml"
        raise UserError(f"--{argument or group} {name}: no such {group}{hint}")
    return read(options[name]).values.get(key)


def find_clip(name: str, character: str) -> Path:
    """A clip by its path, by a path as configs write it, or a bundled one by its name."""
    from mimickit_hydra.config.paths import resolve_data_file

    if Path(name).exists():
        return Path(name)
    if Path(name).name == name and not Path(name).suffix and not character.endswith(".xml"):
        from mimickit_hydra.config.groups import groups

        named_value("character", character, "char_file")  # there is such a character
        name = name if name.startswith(f"{character}_") else f"{character}_{name}"
        file = f"data/motions/{character}/{name}.pkl"
        if name in groups()["motion"].option_names():
            file = named_value("motion", name, "motion_file")
        if Path(file).suffix == ".yaml":
            raise UserError(f"{name}: a dataset ({file}); name one of its clips")
        return resolve_data_file(file)
    return resolve_data_file(name)


def model_name(text: str) -> str | None:
    """``NAME`` of ``model=NAME``; None for other words."""
    return text.removeprefix("model=") if text.startswith("model=") else None


def find_policy(text: str) -> Path:
    """A run or checkpoint, or for ``model=NAME`` the folder of that trained policy. UserError for an unknown name."""
    from mimickit_hydra.config.models import find, models

    if (name := model_name(text)) is not None:
        return find(name).folder
    if not Path(text).exists() and text in {model.name for model in models()}:
        raise UserError(f"{text}: no such run; the trained policy of this name is model={text}")
    return Path(text)


def make_results_folder(text: str) -> Path:
    """The folder for what is found out about a policy: its run directory, or ``outputs/NAME`` for ``model=NAME``."""
    name = model_name(text)
    folder = Path(text).expanduser() if name is None else Path("outputs", name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: cannot be made ({error.strerror or error})") from None
    return folder
