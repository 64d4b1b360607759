"""Loggers of a run: text table, TensorBoard, Weights & Biases."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import math
import os
import secrets
import socket
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TextIO

from mimickit_hydra.config.schema import RunConfig
from mimickit_hydra.errors import UserError
from mimickit_hydra.files import write_text_atomic
from mimickit_hydra.foreign import read_bytes
from mimickit_hydra.runs.directory import WANDB_ID, wandb_id
from mimickit_hydra.runs.log_table import collection_of, format_line, format_value, order_keys, parse

Row = Mapping[str, float]


class Logger(Protocol):
    """Takes one row per output. ``step`` is the number of samples so far, summed over processes."""

    def write(self, row: Row, step: int) -> None: ...

    def truncate_after(self, samples: int) -> None:
        """Forget what was logged after ``samples``; called before the first write of a resumed run."""

    def close(self) -> None: ...


class TextLogger:
    """``log.txt``: a header and one line a row. A key that first appears later becomes a new last column.

    The rows are kept here too, so that a line that could not be written is made up for by the next one, and a file that
    somebody cuts or removes is written again. :meth:`text` goes into checkpoints; with ``resume`` it comes back in
    ``saved``, and makes up for what the file lacks.
    """

    def __init__(self, path: Path, *, resume: bool = False, saved: str = "") -> None:
        self.path = Path(path)
        self._keys: list[str] = []
        self._rows: list[list[str]] = []
        self._size = 0  # bytes that the file should have
        if resume:
            with contextlib.suppress(UserError):  # there is none, or a folder is in its place
                saved = saved or read_bytes(self.path).decode("utf-8", "replace")
            self._keys, self._rows = parse(saved)
        with contextlib.suppress(OSError):  # the first row tries again, and says why it cannot
            self._rewrite()

    def write(self, row: Row, step: int) -> None:
        row = {**row, "Samples": step}
        late = [key for key in (row if self._keys else order_keys(row)) if key not in self._keys]
        self._keys += late
        for cells in self._rows:
            cells += ["nan"] * len(late)
        self._rows.append([format_value(key, row.get(key, math.nan)) for key in self._keys])
        if late or self._size != (self.path.stat().st_size if self.path.exists() else 0):
            self._rewrite()
            return
        line, size = format_line(self._rows[-1]), self._size
        self._size = -1  # until it is written
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(line)
        self._size = size + len(line)

    def truncate_after(self, samples: int) -> None:
        """Drop the rows after ``samples``."""
        if "Samples" in self._keys:
            column = self._keys.index("Samples")
            self._rows = [cells for cells in self._rows if float(cells[column]) <= samples]
            self._rewrite()

    def text(self) -> str:
        """The table as text that ``log_table.parse`` reads."""
        return "".join(" ".join(cells) + "\n" for cells in ([self._keys, *self._rows] if self._keys else []))

    def close(self) -> None:
        pass

    def _rewrite(self) -> None:
        text = "".join(map(format_line, [self._keys, *self._rows] if self._keys else []))
        self._size = -1  # until it is written
        write_text_atomic(self.path, text)
        self._size = len(text)


class TensorBoardLogger:
    """Event files in the run directory, tags ``<collection>/<key>``, step = samples.

    Written with TensorBoard's own record format directly: no background thread, and neither torch's writer nor
    TensorFlow is imported.
    """

    def __init__(self, run_dir: Path) -> None:
        try:
            protos = importlib.import_module("tensorboard.compat.proto.event_pb2")
            self._summary = importlib.import_module("tensorboard.compat.proto.summary_pb2").Summary
            record_writer = importlib.import_module("tensorboard.summary.writer.record_writer").RecordWriter
        except ImportError:
            raise UserError(
                "logger.tb=true needs the package tensorboard: pip install tensorboard, or set logger.tb=false"
            ) from None
        self._event, self._session_log = protos.Event, protos.SessionLog
        self._run_dir = Path(run_dir)
        self._record_writer = record_writer
        self._file: BinaryIO | None = None
        self._writer: Any = None

    def write(self, row: Row, step: int) -> None:
        if self._file is None or os.fstat(self._file.fileno()).st_nlink == 0:  # removed meanwhile
            self._open()
        values = [
            self._summary.Value(tag=f"{collection_of(key)}/{key}", simple_value=float(value))
            for key, value in row.items()
            if key != "Samples"
        ]
        self._put(self._event(wall_time=time.time(), step=int(step), summary=self._summary(value=values)))

    def truncate_after(self, samples: int) -> None:
        """TensorBoard itself drops what older files hold from the step of such a mark on."""
        if self._file is None and any(self._run_dir.glob("events.out.tfevents.*")):
            self._open()
            mark = self._session_log(status=self._session_log.START)
            self._put(self._event(wall_time=time.time(), step=samples + 1, session_log=mark))

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _open(self) -> None:
        # TensorBoard reads the files of a folder in the order of their names.
        name = f"events.out.tfevents.{time.time():.6f}.{socket.gethostname()}.{os.getpid()}"
        self._file = open(self._run_dir / name, "ab")  # noqa: SIM115  closed in close()
        self._writer = self._record_writer(self._file)
        self._put(self._event(wall_time=time.time(), file_version="brain.Event:2"))

    def _put(self, event: Any) -> None:
        try:
            self._writer.write(event.SerializeToString())
            self._writer.flush()
        except OSError:  # what follows half a record in a file is not read: the next row begins another file
            self._file = None
            raise


class WandbLogger:
    """Weights & Biases. A resumed run continues under the id kept in ``wandb_id.txt``.

    The variables of its own, such as ``WANDB_RUN_ID`` and ``WANDB_NAME``, count where the config says nothing else.
    """

    def __init__(self, run_dir: Path, project: str, config: Mapping[str, Any] | None = None) -> None:
        try:
            wandb = importlib.import_module("wandb")
        except ImportError:
            raise UserError(
                "logger.wandb=true needs the package wandb: pip install 'mimickit-hydra[wandb]', "
                "or set logger.wandb=false"
            ) from None
        run_id = wandb_id(Path(run_dir)) or secrets.token_hex(4)
        write_text_atomic(Path(run_dir) / WANDB_ID, run_id + "\n")
        try:
            self._run = wandb.init(
                project=project,
                id=run_id,
                name=os.environ.get("WANDB_NAME") or Path(run_dir).name,
                resume=os.environ.get("WANDB_RESUME") or "allow",
                dir=os.environ.get("WANDB_DIR") or str(run_dir),
                config=dict(config or {}),
            )
        except Exception as error:  # network, login, disk: wandb has its own kinds
            reason = " ".join(str(error).split())
            raise UserError(f"logger.wandb=true: wandb could not start: {reason}; set logger.wandb=false") from None
        self._last_step = int(getattr(self._run, "step", 0) or 0)

    def write(self, row: Row, step: int) -> None:
        if step < self._last_step:  # the server has these rows from before the resume and takes none twice
            return
        self._run.log({f"{collection_of(key)}/{key}": float(value) for key, value in row.items()}, step=int(step))

    def truncate_after(self, samples: int) -> None:
        """Do not send the repeated rows again; those on the server stay."""

    def close(self) -> None:
        self._run.finish()


class LoggerGroup:
    """All loggers of a run. One that fails while the run goes on is reported once; training does not stop for it."""

    def __init__(self, loggers: Sequence[Logger], stream: TextIO | None = None) -> None:
        self.loggers = list(loggers)
        self._stream = stream
        self._failed: set[int] = set()

    def write(self, row: Row, step: int) -> None:
        numbers = {key: float(value) for key, value in row.items()}
        for index, logger in enumerate(self.loggers):
            try:
                logger.write(numbers, int(step))
                self._failed.discard(index)
            except Exception as error:
                self._report(index, error)

    def text(self) -> str:
        """The rows of ``log.txt``, for a checkpoint; empty without that file."""
        return next((logger.text() for logger in self.loggers if isinstance(logger, TextLogger)), "")

    def truncate_after(self, samples: int) -> None:
        for index, logger in enumerate(self.loggers):
            try:
                logger.truncate_after(int(samples))
            except Exception as error:
                self._report(index, error)

    def close(self) -> None:
        for index, logger in enumerate(self.loggers):
            try:
                logger.close()
            except Exception as error:
                self._report(index, error)

    def _report(self, index: int, error: Exception) -> None:
        if index in self._failed:
            return
        self._failed.add(index)
        name = type(self.loggers[index]).__name__
        print(
            f"warning: {name} could not write a row ({_told(error)}); training goes on", file=self._stream or sys.stderr
        )


def _told(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


@contextlib.contextmanager
def only_shows(without: str, *, strict: bool = False) -> Iterator[None]:
    """Context of what only shows a run to people: where it fails, a line says ``without`` what the run goes on.

    ``strict``: what the user can put right is said and ends the run.
    """
    try:
        yield
    except Exception as error:
        if strict and isinstance(error, UserError):
            raise
        print(f"warning: {without} ({_told(error)})", file=sys.stderr, flush=True)


def make_loggers(run_dir: Path, run: RunConfig, resume_samples: int | None = None, saved: str = "") -> LoggerGroup:
    """Loggers as ``run.logger`` chooses.

    With ``resume_samples`` later rows of an earlier start are removed, and ``saved`` are the rows in its checkpoint.
    """
    loggers: list[Logger] = []
    with only_shows("log.txt is not written", strict=True):
        if run.logger.txt:
            loggers.append(TextLogger(run_dir / "log.txt", resume=resume_samples is not None, saved=saved))
    with only_shows("TensorBoard is told nothing"):
        if run.logger.tb:
            loggers.append(TensorBoardLogger(run_dir))
    with only_shows("Weights & Biases is told nothing", strict=resume_samples is None):
        if run.logger.wandb:
            loggers.append(WandbLogger(run_dir, run.logger.wandb_project, dataclasses.asdict(run)))
    group = LoggerGroup(loggers)
    if resume_samples is not None:
        group.truncate_after(resume_samples)
    return group
