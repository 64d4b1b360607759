"""A look at a motion file by which it is recognised, before anything reads it whole."""

from __future__ import annotations

import zipfile
from functools import cached_property
from pathlib import Path

from mimickit_hydra.errors import UserError
from mimickit_hydra.foreign import check_plain_file, open_plain, read_bytes

_HEAD = 65536  # bytes
_MOST = 2**29  # bytes of a file of which all is looked at


class Glance:
    """What a file shows of itself; empty where it cannot be read, which its reader then says."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def data(self) -> bytes:
        """The whole content."""
        try:
            return read_bytes(self.path, _MOST)
        except UserError:
            return b""

    @cached_property
    def head(self) -> bytes:
        """The first 64 KB."""
        try:
            with open_plain(self.path) as file:
                return file.read(_HEAD)
        except (UserError, OSError):
            return b""

    @cached_property
    def members(self) -> frozenset[str]:
        """The names of the arrays in a ``.npz``."""
        try:
            check_plain_file(self.path)
            with zipfile.ZipFile(self.path) as archive:
                return frozenset(name.removesuffix(".npy") for name in archive.namelist())
        except Exception:  # whatever a damaged directory of an archive can cause
            return frozenset()
