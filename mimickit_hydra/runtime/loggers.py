"""Where the rows of a run go: text, TensorBoard, Weights & Biases."""

from __future__ import annotations

import importlib
import os
import secrets
import socket
import struct
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TextIO

from mimickit_hydra.config.errors import UserError
from mimickit_hydra.runtime.files import write_atomic, write_text_atomic
from mimickit_hydra.runtime.log_table import collection_of, format_line, format_row, order_keys, parse

Row = Mapping[str, float]


class LoggerError(UserError):
    """A logger cannot be used; the message is one line."""


class Logger(Protocol):
    """Takes one row per output. ``step`` is the number of samples so far, summed over processes."""

    def write(self, row: Row, step: int) -> None: ...

    def truncate_after(self, samples: int) -> None:
        """Forget what was logged after ``samples``; called before the first write of a resumed run."""

    def close(self) -> None: ...


# ----------------------------------------------------------------------------------------------------------------- text


class TextLogger:
    """``log.txt``: a header and one line a row. A key that first appears later becomes a new last column."""

    def __init__(self, path: Path, *, resume: bool = False) -> None:
        self.path = Path(path)
        self._keys: list[str] = []
        if resume and self.path.exists():
            self.truncate_after(sys.maxsize)
        else:
            write_text_atomic(self.path, "")

    def write(self, row: Row, step: int) -> None:
        row = {**row, "Samples": step}
        if not self._keys:
            self._keys = order_keys(row)
            self._append(format_line(self._keys) + format_row(self._keys, row))
            return
        late = [key for key in row if key not in self._keys]
        if late:
            self._add_columns(late)
        self._append(format_row(self._keys, row))

    def truncate_after(self, samples: int) -> None:
        """Drop the rows after ``samples`` and any line that was cut while it was written."""
        if not self.path.exists():
            return
        header, rows = parse(self.path.read_text(encoding="utf-8", errors="replace"))
        if "Samples" in header:
            column = header.index("Samples")
            rows = [cells for cells in rows if float(cells[column]) <= samples]
        self._keys = header
        self._rewrite(header, rows)

    def close(self) -> None:
        pass

    def _append(self, text: str) -> None:
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(text)

    def _add_columns(self, keys: Sequence[str]) -> None:
        header, rows = parse(self.path.read_text(encoding="utf-8", errors="replace"))
        self._keys = self._keys + list(keys)
        self._rewrite(self._keys, [cells + ["nan"] * (len(self._keys) - len(header)) for cells in rows])

    def _rewrite(self, header: list[str], rows: list[list[str]]) -> None:
        lines = [header, *rows] if header else []
        write_text_atomic(self.path, "".join(map(format_line, lines)))


# ---------------------------------------------------------------------------------------------------------- tensorboard


class TensorBoardLogger:
    """Event files in the run directory, tags ``<collection>/<key>``, step = samples.

    Written with TensorBoard's own record format directly: no background thread, and neither torch's writer nor
    TensorFlow is imported.
    """

    def __init__(self, run_dir: Path) -> None:
        try:
            self._event = importlib.import_module("tensorboard.compat.proto.event_pb2").Event
            self._summary = importlib.import_module("tensorboard.compat.proto.summary_pb2").Summary
            record_writer = importlib.import_module("tensorboard.summary.writer.record_writer").RecordWriter
        except ImportError:
            raise LoggerError(
                "logger.tb=true needs the package tensorboard: pip install tensorboard, or set logger.tb=false"
            ) from None
        self._run_dir = Path(run_dir)
        self._record_writer = record_writer
        self._file: BinaryIO | None = None
        self._writer: Any = None

    def write(self, row: Row, step: int) -> None:
        if self._file is None:
            self._open()
        values = [
            self._summary.Value(tag=f"{collection_of(key)}/{key}", simple_value=float(value))
            for key, value in row.items()
            if key != "Samples"
        ]
        self._put(self._event(wall_time=time.time(), step=int(step), summary=self._summary(value=values)))

    def truncate_after(self, samples: int) -> None:
        for path in sorted(self._run_dir.glob("events.out.tfevents.*")):
            kept = [record for record in read_records(path) if self._event.FromString(record).step <= samples]
            write_atomic(path, lambda file, kept=kept: self._copy(file, kept))  # type: ignore[misc]

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
        self._writer.write(event.SerializeToString())
        self._writer.flush()

    def _copy(self, file: BinaryIO, records: list[bytes]) -> None:
        writer = self._record_writer(file)
        for record in records:
            writer.write(record)


def read_records(path: Path) -> list[bytes]:
    """Payloads of the complete records of an event file; a record that was cut short ends the list."""
    data = Path(path).read_bytes()
    records, position = [], 0
    while position + 12 <= len(data):
        (length,) = struct.unpack_from("<Q", data, position)  # then 4 bytes checksum, payload, 4 bytes checksum
        end = position + 12 + length
        if end + 4 > len(data):
            break
        records.append(data[position + 12 : end])
        position = end + 4
    return records


# ---------------------------------------------------------------------------------------------------------------- wandb


class WandbLogger:
    """Weights & Biases. A resumed run continues under the id kept in ``wandb_id.txt``."""

    def __init__(self, run_dir: Path, project: str, config: Mapping[str, Any] | None = None) -> None:
        try:
            wandb = importlib.import_module("wandb")
        except ImportError:
            raise LoggerError(
                "logger.wandb=true needs the package wandb: pip install 'mimickit-hydra[wandb]', "
                "or set logger.wandb=false"
            ) from None
        id_file = Path(run_dir) / "wandb_id.txt"
        run_id = id_file.read_text(encoding="utf-8").strip() if id_file.exists() else secrets.token_hex(4)
        write_text_atomic(id_file, run_id + "\n")
        try:
            self._run = wandb.init(
                project=project,
                id=run_id,
                name=Path(run_dir).name,
                resume="allow",
                dir=str(run_dir),
                config=dict(config or {}),
            )
        except Exception as error:  # network, login, disk: wandb has its own kinds
            reason = " ".join(str(error).split())
            raise LoggerError(f"logger.wandb=true: wandb could not start: {reason}; set logger.wandb=false") from None
        self._last_step = int(getattr(self._run, "step", 0) or 0)

    def write(self, row: Row, step: int) -> None:
        if step < self._last_step:  # the server has these rows from before the resume and takes none twice
            return
        self._run.log({f"{collection_of(key)}/{key}": float(value) for key, value in row.items()}, step=int(step))

    def truncate_after(self, samples: int) -> None:
        """Rows on the server stay; the repeated ones are not sent again."""

    def close(self) -> None:
        self._run.finish()


# ---------------------------------------------------------------------------------------------------------------- group


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

    def truncate_after(self, samples: int) -> None:
        for logger in self.loggers:
            logger.truncate_after(int(samples))

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
        reason = " ".join(str(error).split()) or type(error).__name__
        name = type(self.loggers[index]).__name__
        print(f"warning: {name} could not write a row ({reason}); training goes on", file=self._stream or sys.stderr)


def make_loggers(
    run_dir: Path,
    *,
    txt: bool = True,
    tb: bool = True,
    wandb: bool = False,
    wandb_project: str = "mimickit",
    run_config: Mapping[str, Any] | None = None,
    resume_samples: int | None = None,
) -> LoggerGroup:
    """Loggers as the ``logger`` group chooses; with ``resume_samples`` later rows of an earlier start are removed."""
    run_dir = Path(run_dir)
    loggers: list[Logger] = []
    if txt:
        loggers.append(TextLogger(run_dir / "log.txt", resume=resume_samples is not None))
    if tb:
        loggers.append(TensorBoardLogger(run_dir))
    if wandb:
        loggers.append(WandbLogger(run_dir, wandb_project, run_config))
    group = LoggerGroup(loggers)
    if resume_samples is not None:
        group.truncate_after(resume_samples)
    return group


__all__ = [
    "Logger", "LoggerError", "LoggerGroup", "TensorBoardLogger", "TextLogger", "WandbLogger", "make_loggers",
    "read_records",
]  # fmt: skip
