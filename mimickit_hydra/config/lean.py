"""``dataclass(frozen=True)`` for a module of many classes, all of which every command loads and few of which it uses.

The standard decorator compiles six methods for each class, a millisecond a class before Python 3.13. Here the classes
share methods that look their fields up. Fields, ``replace``, ``asdict``, ``==``, ``repr`` and the refusal to be changed
are as usual; such a class says of itself that it is not frozen, though, and is slower to build an object of.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

_Class = TypeVar("_Class", bound=type)


def dataclass(*, frozen: bool) -> Callable[[_Class], _Class]:
    """A frozen dataclass; ``frozen`` is there to be read, and has to be true."""
    assert frozen
    return _decorate


def _decorate(cls: _Class) -> _Class:
    dataclasses.dataclass(init=False, repr=False, eq=False, match_args=False)(cls)
    for name, method in _METHODS.items():
        setattr(cls, name, method)
    return cls


def _init(self: Any, *args: Any, **named: Any) -> None:
    fields = self.__dataclass_fields__
    if len(args) > len(fields):
        raise TypeError(f"{type(self).__name__} takes {len(fields)} values, {len(args)} were given")
    positional = dict(zip(fields, args, strict=False))
    wrong = [name for name in named if name not in fields or name in positional]
    if wrong:
        raise TypeError(f"{type(self).__name__} got an unexpected or repeated value {wrong[0]!r}")
    values = self.__dict__
    for name, field in fields.items():
        if name in positional:
            values[name] = positional[name]
        elif name in named:
            values[name] = named[name]
        elif field.default_factory is not dataclasses.MISSING:
            values[name] = field.default_factory()
        elif field.default is not dataclasses.MISSING:
            values[name] = field.default
        else:
            raise TypeError(f"{type(self).__name__} needs a value for {name!r}")


def _repr(self: Any) -> str:
    inside = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__dataclass_fields__)
    return f"{type(self).__qualname__}({inside})"


def _eq(self: Any, other: object) -> Any:
    return self.__dict__ == other.__dict__ if type(other) is type(self) else NotImplemented


def _hash(self: Any) -> int:
    return hash(tuple(getattr(self, name) for name in self.__dataclass_fields__))


def _setattr(self: Any, name: str, value: Any) -> NoReturn:
    raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")


def _delattr(self: Any, name: str) -> NoReturn:
    raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")


_METHODS = {
    "__init__": _init, "__repr__": _repr, "__eq__": _eq, "__hash__": _hash, "__setattr__": _setattr,
    "__delattr__": _delattr,
}  # fmt: skip
