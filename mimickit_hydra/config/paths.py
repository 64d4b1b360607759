"""Finds the config folder and data files: beside the code in a clone, inside the package once installed."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from mimickit_hydra.config.roots import further
from mimickit_hydra.errors import UserError
from mimickit_hydra.plugins import DATA_ROOTS

_PACKAGE = Path(__file__).resolve().parent.parent
DATA_ENV_VAR = "MIMICKIT_DATA"  # directories searched before the bundled data, separated as in PATH


def bundled_data() -> Path:
    """The directory of the clips and characters that come with the package."""
    return _PACKAGE / "data"


def cached_data() -> Path:
    """The directory of what ``mimickit assets fetch`` brought."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.path.expanduser(cache)) / "mimickit-hydra" / "data"


def resolve_data_file(path: str, data_root: Sequence[str] = ()) -> Path:
    """Find a file that a config names, for example ``data/motions/humanoid/humanoid_walk.pkl``.

    Looked up as given (absolute or from the current directory), then without the leading ``data/`` in each directory
    of ``data_root``, of ``$MIMICKIT_DATA``, in the data of plugins, in the bundled data and among what was fetched, and
    last beside each config folder of a plugin or of the user. A clip (``.pkl``) may also be there as ``.npz``.

    Raises:
        UserError: the file is in none of them; the line names the nearest files.
    """
    given = Path(os.path.expanduser(path))
    for candidate in _candidates(given, data_root):
        if os.path.isfile(candidate):  # False where a folder may not be entered
            return candidate.resolve()
    searched = "" if given.is_absolute() else f" here nor in {', '.join(str(root) for root in _roots(data_root))}"
    near = _nearest_files(given, data_root)
    hint = f"; nearest: {', '.join(near)}" if near else ""
    raise UserError(f"{path}: no such file{searched}{hint}")


def find_model(path: str, data_root: Sequence[str] = ()) -> Path:
    """What ``model_file`` names: a file or folder; ``data/...`` also in the places of data. It may not exist."""
    given = Path(os.path.expanduser(path))
    if given.parts[:1] == ("data",) and not os.path.exists(given):
        for candidate in _candidates(given, data_root):
            if os.path.exists(candidate):
                return candidate.resolve()
    return given


def find_data_folder(path: str, data_root: Sequence[str] = ()) -> Path | None:
    """The folder that a config names, looked up as a file is; None if there is none."""
    found = (place for place in _candidates(Path(os.path.expanduser(path)), data_root) if os.path.isdir(place))
    return next((place.resolve() for place in found), None)


def matching_data_files(pattern: str, data_root: Sequence[str] = ()) -> list[Path]:
    """The files that match a pattern such as ``data/clips/**/*.npz``, in the first place where there are any."""
    for place in _candidates(Path(os.path.expanduser(pattern)), data_root):
        files = sorted(Path(name).resolve() for name in glob.glob(str(place), recursive=True) if os.path.isfile(name))
        if files:
            return files
    return []


def _roots(data_root: Sequence[str]) -> list[Path]:
    from_env = [part for part in os.environ.get(DATA_ENV_VAR, "").split(os.pathsep) if part]
    own = [Path(root).expanduser() for root in (*data_root, *from_env)]
    return [*own, *(Path(entry.place) for entry in DATA_ROOTS.entries()), bundled_data(), cached_data()]


def _without_data(path: Path) -> Path:
    return Path(*path.parts[1:]) if len(path.parts) > 1 and path.parts[0] == "data" else path


def _candidates(given: Path, data_root: Sequence[str]) -> Iterator[Path]:
    yield from with_npz(given)
    if given.is_absolute():
        return
    for root in _roots(data_root):
        yield from with_npz(root / _without_data(given))
    for config in further():
        yield from with_npz(config.path.resolve().parent / given)


def with_npz(path: Path) -> Iterator[Path]:
    """A file, and for a clip of MimicKit's (``.pkl``) the ``.npz`` that may be there instead."""
    yield path
    if path.suffix == ".pkl":
        yield path.with_suffix(".npz")


def _nearest_files(wanted: Path, data_root: Sequence[str]) -> list[str]:
    """Up to three existing files with a similar name, in the form a config would name them."""
    import difflib

    names: dict[str, str] = {}
    for root in [wanted.parent, *(root / _without_data(wanted).parent for root in _roots(data_root))]:
        if os.path.isdir(root) and os.access(root, os.R_OK | os.X_OK):
            for file in sorted(root.iterdir()):
                if file.is_file():
                    names.setdefault(file.stem, str(wanted.parent / file.name))
    return [names[stem] for stem in difflib.get_close_matches(wanted.stem, list(names), n=3, cutoff=0.5)]
