"""Lets several Isaac Lab simulations live in one process, one of them active at a time.

Isaac Lab keeps a simulation in attributes of classes (its context, its physics managers). They are put aside and back
when another engine is used, so that engines of one process do not see each other. PhysX keeps more of it outside Python
and is limited to one engine at a time.
"""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Tuple

from isaaclab.physics import PhysicsManager
from isaaclab.sim import SimulationContext
from isaaclab.sim.utils import stage as stage_utils

from mimickit_hydra.engines.interface import EngineError

_SHARED = ("_callback_id", "_reset_callbacks")  # counters and hooks that belong to the process
_Key = Tuple[type, str]


class Turn:
    """The process-wide state of one simulation. Use as a context manager around everything that touches it."""

    current: Optional[Turn] = None
    alone: Optional[Turn] = None  # a simulation that cannot share its process

    in_use: bool

    def __init__(self, managers: List[type], exclusive: bool) -> None:
        if Turn.alone is not None or (exclusive and Turn.current is not None and Turn.current.in_use):
            raise EngineError(
                "engine=isaac_lab: PhysX runs one simulation in a process; close the other engine first, or set "
                "engine.python to give each a process of its own"
            )
        self.in_use: bool = True
        self._classes: List[type] = [SimulationContext, PhysicsManager, *managers]
        for one in self._classes:
            _PRISTINE.setdefault(one, _attributes(one))
        self._kept: Dict[_Key, Any] = {}
        self._stage: Any = None
        for one in self._classes:
            for name, value in _PRISTINE[one].items():
                self._kept[one, name] = value.copy() if isinstance(value, (dict, list, set)) else value
        if exclusive:
            Turn.alone = self

    def __enter__(self) -> Turn:
        if Turn.current is not self:
            if Turn.current is not None:
                Turn.current._put_aside()
            for (one, name), value in self._kept.items():
                setattr(one, name, value)
            stage_utils._context.stage = self._stage
            Turn.current = self
        return self

    def __exit__(self, *error: Any) -> None:
        pass  # the next one to come puts it aside

    def _put_aside(self) -> None:
        for one, name in self._kept:
            self._kept[one, name] = one.__dict__.get(name)
        self._stage = getattr(stage_utils._context, "stage", None)

    def end(self) -> None:
        """The simulation was closed, so another one may be alone in this process."""
        self.in_use = False
        if Turn.alone is self:
            Turn.alone = None


_PRISTINE: Dict[type, Dict[str, Any]] = {}  # the attributes of a class before any simulation used it


def _attributes(one: type) -> Dict[str, Any]:
    """The data attributes of a class itself, without methods and Python's own."""
    found = {}
    for name, value in vars(one).items():
        plain = not isinstance(value, (classmethod, staticmethod, property)) and not hasattr(value, "__get__")
        hook = name in ("_eval_fk", "_reset_solver_internals_delegate")  # functions that each simulation binds
        if not name.startswith("__") and name not in _SHARED and (plain or hook):
            found[name] = value.copy() if isinstance(value, (dict, list, set)) else value
    return found
