"""Gives damaged and malicious files to every reader: ``fuzz.py [--inputs N] [--from SEED] [--jobs J] [READER...]``.

A reader may return or say what is wrong in one line. Anything else - another exception, more than thirty seconds of a
core, more than 1 GB, a crash, code of the file that was run - is printed, with the number that repeats it, and ends in
code 1. ``--json FILE`` keeps the figures, also those of a run that is interrupted: it is written again every few
seconds. J processes (one a core without it) share the inputs of all readers. A reader whose libraries are not installed
is not run, and is named.
``--one READER NUMBER`` writes that input to a folder and shows what becomes of it.
"""

from __future__ import annotations

import argparse
import gc
import json
import mmap
import os
import random
import resource
import shutil
import signal
import struct
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mutate
import readers
import torch

GIGABYTE = 2**30
SECONDS = 30.0  # of a core: beside others, what takes one second took ten of the clock
ASLEEP = 10 * SECONDS  # of the clock, for one that waits and computes nothing
HEAVY = 10  # a reader that composes a run gets so many times fewer inputs than asked for, unless it is named
_FORBIDDEN = ("os.system", "subprocess.Popen", "os.exec", "os.posix_spawn", "os.fork", "os.forkpty", "socket.connect")


class Danger(BaseException):
    """Code that a file asked for was about to run; no ``except Exception`` of a reader hides it."""


def audit(event: str, arguments: Any) -> None:
    if _watching and event in _FORBIDDEN:
        raise Danger(f"{event} {arguments!r}"[:200])


_watching: list[bool] = []


def write_input(reader: readers.Reader, number: int, folder: Path) -> Path:
    """Input ``number`` of ``reader`` in an empty folder; the file to read."""
    draw = random.Random(f"{reader.name} {number}")
    seeds = _seeds(reader)
    files = dict(draw.choice(seeds))
    first = next(iter(files))
    names = [name for name in reader.changed if name in files]
    for name in draw.sample(names, draw.choice((1, 1, 1, min(2, len(names))))):
        files[name] = reader.changed[name](draw, files[name])
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    if draw.random() < 0.01:
        _no_plain_file(draw, folder / draw.choice(names))
    return folder / first


def _no_plain_file(draw: random.Random, path: Path) -> None:
    path.unlink()
    kind = draw.randrange(6)
    if kind == 0:
        path.mkdir()
    elif kind == 1:
        os.mkfifo(path)
    elif kind < 5:
        path.symlink_to((path.name, "/dev/zero", "nothing")[kind - 2])


_made: dict[str, list[readers.Files]] = {}


def _seeds(reader: readers.Reader) -> list[readers.Files]:
    if reader.name not in _made:
        _made[reader.name] = reader.seeds()
    return _made[reader.name]


def _names_one(line: str, reader: readers.Reader, path: Path) -> bool:
    """Whether a line says which file, or folder of files, is meant."""
    folders = (str(path.parent), str(path.parent.parent))
    return any(Path(name).name in line for name in reader.changed) or any(folder in line for folder in folders)


def outcome(reader: readers.Reader, path: Path) -> str:
    """``""`` for a good result, ``line`` for one line, otherwise what went wrong."""
    from mimickit_hydra.config.messages import one_line

    said = ""
    _watching.append(True)
    try:
        reader.read(path)
    except Danger as error:
        said = f"code was run: {error}"
    except Exception as error:
        try:
            line = one_line(error)
        except Exception as second:  # whatever the reader left behind
            line, error = None, second
        if line is None:
            said = "".join(traceback.format_exception(error)[-6:])
        elif not line.strip() or len(line.splitlines()) > 1 or len(line) > 3000:
            said = f"not one line: {line[:3000]!r}"
        elif reader.names_file and not _names_one(line, reader, path):
            said = f"names no file: {line}"
        else:
            said = "line"
    finally:
        _watching.clear()
    if os.path.lexists(mutate.CANARY):
        os.unlink(mutate.CANARY)
        said = "code was run: it left the canary"
    return said


def work(reader: readers.Reader, numbers: range, shared: mmap.mmap, results: int) -> None:
    """Run inputs in this process, saying in ``shared`` which one since when, and what became of each to ``results``."""
    gc.disable()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    parent = os.getppid()
    sys.setrecursionlimit(1000)
    base = _size()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (base[0] + 4 * GIGABYTE, base[0] + 4 * GIGABYTE))
    folder = Path(tempfile.mkdtemp(prefix="fuzz"))
    os.chdir(folder)
    for number in numbers:
        if os.getppid() != parent:
            os._exit(1)  # nobody listens any more
        place = folder / "input"
        place.mkdir()
        _note(shared, number, False)
        path = write_input(reader, number, place)
        _note(shared, number, True)
        said = outcome(reader, path)
        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - base[1]
        if used > GIGABYTE:
            said = f"took {used / GIGABYTE:.1f} GB ({said[:200]})"
        os.write(results, f"{number}\0{said}\1".encode("utf-8", "replace"))
        if number % 100 == 0:
            gc.collect()
        shutil.rmtree(place, ignore_errors=True)
        if used > GIGABYTE:
            os.chdir("/")
            shutil.rmtree(folder, ignore_errors=True)
            os._exit(7)  # the most that it has used does not go down: begin anew
    os.chdir("/")
    shutil.rmtree(folder, ignore_errors=True)


_NOTE = struct.Struct("<qdd?")


def _note(shared: mmap.mmap, number: int, reading: bool) -> None:
    """Which input is made or read, since when by the clock and by the time of the core that this process has used."""
    shared[: _NOTE.size] = _NOTE.pack(number, time.monotonic(), time.process_time(), reading)


def _core_seconds(pid: int) -> float:
    """The time of a core that a process has used; 0 of one that has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _size() -> tuple[int, int]:
    """Bytes of address space and of memory that this process has."""
    pages = Path("/proc/self/statm").read_text().split()
    return int(pages[0]) * mmap.PAGESIZE, int(pages[1]) * mmap.PAGESIZE


class Worker:
    """A child that works through ``numbers``; another takes over after a crash or a hang."""

    def __init__(self, reader: readers.Reader, numbers: range) -> None:
        self.reader, self.left = reader, numbers
        self.shared = mmap.mmap(-1, 4096)

    def begin(self) -> None:
        _note(self.shared, self.left[0], False)
        out, into = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            code = 1
            try:
                os.close(out)
                with readers.silence():
                    work(self.reader, self.left, self.shared, into)
                code = 0
            except BaseException:
                os.write(into, f"-2\0{traceback.format_exc()}\1".encode())
            finally:
                os._exit(code)
        os.close(into)
        self.out, self.text = out, b""
        os.set_blocking(out, False)

    def look(self) -> tuple[list[tuple[int, str]], bool]:
        """What it has said since, and whether it is done."""
        status = os.waitpid(self.pid, os.WNOHANG)
        number, since, began, reading = _NOTE.unpack(self.shared[: _NOTE.size])
        hangs = status[0] == 0 and (
            _core_seconds(self.pid) - began > (SECONDS if reading else 6 * SECONDS) or time.monotonic() - since > ASLEEP
        )
        if hangs:
            os.kill(self.pid, signal.SIGKILL)
            status = os.waitpid(self.pid, 0)
        found = self._read()
        if status[0] == 0:
            return found, False
        os.close(self.out)
        code = os.waitstatus_to_exitcode(status[1])
        if code == 0:
            return found, True
        if hangs:
            found.append((number, f"{'reads' if reading else 'is being made'} for more than {SECONDS:.0f} s"))
        elif code < 0:
            found.append((number, f"ended by {signal.Signals(-code).name} while {'read' if reading else 'made'}"))
        elif code != 7:
            return found, True
        self.left = range(number + self.left.step, self.left.stop, self.left.step)
        if not len(self.left):
            return found, True
        self.begin()
        return found, False

    def _read(self) -> list[tuple[int, str]]:
        while True:
            try:
                data = os.read(self.out, 2**20)
            except BlockingIOError:
                break
            if not data:
                break
            self.text += data
        *whole, self.text = self.text.split(b"\1")
        pairs = (one.decode("utf-8", "replace").partition("\0") for one in whole)
        return [(int(number), said) for number, _, said in pairs]


def warm_up(reader: readers.Reader) -> None:
    """Read every seed as it is: each has to be good, and what is imported on the way is there for all workers."""
    with tempfile.TemporaryDirectory() as folder:
        for number, files in enumerate(_seeds(reader)):
            place = Path(folder) / f"seed{number}"
            for name, content in files.items():
                (place / name).parent.mkdir(parents=True, exist_ok=True)
                (place / name).write_bytes(content)
            reader.read(place / next(iter(files)))


class Tally:
    """What became of the inputs of one reader."""

    def __init__(self, reader: readers.Reader, begin: int, inputs: int, jobs: int) -> None:
        self.reader, self.inputs = reader, inputs
        self.counts, self.kinds = Counter[str](), dict[str, list[tuple[int, str]]]()
        self.workers = [Worker(reader, range(begin + at, begin + inputs, jobs)) for at in range(min(jobs, inputs))]
        self.open, self.began, self.seconds = len(self.workers), 0.0, 0.0

    def add(self, found: list[tuple[int, str]]) -> None:
        for number, said in found:
            if said in ("", "line"):
                self.counts[said] += 1
            else:
                self.kinds.setdefault(_kind(said), []).append((number, said))

    def end(self) -> None:
        """Print the line of figures, and the kinds of failures with the numbers that repeat them."""
        self.seconds = time.monotonic() - self.began
        good, line, bad = self.counts[""], self.counts["line"], sum(map(len, self.kinds.values()))
        print(
            f"{self.reader.name:16} {good + line + bad:8,} inputs  {good:8,} good  {line:8,} one line  {bad:6,} bad"
            f"  {self.seconds:7.1f} s",
            flush=True,
        )
        for said, failures in sorted(self.kinds.items(), key=lambda item: -len(item[1])):
            numbers = " ".join(str(number) for number, _ in failures[:5])
            print(f"  {len(failures)} x  {said}\n      such as {self.reader.name} {numbers}", flush=True)

    def record(self) -> dict[str, Any]:
        if self.open and self.began:
            self.seconds = time.monotonic() - self.began
        bad = {said: [number for number, _ in failures[:100]] for said, failures in self.kinds.items()}
        figures = {"inputs": self.inputs, "good": self.counts[""], "one_line": self.counts["line"]}
        counted = {**figures, "bad": sum(map(len, self.kinds.values())), "kinds": bad}
        return {**counted, "complete": not self.open, "seconds": round(self.seconds, 1)}


def fuzz(tallies: list[Tally], jobs: int, keep: Callable[[], None]) -> None:
    """Work through the inputs of all readers, with so many processes at once; ``keep`` is called every few seconds."""
    waiting = [(tally, worker) for tally in tallies for worker in tally.workers]
    waiting.reverse()
    crew: list[tuple[Tally, Worker]] = []
    kept = time.monotonic()
    try:
        while crew or waiting:
            if time.monotonic() > kept + 5.0:
                keep()
                kept = time.monotonic()
            while waiting and len(crew) < jobs:
                tally, worker = waiting.pop()
                tally.began = tally.began or time.monotonic()
                worker.begin()
                crew.append((tally, worker))
            time.sleep(0.05)
            for tally, worker in list(crew):
                found, done = worker.look()
                tally.add(found)
                if done:
                    crew.remove((tally, worker))
                    tally.open -= 1
                    if not tally.open:
                        tally.end()
    finally:
        for _, worker in crew:
            os.kill(worker.pid, signal.SIGKILL)
            os.waitpid(worker.pid, 0)


def _kind(said: str) -> str:
    """What failures of one kind have in common: the exception and the last line of code of ours."""
    rows = said.strip().splitlines()
    if len(rows) < 3:
        return rows[0][:160] if rows else said
    ours = [row.strip() for row in rows if row.startswith('  File "') and "mimickit_hydra" in row] or [
        row.strip() for row in rows if row.startswith('  File "')
    ]
    place = ours[-1].partition(", in ")[0].rpartition("mimickit_hydra/")[2] if ours else ""
    return f"{rows[-1][:120]}  [{place}]"


def one(reader: readers.Reader, number: int) -> int:
    folder = Path(tempfile.mkdtemp(prefix="fuzz"))
    os.chdir(folder)
    (folder / "input").mkdir()
    path = write_input(reader, number, folder / "input")
    print(folder / "input", flush=True)
    print(outcome(reader, path) or "good")
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=2000)
    parser.add_argument("--from", type=int, default=0, dest="begin")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--json", type=Path, help="a file for the figures")
    parser.add_argument("--one", nargs=2)
    parser.add_argument("--all", action="store_true", help="no fewer inputs for readers that take long")
    parser.add_argument("names", nargs="*")
    args = parser.parse_args()
    known = {reader.name: reader for reader in readers.READERS}
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    sys.addaudithook(audit)
    if args.one:
        return one(known[args.one[0]], int(args.one[1]))
    tallies, missing = [], []
    for name in args.names or known:
        reader = known[name]
        try:
            warm_up(reader)
        except ModuleNotFoundError as error:
            print(f"{name:16} not run: {error.name} is not installed", flush=True)
            missing.append(name)
            continue
        inputs = args.inputs if args.all or args.names or not reader.heavy else args.inputs // HEAVY
        tallies.append(Tally(reader, args.begin, inputs, args.jobs))
    began = time.monotonic()

    def keep() -> None:
        if args.json:
            head = {"seconds": round(time.monotonic() - began, 1), "jobs": args.jobs, "from": args.begin}
            found = {tally.reader.name: tally.record() for tally in tallies if tally.began}
            part = args.json.with_name(f"{args.json.name}.part")
            part.write_text(json.dumps({**head, "not_run": missing, "readers": found}, indent=2) + "\n")
            part.replace(args.json)

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        fuzz(tallies, args.jobs, keep)
    except KeyboardInterrupt:
        print("interrupted; what was found until now:", flush=True)
        for tally in tallies:
            if tally.began and tally.open:
                tally.end()
    keep()
    inputs, bad = sum(tally.inputs for tally in tallies), sum(bool(tally.kinds) for tally in tallies)
    seconds = time.monotonic() - began
    print(
        f"{len(tallies)} readers, {inputs:,} inputs, {args.jobs} at once, {seconds:.0f} s: {bad} with something bad, "
        f"{len(missing)} not run"
    )
    return int(bad > 0 or any(tally.open for tally in tallies))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="fuzz") as tempfile.tempdir:
        sys.exit(main())
