"""Finds the folders in which config groups are looked up: ours, those of plugins, and the user's own.

The user's own are ``~/.config/mimickit-hydra/conf`` where it exists and what ``MIMICKIT_CONF`` lists. Folders named on
a command line join that variable, so that every process that it starts, here or on a cluster, knows them too.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mimickit_hydra.errors import UserError
from mimickit_hydra.plugins import conf_roots

CONF_ENV_VAR = "MIMICKIT_CONF"  # folders laid out as conf/, separated as in PATH
_PACKAGE = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Root:
    """A folder laid out as ``conf/``."""

    name: str  # who brings it: mimickit_hydra, plugin NAME, user, or MIMICKIT_CONF
    path: Path
    stamp: tuple[tuple[str, int], ...] = ()  # when each of its folders changed, for what is cached about it

    def files(self) -> Iterator[Path]:
        """Its YAML files, from its top."""
        for folder in (self.path, *_folders(self.path)):
            yield from (path.relative_to(self.path) for path in folder.glob("*.yaml"))


@functools.cache
def conf_dir() -> Path:
    """The package's own folder: the copy inside an installed package, or ``conf/`` of the clone."""
    for candidate in (_PACKAGE / "conf", _PACKAGE.parent / "conf"):
        if (candidate / "config.yaml").is_file():
            return candidate
    raise UserError(f"no config groups beside {_PACKAGE}: found no conf/config.yaml; reinstall mimickit-hydra")


def user_dir() -> Path:
    """The folder that needs no flag."""
    return Path(os.path.expanduser(os.environ.get("XDG_CONFIG_HOME") or "~/.config")) / "mimickit-hydra" / "conf"


def roots() -> tuple[Root, ...]:
    """Every folder in the order of the search.

    UserError where one does not exist, or has an option that an earlier one has: Hydra would ignore it silently.
    """
    return _checked((Root("mimickit_hydra", conf_dir()), *further()))


def further() -> tuple[Root, ...]:
    """The folders besides the package's own."""
    named = [(f"plugin {name}", path) for name, path in conf_roots()]
    named += [("user", user_dir())] if os.access(user_dir(), os.R_OK | os.X_OK) else []  # also: may not be entered
    listed = os.environ.get(CONF_ENV_VAR, "").split(os.pathsep)
    named += [(CONF_ENV_VAR, Path(part).expanduser().absolute()) for part in listed if part]
    found: dict[Path, Root] = {}
    for name, path in named:
        if not path.is_dir():
            raise UserError(f"{name}: found {path}, must be an existing folder")
        if path.resolve() != conf_dir():
            stamp = tuple((str(folder), folder.stat().st_mtime_ns) for folder in (path, *_folders(path)))
            found.setdefault(path.resolve(), Root(name, path, stamp))
    return tuple(found.values())


def find(name: str) -> Path | None:
    """The file ``name``, such as ``motion/humanoid_walk.yaml``, in the first folder that has it."""
    return next((root.path / name for root in roots() if (root.path / name).is_file()), None)


def shown(path: Path) -> str:
    """The path as text: ``conf/...`` for our own files, the whole path for others."""
    return str(Path("conf") / path.relative_to(conf_dir())) if path.is_relative_to(conf_dir()) else str(path)


def add(folders: Iterable[str | Path]) -> None:
    """Let this process, and those that it starts, look in these folders too."""
    listed = [part for part in os.environ.get(CONF_ENV_VAR, "").split(os.pathsep) if part]
    listed += [str(Path(folder).expanduser().absolute()) for folder in folders]
    os.environ[CONF_ENV_VAR] = os.pathsep.join(dict.fromkeys(listed))


# ------------------------------------------------------------------------------------------------------------- details


@functools.lru_cache(maxsize=64)
def _checked(found: tuple[Root, ...]) -> tuple[Root, ...]:
    if len(found) == 1:
        return found
    owner: dict[Path, Root] = {}
    for root in found:
        for file in root.files():
            other = owner.setdefault(file, root)
            if other is not root:
                raise UserError(f"{file}: found in {other.path} and in {root.path}; one of the two must be renamed")
    return found


def _folders(root: Path) -> Iterator[Path]:
    """The folders of a root's groups, with those inside them; others may lie beside them in a project's folder."""
    for folder in sorted(root.iterdir()):
        if not folder.is_dir() or folder.name.startswith((".", "_")):
            continue
        if (conf_dir() / folder.name).is_dir() or any(folder.glob("*.yaml")):
            yield folder
            yield from sorted(path for path in folder.rglob("*") if path.is_dir())
