"""Writing a file so that a reader, or the next start after a crash, sees the old content or the new, never half."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

TMP_SUFFIX = ".tmp"


def write_atomic(path: Path, write: Callable[[BinaryIO], None], check: Callable[[Path], None] | None = None) -> None:
    """Write through a temporary file beside ``path``: flush, fsync, check, rename, fsync of the directory.

    ``check`` looks at the finished temporary file and raises to refuse it. On any error ``path`` keeps its old content,
    the temporary file is removed and the error goes on to the caller (OSError for a full disk).
    """
    tmp = path.with_name(f".{path.name}.{os.getpid()}{TMP_SUFFIX}")
    try:
        with open(tmp, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        if check is not None:
            check(tmp)
        os.replace(tmp, path)
    except BaseException:
        with contextlib.suppress(OSError):
            tmp.unlink()
        raise
    sync_dir(path.parent)


def write_text_atomic(path: Path, text: str) -> None:
    """:func:`write_atomic` for UTF-8 text."""

    def write(file: BinaryIO) -> None:
        file.write(text.encode("utf-8"))

    write_atomic(path, write)


def link_atomic(source: Path, path: Path) -> None:
    """Make ``path`` another name of ``source``'s present content: a hard link, or a copy where there are none."""
    tmp = path.with_name(f".{path.name}.{os.getpid()}{TMP_SUFFIX}")
    with contextlib.suppress(FileNotFoundError):
        tmp.unlink()
    try:
        try:
            os.link(source, tmp)
        except OSError:
            shutil.copyfile(source, tmp)
            with open(tmp, "rb+") as file:
                os.fsync(file.fileno())
        os.replace(tmp, path)
    except BaseException:
        with contextlib.suppress(OSError):
            tmp.unlink()
        raise
    finally:
        # Renaming one hard link over another of the same file succeeds without doing anything.
        with contextlib.suppress(OSError):
            tmp.unlink()
    sync_dir(path.parent)


def sync_dir(folder: Path) -> None:
    """Make renames in ``folder`` survive a power cut. Does nothing where directories cannot be opened (Windows)."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


__all__ = ["TMP_SUFFIX", "link_atomic", "sync_dir", "write_atomic", "write_text_atomic"]
