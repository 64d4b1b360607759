"""Atomic file writes: a reader, or the next start after a crash, finds the old content or the new, never half of it."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from mimickit_hydra.errors import UserError

TMP_SUFFIX = ".tmp"


WHOLE = "# whole if the last line is: # end\n"  # the first line of a file that makes sense also when it is cut short
END = "# end\n"


def refuse_cut(text: str, path: Path) -> None:
    """UserError where ``text``, read from ``path``, begins as a file between WHOLE and END and is not all of it."""
    if WHOLE.startswith(text) or (text.startswith(WHOLE) and "\n" + END not in text):
        raise UserError(f"{path}: cut short: it has no line '{END.strip()}'")


def write_atomic(path: Path, write: Callable[[BinaryIO], object], check: Callable[[Path], None] | None = None) -> None:
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


def write_wanted(path: Path, write: Callable[[BinaryIO], object], failed: str = "cannot be written") -> None:
    """:func:`write_atomic` of a file that the user asked for, and its folder; UserError says that it ``failed``."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, write)
    except OSError as error:
        raise UserError(f"{path}: {failed} ({error.strerror or error})") from None


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


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files in ``folder`` of processes that were killed while they wrote.

    Only for whoever alone may write there: others may be about to rename theirs.
    """
    for path in folder.glob(f".*.*[0-9]{TMP_SUFFIX}"):
        with contextlib.suppress(OSError):
            path.unlink()


def relative(path: Path | str) -> str:
    """A path from the current directory, or as it is where there is none, or another drive."""
    try:
        return os.path.relpath(path)
    except (OSError, ValueError):
        return str(path)


def sync_dir(folder: Path) -> None:
    """Make renames in ``folder`` survive a power cut. Does nothing where directories cannot be opened (Windows)."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


__all__ = [
    "END",
    "TMP_SUFFIX",
    "WHOLE",
    "link_atomic",
    "refuse_cut",
    "relative",
    "remove_leftovers",
    "sync_dir",
    "write_atomic",
    "write_text_atomic",
]
