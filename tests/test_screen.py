"""Output that goes away, in processes of their own: a full disk, a closed pipe, closed descriptors, other encodings."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mimickit_hydra.runs.log_table import read_log
from tests.tiny_run import TINY

ROOT = Path(__file__).resolve().parents[1]
FULL = "/dev/full"
needs_full = pytest.mark.skipif(not os.path.exists(FULL), reason="no /dev/full")


def shell(line: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "P": sys.executable, "T": str(ROOT / "train.py"), **variables}
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {line}"], cwd=cwd, env=environment, capture_output=True, text=True
    )


def code(body: str) -> str:
    return f"\"$P\" -c '{body}'"


@needs_full
@pytest.mark.parametrize("words", ["$T --help", "$T --cfg job", "-m mimickit_hydra.cli.main list", "$T --version"])
def test_a_command_whose_output_is_lost_says_so_in_a_line(words: str, tmp_path: Path) -> None:
    done = shell(f'"$P" {words} > {FULL}', tmp_path)
    assert (done.returncode, done.stderr) == (2, "standard output: No space left on device\n")


@pytest.mark.parametrize("words", ["$T --help", "-m mimickit_hydra.cli.main list"])
def test_a_pager_that_is_left_is_no_error(words: str, tmp_path: Path) -> None:
    done = shell(f'"$P" {words} | head -1', tmp_path)
    assert (done.returncode, done.stderr, len(done.stdout.splitlines())) == (0, "", 1)


@needs_full
@pytest.mark.parametrize("away", [f">{FULL}", f">{FULL} 2>&1", ">&- 2>&- <&-", "2>&1 | true", "| head -1"])
def test_a_training_goes_on_without_its_output(away: str, tmp_path: Path) -> None:
    done = shell(f'"$P" "$T" {" ".join(TINY)} max_samples=128 out_dir=run {away}', tmp_path)
    assert done.returncode == 0, done.stderr
    assert max(read_log(tmp_path / "run" / "log.txt")["Samples"]) == 128
    assert '"finished"' in (tmp_path / "run" / "state.json").read_text()
    assert "Traceback" not in done.stderr


def test_what_the_encoding_lacks_is_written_otherwise(tmp_path: Path) -> None:
    body = 'from mimickit_hydra.screen import robust\nwith robust(): print("a\\u2581\\udcff")'
    done = shell(code(body), tmp_path, PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stdout) == (0, "a\\u2581\\udcff\n")


def test_a_closed_descriptor_is_not_given_to_the_next_file(tmp_path: Path) -> None:
    body = (
        "import os\nfrom mimickit_hydra.screen import lasting\n"
        'with lasting():\n file = open("kept", "w")\n print("lost"); os.write(1, b"lost"); file.write("kept")'
    )
    assert shell(f"{code(body)} >&- 2>&-", tmp_path).returncode == 0
    assert (tmp_path / "kept").read_text() == "kept"
