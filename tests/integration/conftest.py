"""Real Slurm and real tmux, started and stopped here; what every integration test trains."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest_tools import HERE


@pytest.fixture(scope="session")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cluster of two nodes; ``SLURM_CONF`` points to it while the tests run."""
    missing = [name for name in ("sbatch", "slurmctld", "slurmd", "munged") if shutil.which(name) is None]
    if missing:
        pytest.skip(f"Slurm is not installed (no {', '.join(missing)}): apt-get install slurm-wlm munge")
    if os.geteuid() != 0:
        pytest.skip("starting a Slurm cluster needs root")
    pytest.importorskip("submitit", reason="pip install 'mimickit-hydra[launch]'")
    state = tmp_path_factory.mktemp("slurm")
    script = str(HERE / "slurm_cluster.sh")
    with open(state / "up.log", "w+") as log:  # the daemons keep their output open: a pipe would never end
        code = subprocess.run([script, "up", str(state)], stdout=log, stderr=log, timeout=300).returncode
    said = (state / "up.log").read_text()
    before = os.environ.get("SLURM_CONF")
    os.environ["SLURM_CONF"] = str(state / "slurm.conf")
    try:
        assert code == 0, said
        yield state
    finally:
        with open(state / "down.log", "w") as log:
            subprocess.run([script, "down", str(state)], stdout=log, stderr=log, timeout=60)
        if before is None:
            del os.environ["SLURM_CONF"]
        else:
            os.environ["SLURM_CONF"] = before


@pytest.fixture
def tmux(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A tmux server of the test's own."""
    if shutil.which("tmux") is None:
        pytest.skip("tmux is not installed: apt-get install tmux")
    folder = Path("/tmp") / f"mk_tmux_{os.getpid()}"  # a socket's path has to be short
    folder.mkdir(exist_ok=True)
    monkeypatch.setenv("TMUX_TMPDIR", str(folder))
    monkeypatch.delenv("TMUX", raising=False)
    yield
    subprocess.run(["tmux", "kill-server"], capture_output=True)
    shutil.rmtree(folder, ignore_errors=True)
