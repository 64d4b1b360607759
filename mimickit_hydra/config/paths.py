"""Where the configuration and the data live: beside the code in a clone, inside the package once installed."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from mimickit_hydra.config.errors import UserError

_PACKAGE = Path(__file__).resolve().parent.parent
DATA_ENV_VAR = "MIMICKIT_DATA"  # directories searched before the bundled data, separated as in PATH


def conf_dir() -> Path:
    """The directory with the config groups: the copy inside an installed package, or ``conf/`` of the clone."""
    for candidate in (_PACKAGE / "conf", _PACKAGE.parent / "conf"):
        if (candidate / "config.yaml").is_file():
            return candidate
    raise UserError(f"no config groups beside {_PACKAGE}: found no conf/config.yaml; reinstall mimickit-hydra")


def bundled_data() -> Path:
    """The directory of the clips and characters that come with the package."""
    return _PACKAGE / "data"


def cached_data() -> Path:
    """The directory of what ``mimickit assets fetch`` brought."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / "mimickit-hydra" / "data"


def resolve_data_file(path: str, data_root: Sequence[str] = ()) -> Path:
    """Find a file that a config names, for example ``data/motions/humanoid/humanoid_walk.pkl``.

    Looked up as given (absolute or from the current directory), then without the leading ``data/`` in each directory
    of ``data_root``, of ``$MIMICKIT_DATA``, in the bundled data and among what was fetched. A clip (``.pkl``) may also
    be there as ``.npz``.

    Raises:
        UserError: the file is in none of them; the line names the nearest files.
    """
    for candidate in _candidates(path, data_root):
        if candidate.is_file():
            return candidate.resolve()
    searched = ", ".join(str(root) for root in _roots(data_root))
    near = _nearest_files(path, data_root)
    hint = f"; nearest: {', '.join(near)}" if near else ""
    raise UserError(f"{path}: no such file here nor in {searched}{hint}")


def _roots(data_root: Sequence[str]) -> list[Path]:
    from_env = [part for part in os.environ.get(DATA_ENV_VAR, "").split(os.pathsep) if part]
    return [Path(root).expanduser() for root in (*data_root, *from_env)] + [bundled_data(), cached_data()]


def _without_data(path: str) -> Path:
    parts = Path(path).parts
    return Path(*parts[1:]) if len(parts) > 1 and parts[0] == "data" else Path(path)


def _candidates(path: str, data_root: Sequence[str]) -> Iterator[Path]:
    given = Path(path).expanduser()
    yield from _with_npz(given)
    if given.is_absolute():
        return
    for root in _roots(data_root):
        yield from _with_npz(root / _without_data(path))


def _with_npz(path: Path) -> Iterator[Path]:
    yield path
    if path.suffix == ".pkl":
        yield path.with_suffix(".npz")


def _nearest_files(path: str, data_root: Sequence[str]) -> list[str]:
    """Up to three existing files with a similar name, in the form a config would name them."""
    import difflib

    wanted = Path(path)
    names: dict[str, str] = {}
    for root in [wanted.parent, *(root / _without_data(path).parent for root in _roots(data_root))]:
        if root.is_dir():
            for file in sorted(root.iterdir()):
                if file.is_file():
                    names.setdefault(file.stem, str(wanted.parent / file.name))
    return [names[stem] for stem in difflib.get_close_matches(wanted.stem, list(names), n=3, cutoff=0.5)]
