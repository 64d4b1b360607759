"""Hosted engines: same numbers, one line for every trouble, nothing left behind; tests/conformance runs them too."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import textwrap
import time
import venv
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import fake_hosting
import numpy as np
import pytest
import torch
from fake_hosting import make
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import mimickit_hydra
from mimickit_hydra.engines import catalog
from mimickit_hydra.engines.interface import EngineError, ResetState
from mimickit_hydra.engines.registry import engine_problem, entry_of
from mimickit_hydra.engines.subprocess import memory as hosted_memory
from mimickit_hydra.engines.subprocess import process as hosted_process
from mimickit_hydra.engines.subprocess import wire
from mimickit_hydra.engines.subprocess.engine import HostedEngine

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _fake_engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    fake_hosting.add_fake_engine()
    yield
    fake_hosting.remove_fake_engine()


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def gone_within(seconds: float, pid: int) -> bool:
    end = time.monotonic() + seconds
    while alive(pid) and time.monotonic() < end:
        time.sleep(0.05)
    return not alive(pid)


def line_of(trouble: str, **keys: object) -> str:
    """The error of a build and a step; the worker must be gone afterwards."""
    engine = None
    with pytest.raises(EngineError) as caught:  # noqa: PT012 - which of the two raises is part of the trouble
        engine = make(trouble, **keys)
        engine.step()
    if engine is not None:
        assert gone_within(5, engine.worker_pid)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --------------------------------------------------------------------------------------------------------- same numbers


def test_a_hosted_engine_does_what_it_is_told(capfd: pytest.CaptureFixture[str]) -> None:
    shm, descriptors = set(os.listdir("/dev/shm")), len(os.listdir("/proc/self/fd"))
    engine = make()
    assert (engine.name, engine.num_envs, engine.control_dt) == ("fake", 4, 0.1)
    assert [model.name for model in engine.models] == ["one", "two"]
    assert not engine.capturable
    one, two = engine.states
    command = torch.arange(12.0).reshape(4, 3)
    engine.set_command(command)
    engine.set_command(-command, obj=1)
    engine.step()
    assert torch.equal(one.dof_pos, command)
    assert torch.equal(two.dof_pos, -command)
    engine.step()
    assert not one.dof_vel.any()

    engine.set_command(command + 1)  # before a reset, which clears it where the mask is set
    mask = torch.tensor([True, False, False, True])
    new = ResetState(*(torch.full((4, size), 7.0) for size in (3, 4, 3, 3, 3, 3)))
    engine.reset(mask, {1: new})
    assert two.root_pos[:, 0].tolist() == [7.0, 0.0, 0.0, 7.0]
    assert torch.equal(one.dof_pos, command)
    engine.step()
    assert torch.equal(one.dof_pos, torch.where(mask.unsqueeze(-1), torch.zeros(4, 3), command + 1))

    engine.place(0, ~mask, new)
    assert one.root_pos[:, 0].tolist() == [0.0, 7.0, 7.0, 0.0]
    engine.set_body_force(0, torch.full((4, 3), 2.0), obj=1)
    engine.step()
    assert two.contact_forces[:, 0].tolist() == [[2.0] * 3] * 4

    engine.set_command(command * 2)
    saved = engine.state_dict()
    assert torch.equal(saved["command"], command * 2)
    engine.load_state_dict({name: tensor + 1 for name, tensor in saved.items()})
    assert torch.equal(one.dof_pos, saved["dof_pos"] + 1)

    assert engine.warnings()[1] == f"pid {engine.worker_pid}"
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):  # are the host's business
        os.kill(engine.worker_pid, number)
    engine.step()
    engine.close()
    engine.close()
    with pytest.raises(EngineError, match="after it was closed"):
        engine.step()
    assert gone_within(5, engine.worker_pid)
    assert set(os.listdir("/dev/shm")) == shm
    del engine, one, two  # the tensors stay usable as long as there are any
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) <= descriptors
    out, err = capfd.readouterr()
    assert out == ""  # a worker's standard output must not get into a command's own
    assert "the simulator greets" in err


def test_what_must_be_imported_first_is() -> None:
    entry = replace(fake_hosting.ENTRY, import_first=("simulator_first",))
    fake_hosting.add_fake_engine(entry)
    make().close()
    late = replace(fake_hosting.ENTRY, import_first=("torch", "simulator_first"))
    fake_hosting.add_fake_engine(late)
    with pytest.raises(EngineError, match="failed to start: ImportError: torch was imported before simulator_first"):
        make()


@pytest.mark.skipif("MIMICKIT_TEST_PYTHON38" not in os.environ, reason="MIMICKIT_TEST_PYTHON38 names no other Python")
def test_another_python() -> None:
    """``MIMICKIT_TEST_PYTHON38``: an interpreter of another version, with numpy and torch."""
    engine = make(python=os.environ["MIMICKIT_TEST_PYTHON38"])
    command = torch.arange(12.0).reshape(4, 3)
    engine.set_command(command)
    engine.step()
    assert torch.equal(engine.states[0].dof_pos, command)
    assert engine.warnings()[0].split()[1] == ".".join(engine.worker_versions["python"].split(".")[:2])
    assert engine.worker_versions["python"].split(".")[:2] != [str(part) for part in sys.version_info[:2]]
    engine.load_state_dict(engine.state_dict())
    engine.close()


# -------------------------------------------------------------------------------------------------------------- trouble


def test_what_a_worker_raises_is_one_line() -> None:
    where = catalog.Interpreter(sys.executable, "engine.python")
    worker = hosted_process.Worker("fake", fake_hosting.ENTRY, where, 60.0)  # serves one engine after the other

    def line(trouble: str) -> str:
        config = SimpleNamespace(engine_name="fake", trouble=trouble)
        with pytest.raises(EngineError) as caught:
            HostedEngine(config, fake_hosting.SCENE, 4, "cpu", fake_hosting.ENTRY, where, worker).step()
        assert "\n" not in str(caught.value)
        return str(caught.value)

    who = f"engine=fake: the worker in {sys.executable} failed to "
    assert line("build").startswith(who + "build the scene: ValueError: the asset is bad (fake_engine.py:")
    assert line("step").startswith(who + "step: RuntimeError: the solver gave up (fake_engine.py:")
    assert line("refuse") == "engine.sim_freq: found 7"  # what it says to the user passes as it is
    worker.end()
    assert gone_within(5, worker.pid)


def test_a_crash_ends_with_the_last_words() -> None:
    said = "loading | PhysX error: out of | Fatal: no memory"
    assert line_of("crash").endswith(f"ended with exit code 3 when asked to step; it said: {said}")


def test_a_killed_worker_is_named() -> None:
    engine = make()
    os.kill(engine.worker_pid, signal.SIGKILL)
    with pytest.raises(EngineError, match=r"the worker in .* was killed by SIGKILL when asked to step"):
        engine.step()
    with pytest.raises(EngineError, match="was killed by SIGKILL when asked to step"):  # cleaning up must not hide it
        engine.state_dict()
    engine.close()


def test_a_hanging_worker_is_ended() -> None:
    line = line_of("hang", worker_timeout=0.5)
    assert "did not step within engine.worker_timeout=0.5 s and was ended; it said: " in line
    assert line.endswith("waiting for the licence server")


HOST = """
    import sys, threading
    sys.path[:0] = [{tests!r}, {root!r}]
    import fake_hosting
    fake_hosting.add_fake_engine()
    def run():
        engine = fake_hosting.make("hang")
        print(engine.worker_pid, flush=True)
        engine.step()
    {call}
"""


@pytest.mark.parametrize(
    "call", ["run()", pytest.param("threading.Thread(target=run).start()", marks=pytest.mark.slow)]
)
def test_a_killed_host_takes_its_hanging_worker_along(call: str) -> None:
    code = textwrap.dedent(HOST).format(tests=str(Path(__file__).parent), root=str(ROOT), call=call)
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as host:
        assert host.stdout is not None
        pid = int(host.stdout.readline())
        assert alive(pid)
        host.kill()
        assert gone_within(8, pid)


@pytest.mark.slow
def test_a_host_that_just_ends_leaves_nothing() -> None:
    code = textwrap.dedent(HOST).format(tests=str(Path(__file__).parent), root=str(ROOT), call="")
    code += "engine = fake_hosting.make()\nprint(engine.worker_pid, flush=True)\n"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert gone_within(2, int(done.stdout))


def test_wrong_interpreters(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("no program")
    binary = tmp_path / "binary"
    binary.write_bytes(b"\0\1\2")
    binary.chmod(0o755)
    (tmp_path / "env" / "bin").mkdir(parents=True)
    (tmp_path / "env" / "bin" / "python").touch()
    where = "engine=fake: engine.python="
    assert line_of("", python="/no/python") == (
        f"{where}/no/python does not exist, must be a Python interpreter that has fake_engine"
    )
    assert line_of("", python=str(text)) == f"{where}{text} cannot be executed, must be a Python interpreter"
    assert line_of("", python=str(binary)) == f"{where}{binary} cannot be started: Exec format error"
    assert line_of("", python=str(tmp_path / "env")).endswith(f"did you mean {tmp_path}/env/bin/python?")
    assert line_of("", python=shutil.which("true")).endswith("ended with exit code 0 when asked to start")


def test_an_interpreter_without_torch(tmp_path: Path) -> None:
    venv.create(tmp_path / "bare", symlinks=True, with_pip=False)
    python = tmp_path / "bare" / "bin" / "python"
    assert line_of("", python=python).startswith(
        f"engine=fake needs the Python packages numpy, torch, not found in {python}: install"
    )
    fake_hosting.add_fake_engine(replace(fake_hosting.ENTRY, packages=("isaacgym",), install="see its page"))
    assert line_of("", python=python) == (
        f"engine=fake needs the Python package isaacgym, not found in {python}: see its page"
    )


def test_an_old_interpreter() -> None:
    old = os.environ.get("MIMICKIT_TEST_OLD_PYTHON")
    if not old:
        pytest.skip("MIMICKIT_TEST_OLD_PYTHON names no Python older than 3.8")
    assert "it said: needs Python 3.8 or newer, this is Python " in line_of("", python=old)


def test_another_version_of_this_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosted_process.mimickit_hydra, "__version__", "9.9")
    assert "protocol 2), this process 9.9 (protocol 2): install the same version in both" in line_of("")


def test_a_worker_without_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosted_process.Worker, "_greet", lambda self, timeout: self.versions.update(torch="2", cuda=""))
    assert "torch 2 in" in line_of("", device="cuda:0")


# -------------------------------------------------------------------------------------------- where an engine is hosted


def test_where_an_engine_is_hosted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert catalog.interpreter("isaac_lab") == catalog.Interpreter()
    own = tmp_path / "mimickit" / "engines.ini"
    own.parent.mkdir()
    own.write_text("[python]\nisaac_lab = /from/settings\n")
    assert catalog.interpreter("isaac_lab") == catalog.Interpreter("/from/settings", str(own))
    monkeypatch.setenv("MIMICKIT_ISAAC_LAB_PYTHON", "/from/variable")
    assert catalog.interpreter("isaac_lab") == catalog.Interpreter("/from/variable", "MIMICKIT_ISAAC_LAB_PYTHON")
    assert catalog.interpreter("isaac_lab", "/from/config") == catalog.Interpreter("/from/config", "engine.python")
    assert catalog.interpreter("isaac_lab", "in-process") == catalog.Interpreter()
    assert catalog.interpreter("isaac_gym") == catalog.Interpreter()
    assert engine_problem("fake", "/no/python").startswith("engine=fake: engine.python=/no/python does not exist")
    own.write_text("isaac_gym = /x\n")
    assert engine_problem("fake").startswith(f"{own}: File contains no section headers")


def test_an_engine_that_links_to_python_finds_its_library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As Isaac Gym in a conda environment: its libpython3.8.so.1.0 lies beside its Python and nowhere else."""
    python = tmp_path / "gym" / "bin" / "python"
    monkeypatch.setenv("LD_LIBRARY_PATH", "/known")
    environment = hosted_process._environment("isaac_gym", entry_of("isaac_gym"), str(python))
    assert environment["LD_LIBRARY_PATH"] == "/known"
    library = tmp_path / "gym" / "lib" / "libpython3.8.so.1.0"
    library.parent.mkdir(parents=True)
    library.touch()
    environment = hosted_process._environment("isaac_gym", entry_of("isaac_gym"), str(python))
    assert environment["LD_LIBRARY_PATH"] == f"{library.parent}:/known"
    assert hosted_process._environment("isaac_lab", entry_of("isaac_lab"), str(python))["LD_LIBRARY_PATH"] == "/known"


def test_the_trainers_packages_stay_out_of_the_other_python(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Our launchers put this package's folder into PYTHONPATH; once installed, numpy and torch lie beside it."""
    ours = [sysconfig.get_path("purelib"), str(Path(mimickit_hydra.__file__).parents[1])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([ours[0], str(tmp_path), ours[1], ""]))
    assert hosted_process._environment("isaac_gym", entry_of("isaac_gym"), sys.executable)["PYTHONPATH"] == str(
        tmp_path
    )
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(ours))
    assert "PYTHONPATH" not in hosted_process._environment("isaac_gym", entry_of("isaac_gym"), sys.executable)
    monkeypatch.setenv("MIMICKIT_ISAAC_GYM_PYTHONPATH", ours[0])  # whoever says so means it
    assert hosted_process._environment("isaac_gym", entry_of("isaac_gym"), sys.executable)["PYTHONPATH"] == ours[0]


def test_last_words() -> None:
    said = ["Traceback (most recent call last):", "  File x", "ImportError: libpython3.8.so.1.0", "bye"]
    assert hosted_process.last_words(said) == "ImportError: libpython3.8.so.1.0"
    assert hosted_process.last_words(["a", "", "b", "c", "d"]) == "b | c | d"
    assert len(hosted_process.last_words(["x" * 9999])) == 404


# ---------------------------------------------------------------------------------------------------------------- parts


@settings(max_examples=50, deadline=None)
@given(
    st.dictionaries(
        st.text(),
        st.one_of(
            st.none(), st.integers(), st.text(), st.lists(st.floats(allow_nan=False)),
            hnp.arrays(st.sampled_from(["f4", "f8", "i4", "i8", "?", "u1"]), hnp.array_shapes(min_dims=0, min_side=0)),
        ),
    )
)  # fmt: skip
def test_messages_arrive_as_they_were(message: dict[str, object]) -> None:
    received = wire.unpack(wire.pack(message))
    assert list(received) == list(message)
    for key, value in message.items():
        if isinstance(value, np.ndarray):
            assert (received[key].dtype, received[key].shape) == (value.dtype, value.shape)
            np.testing.assert_array_equal(received[key], value)
        else:
            assert received[key] == value


def test_messages_are_plain_data() -> None:
    for thing in (object(), np.array([object()]), np.array(["text"])):
        with pytest.raises(TypeError, match="cannot be sent"):
            wire.pack({"thing": thing})


def test_both_sides_see_the_same_block() -> None:
    rows = [("a", "float32", (5, 3)), ("none", "float32", (5, 0)), ("b", "bool", (7,))]
    layout = hosted_memory.Layout(rows)
    descriptor = hosted_memory.create_file(layout.nbytes)
    here, there = hosted_memory.map_file(layout, descriptor), hosted_memory.map_file(layout, descriptor)
    os.close(descriptor)
    here["a"].copy_(torch.arange(15.0).reshape(5, 3))
    here["b"].fill_(True)
    assert all(torch.equal(here[name], there[name]) for name, _, _ in rows)
    assert all(tensor.data_ptr() % 256 == 0 for tensor in here.values())
