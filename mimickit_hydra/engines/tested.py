"""The versions that each engine was tested with, as ``docs/engines/README.md`` shows them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, Tuple

REAL = "real"  # the simulator itself ran the conformance suite
EMULATED = "emulated"  # its interface ran the suite, with another simulator beneath


@dataclass(frozen=True)
class Tested:
    """What an engine ran with. Versions belong together, the first to the first and so on.

    The conformance suite passed on the CPU; on a GPU at least a training ran, and the engine's page says what else.
    """

    python: Tuple[str, ...]  # of the interpreter that the simulator is in
    packages: Dict[str, Tuple[str, ...]]  # distribution -> versions
    devices: Tuple[str, ...]  # cpu, cuda
    verified: str


TESTED: Dict[str, Tested] = {
    "mujoco": Tested(("3.10", "3.11", "3.12", "3.13"), {"mujoco": ("4.0.0", "3.17.0")}, ("cpu",), REAL),
    "newton": Tested(
        ("3.11", "3.12"),
        {
            "newton": ("1.8.0", "1.6.1"), "warp-lang": ("1.19.0", "1.17.0"), "mujoco": ("3.17.0", "3.12.0"),
            "mujoco-warp": ("3.17.0", "3.12.0"),
        },
        ("cpu", "cuda"),
        REAL,
    ),
    "mjwarp": Tested(
        ("3.11", "3.12"),
        {"mujoco-warp": ("4.0.0", "3.17.0"), "warp-lang": ("1.19.0",), "mujoco": ("4.0.0", "3.17.0")},
        ("cpu", "cuda"),
        REAL,
    ),
    "isaac_lab": Tested(
        ("3.11", "3.12"),
        {
            "isaaclab": ("3.0.0",), "newton": ("1.6.1",), "warp-lang": ("1.17.0", "1.19.0"), "mujoco": ("3.12.0",),
            "mujoco-warp": ("3.12.0",), "usd-exchange": ("3.0.1",), "ovphysx": ("0.6.4",),
        },
        ("cpu", "cuda"),
        REAL,
    ),
    "isaac_gym": Tested(("3.8",), {"isaacgym": ("1.0rc4",)}, ("cpu",), EMULATED),
}  # fmt: skip
# What an engine can do without: named where it is installed, not missed where it is not
OPTIONAL: Dict[str, Tuple[str, ...]] = {"isaac_lab": ("ovphysx",)}


def is_tested(found: str, versions: Tuple[str, ...]) -> bool:
    """Whether ``found`` is one of ``versions`` or a build of it: 3.11.7 is a 3.11, 1.19.0+cu12 a 1.19.0."""
    return any(found == one or found.startswith((one + ".", one + "+")) for one in versions)
