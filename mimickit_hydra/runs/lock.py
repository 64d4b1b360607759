"""The lock that lets one process at a time work in a run directory; a lock whose holder is gone is taken over.

On one machine the operating system keeps the lock (``flock``, of the file and of the directory, so that it outlives a
removed file) and drops it with the process, however that ends. Between machines that share the directory ``flock`` may
not reach, so the file also names its holder, which renews the file's time stamp while it lives.
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

from mimickit_hydra.errors import UserError
from mimickit_hydra.foreign import read_json

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

FILE = "run.lock"
RENEW_SECONDS = 30.0
STALE_SECONDS = 300.0  # a holder on another machine that has been silent for so long is gone
REQUEUE_SECONDS = 60.0  # a requeued job waits so long for the end of its former start


class RunLockError(UserError):
    """Another process works in the run directory; the message is one line."""


def job_id() -> str | None:
    """The scheduler's id of the job that this process belongs to; a requeued job keeps it."""
    array = os.environ.get("SLURM_ARRAY_JOB_ID")
    return f"{array}_{os.environ.get('SLURM_ARRAY_TASK_ID')}" if array else os.environ.get("SLURM_JOB_ID")


def read_holder(run_dir: Path | str) -> dict[str, Any] | None:
    """The holder that the lock names (``pid``, ``host``, ``job_id``, ``since``), alive or not; None without a lock."""
    try:
        found = read_json(Path(run_dir) / FILE)
    except UserError:
        return None
    return found if isinstance(found, dict) else None


def refuse_if_taken_over(run_dir: Path | str) -> None:
    """RunLockError where the lock that this process holds names another one by now.

    That is so where a node was given up for dead, and its job started again elsewhere, while the process goes on.
    """
    holder = read_holder(run_dir)
    if holder is not None and (holder.get("pid"), holder.get("host")) != (os.getpid(), socket.gethostname()):
        raise RunLockError(f"{run_dir}: {_name(holder)} has taken over this run; this process leaves it to that one")


def holder_elsewhere(run_dir: Path | str, pid: int) -> str | None:
    """A line on the living process of this machine, other than ``pid``, that holds the lock; None where none does."""
    holder = read_holder(run_dir)
    if holder is None or holder.get("pid") == pid or holder.get("host") != socket.gethostname():
        return None
    return _taken(run_dir, holder) if _exists(holder) else None


class RunLock:
    """Context that holds the lock of ``run_dir``; RunLockError when another process does.

    ``taken_over`` names a former holder that did not release it, or is None.
    """

    def __init__(self, run_dir: Path | str) -> None:
        self.path = Path(run_dir) / FILE
        self.taken_over: str | None = None
        self._file: int | None = None
        self._folder: int | None = None
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
            self._close()
            raise
        threading.Thread(target=self._renew, daemon=True, name="run-lock").start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        if self._file is not None:
            with contextlib.suppress(OSError, RunLockError):
                refuse_if_taken_over(self.path.parent)
                self.path.unlink()
        self._close()

    def _close(self) -> None:
        for file in (self._file, self._folder):
            if file is not None:
                os.close(file)
        self._file = self._folder = None

    def _open(self) -> int:
        """The locked file. Waits for another process only if that is a former start of this very job."""
        deadline = time.monotonic() + REQUEUE_SECONDS
        said = False
        while True:
            try:
                return self._open_once()
            except RunLockError:
                holder = read_holder(self.path.parent)
                ours = job_id()
                if ours is None or (holder or {}).get("job_id") != ours or time.monotonic() > deadline:
                    raise
                if not said:
                    print(f"waiting for {_name(holder or {})}, the former start of this job, to end", flush=True)
                said = True
                time.sleep(0.2)

    def _open_once(self) -> int:
        while True:
            try:
                file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
            except OSError as error:
                raise RunLockError(f"{self.path} cannot be written to: {error.strerror}") from None
            if not _try_lock(file) or not self._lock_folder():
                os.close(file)
                raise RunLockError(_taken(self.path.parent, read_holder(self.path.parent)))
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(file), os.stat(self.path)):
                    return file
            os.close(file)  # the former holder removed the file between the two calls

    def _lock_folder(self) -> bool:
        if self._folder is None:
            folder = os.open(self.path.parent, os.O_RDONLY) if fcntl is not None else None
            if folder is not None and not _try_lock(folder):
                os.close(folder)
                return False
            self._folder = folder
        return True

    def _refuse_if_alive_elsewhere(self, holder: dict[str, Any]) -> None:
        if holder.get("host") == socket.gethostname():
            if fcntl is None and _exists(holder):
                raise RunLockError(_taken(self.path.parent, holder))
            return
        ours = job_id()
        if ours is not None and ours == holder.get("job_id"):
            return  # this very job, started again on another node
        if time.time() - self.path.stat().st_mtime < STALE_SECONDS:
            raise RunLockError(_taken(self.path.parent, holder))

    def _sign(self) -> None:
        from mimickit_hydra.runs.state import this_process

        assert self._file is not None
        holder = {**this_process(), "job_id": job_id(), "since": time.strftime("%Y-%m-%dT%H:%M:%S")}
        try:
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, (json.dumps(holder) + "\n").encode(), 0)
            os.fsync(self._file)
        except OSError as error:
            raise RunLockError(f"{self.path}: cannot be written: {error.strerror or error}; remove it") from None

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
    from mimickit_hydra.runs.state import process_exists

    return process_exists(int(holder.get("pid") or 0), holder.get("born"))


def _taken(run_dir: Path | str, holder: dict[str, Any] | None) -> str:
    who = _name(holder) if holder else "another process"
    return f"{run_dir}: {who} is working in this run directory; wait for it, stop it, or use another one"


def _name(holder: dict[str, Any]) -> str:
    pid, host, since, job = (" ".join(str(holder.get(key)).split())[:60] for key in ("pid", "host", "since", "job_id"))
    return f"process {pid} on {host} (since {since}{f', job {job}' if holder.get('job_id') else ''})"
