"""The values of ``Env.done`` (int32), which say why an episode ended. FAIL wins over SUCC, SUCC over TIME."""

from __future__ import annotations

DONE_NULL = 0  # still running
DONE_FAIL = 1  # fell, or left the reference
DONE_SUCC = 2  # reached the end of a clip that does not repeat
DONE_TIME = 3  # episode_length is over; the value of the last state is bootstrapped
