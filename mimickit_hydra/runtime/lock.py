"""One process per run directory: the lock says who holds it, and one whose holder is gone is taken over.

On one machine the operating system keeps the lock (``flock``) and drops it with the process, however that ends. Between
machines that share the directory ``flock`` may not reach, so the file also names its holder, which renews the file's
time stamp while it lives.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from mimickit_hydra.config.errors import UserError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

FILE = "run.lock"
RENEW_SECONDS = 30.0
STALE_SECONDS = 300.0  # a holder on another machine that has been silent for so long is gone


class RunLockError(UserError):
    """Another process works in the run directory; the message is one line."""


def job_id() -> str | None:
    """The scheduler's name of the job that this process belongs to: a requeued job keeps it."""
    array = os.environ.get("SLURM_ARRAY_JOB_ID")
    return f"{array}_{os.environ.get('SLURM_ARRAY_TASK_ID')}" if array else os.environ.get("SLURM_JOB_ID")


def read_holder(run_dir: Path | str) -> dict[str, Any] | None:
    """Who is written in the lock (``pid``, ``host``, ``job_id``, ``since``), alive or not; None without a lock."""
    try:
        found = json.loads((Path(run_dir) / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


class RunLock:
    """Context that holds the lock of ``run_dir``; RunLockError when somebody else does.

    ``taken_over`` names a former holder that did not release it, or is None.
    """

    def __init__(self, run_dir: Path | str) -> None:
        self.path = Path(run_dir) / FILE
        self.taken_over: str | None = None
        self._file: int | None = None
        self._done = threading.Event()

    def __enter__(self) -> RunLock:
        self._file = self._open()
        try:
            former = read_holder(self.path.parent)
            if former is not None:
                self._refuse_if_alive_elsewhere(former)
                self.taken_over = _name(former)
            self._sign()
        except BaseException:
            os.close(self._file)
            self._file = None
            raise
        threading.Thread(target=self._renew, daemon=True, name="run-lock").start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        if self._file is not None:
            with contextlib.suppress(OSError):
                self.path.unlink()
            os.close(self._file)
            self._file = None

    def _open(self) -> int:
        while True:
            try:
                file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
            except OSError as error:
                raise RunLockError(f"{self.path} cannot be written to: {error.strerror}") from None
            if not _try_lock(file):
                os.close(file)
                raise RunLockError(self._taken(read_holder(self.path.parent)))
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(file), os.stat(self.path)):
                    return file
            os.close(file)  # the former holder removed the file between the two calls

    def _refuse_if_alive_elsewhere(self, holder: dict[str, Any]) -> None:
        if holder.get("host") == socket.gethostname():
            if fcntl is None and _exists(holder):
                raise RunLockError(self._taken(holder))
            return
        ours = job_id()
        if ours is not None and ours == holder.get("job_id"):
            return  # this very job, started again on another node
        if time.time() - self.path.stat().st_mtime < STALE_SECONDS:
            raise RunLockError(self._taken(holder))

    def _taken(self, holder: dict[str, Any] | None) -> str:
        who = _name(holder) if holder else "another process"
        return f"{self.path.parent}: {who} is working in this run directory; wait for it, stop it, or use another one"

    def _sign(self) -> None:
        assert self._file is not None
        since = time.strftime("%Y-%m-%dT%H:%M:%S")
        holder = {"pid": os.getpid(), "host": socket.gethostname(), "job_id": job_id(), "since": since}
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, (json.dumps(holder) + "\n").encode(), 0)
        os.fsync(self._file)

    def _renew(self) -> None:
        while not self._done.wait(RENEW_SECONDS):
            with contextlib.suppress(OSError):
                os.utime(self.path)


def _try_lock(file: int) -> bool:
    if fcntl is None:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks: the holder's name has to do
        return True
    return True


def _exists(holder: dict[str, Any]) -> bool:
    from mimickit_hydra.runtime.state_file import process_exists

    return process_exists(int(holder.get("pid") or 0))


def _name(holder: dict[str, Any]) -> str:
    job = f", job {holder['job_id']}" if holder.get("job_id") else ""
    return f"process {holder.get('pid')} on {holder.get('host')} (since {holder.get('since')}{job})"


__all__ = ["RunLock", "RunLockError", "job_id", "read_holder"]
