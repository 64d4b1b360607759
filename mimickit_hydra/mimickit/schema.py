"""Schema of core=mimickit."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from mimickit_hydra.config.fields import setting
from mimickit_hydra.config.schema import CoreConfig


@dataclass(frozen=True)
class MimickitCoreConfig(CoreConfig):
    """A MimicKit checkout to drive; keys that its code has and ours lacks go into the open tables."""

    root: str | None = setting(None, help="the checkout")
    python: str | None = setting(None, help="interpreter or virtual environment that has its packages; null = this one")
    entry: str = setting("mimickit/run.py", help="the script that reads its flags, from the root")
    engine: dict[str, Any] = field(default_factory=dict)  # laid over the composed engine; null takes a key out
    env: dict[str, Any] = field(default_factory=dict)  # likewise
    agent: dict[str, Any] = field(default_factory=dict)  # likewise
    args: dict[str, Any] = setting({}, help="flags of its command line, without the dashes")
