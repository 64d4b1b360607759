"""The lean decorator gives what the standard one gives."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from typing import Any

import pytest

from mimickit_hydra.config.lean import dataclass


@dataclass(frozen=True)
class Base:
    a: int = 1
    b: list[int] = dataclasses.field(default_factory=list)


@dataclass(frozen=True)
class Derived(Base):
    a: int = 5
    c: str = "x"


@dataclasses.dataclass(frozen=True)
class Standard:
    a: int = 5
    b: list[int] = dataclasses.field(default_factory=list)
    c: str = "x"


@dataclass(frozen=True)
class Demanding:
    a: int


def new(cls: Any, *args: Any, **named: Any) -> Any:
    return cls(*args, **named)


def test_values() -> None:
    for arguments, named in (((), {}), ((1,), {}), ((1, [2]), {"c": "y"}), ((), {"b": [3], "c": "z"})):
        lean, standard = new(Derived, *arguments, **named), new(Standard, *arguments, **named)
        assert dataclasses.asdict(lean) == dataclasses.asdict(standard)
        assert repr(lean).partition("(")[2] == repr(standard).partition("(")[2]
    assert new(Base) != new(Derived)
    assert new(Base) == new(Base, 1, [])
    assert new(Base).b is not new(Base).b
    assert [field.name for field in dataclasses.fields(Derived)] == ["a", "b", "c"]


def test_copies() -> None:
    one = new(Derived, 3, [4])
    assert dataclasses.replace(one, c="k") == new(Derived, 3, [4], "k")
    assert copy.deepcopy(one) == one == pickle.loads(pickle.dumps(one))


def test_it_does_not_change() -> None:
    one = new(Derived)
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.a = 2
    with pytest.raises(dataclasses.FrozenInstanceError):
        del one.a
    with pytest.raises(TypeError):
        hash(one)  # of a list
    assert hash(new(Demanding, 1)) == hash(new(Demanding, 1))


@pytest.mark.parametrize(("arguments", "named"), [((), {}), ((1, 2), {}), ((1,), {"a": 2}), ((1,), {"b": 2})])
def test_wrong_values(arguments: tuple[int, ...], named: dict[str, int]) -> None:
    with pytest.raises(TypeError):
        new(Demanding, *arguments, **named)
