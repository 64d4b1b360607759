"""The words of a command line as objects, by value."""

from __future__ import annotations

from typing import Any

import pytest
from hydra.errors import OverrideParseException
from hypothesis import given
from hypothesis import strategies as st

from mimickit_hydra.config.overrides import find, parse, quote, value_of, values_of, written_out


@pytest.mark.parametrize(
    ("text", "key", "value", "values"),
    [
        ("engine=newton", "engine", "newton", ["newton"]),
        ("agent.discount=0.5", "agent.discount", 0.5, ["0.5"]),
        ("+core.env.mass=3", "core.env.mass", 3, ["3"]),
        ("++mode=test", "mode", "test", ["test"]),
        ("out_dir='a=b, c'", "out_dir", "a=b, c", ["a=b, c"]),
        ("out_dir=runs/lr\\=3", "out_dir", "runs/lr=3", ["runs/lr=3"]),
        ('name="1"', "name", "1", ["1"]),
        ("model_file=null", "model_file", None, ["null"]),
        ("devices=[cpu,'cuda:0']", "devices", ["cpu", "cuda:0"], ["[cpu,'cuda:0']"]),
        ("core.env={mass:3}", "core.env", {"mass": 3}, ["{mass:3}"]),
        ("engine@other=newton", "engine", "newton", ["newton"]),
        ("~debug", "debug", None, []),
        ("~debug=tiny", "debug", "tiny", ["tiny"]),
        ("engine=newton,mujoco", "engine", None, ["newton", "mujoco"]),
        ("out_dir='a,b',c", "out_dir", None, ["a,b", "c"]),
        ("rand_seed=range(3)", "rand_seed", None, ["0", "1", "2"]),
        ("env.x=choice(1,'b=c')", "env.x", None, ["1", "b=c"]),
        ("devices=[cpu],['cuda:0']", "devices", None, ["[cpu]", "['cuda:0']"]),
        ("x=tag(log,interval(1e-5,1e-3))", "x", None, ["tag(log,interval(1e-5,1e-3))"]),
        ("debug=glob(t*)", "debug", None, ["tiny"]),
    ],
)
def test_key_and_value(text: str, key: str, value: Any, values: list[str]) -> None:
    word = parse(text)
    assert (word.key, word.value, word.values) == (key, value, values)
    assert word.text == text


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ("is_added", {"+a=1": True, "++a=1": True, "a=1": False, "~a": False}),
        ("is_deleted", {"~a": True, "~a=1": True, "a=1": False}),
        ("is_hydra", {"hydra.job.name=x": True, "+hydra/launcher=x": True, "hydraulic=1": False}),
        ("is_sweep", {"a=1,2": True, "a=[1,2]": False, "a='1,2'": False, "a=interval(0,1)": True}),
        ("package", {"engine@x=newton": "x", "engine=newton": None}),
        ("place", {"++engine@x=newton": "++engine@x", "~debug": "~debug"}),
    ],
)
def test_what_kind_of_word_it_is(asked: str, words: dict[str, Any]) -> None:
    assert {text: getattr(parse(text), asked) for text in words} == words


def test_each_value_is_a_word_again() -> None:
    assert parse("+a='x,y',z").each() == ["+a='x,y'", "+a=z"]
    assert parse("a=[1,2]").each() == ["a=[1,2]"]


def test_the_last_word_counts() -> None:
    words = ["engine.sim_freq=1", "engine=newton", "+engine=mujoco", "engine.control_freq=2"]
    assert value_of("engine", words) == "mujoco"
    assert values_of("engine", [*words, "engine=newton,isaac_lab"]) == ["newton", "isaac_lab"]
    assert (value_of("resume", ["resume=null"]), value_of("resume", []), value_of("resume", ["~resume"])) == (
        "",
        "",
        "",
    )
    assert find("engine", ["engines=1"]) is None


def test_a_text_that_is_no_word() -> None:
    with pytest.raises(OverrideParseException):
        parse("engine")


@given(st.text(st.characters(codec="utf-8", exclude_characters="\r\n\t\x00", exclude_categories=["Cc", "Cs"])))
def test_any_text_survives_quoting(text: str) -> None:
    word = parse(f"key={quote(text)}")
    assert word.value == text
    assert word.values == [text]


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("out_dir=runs/Zoë", "Zoë"),
        ("motion=läufe", "läufe"),
        ("out_dir='Zoë, x'", "Zoë, x"),
        ("+env.note=ü b", "ü b"),
        ("out_dir=~/ü", "ü"),
    ],
)
def test_letters_beyond_ascii_need_no_quotes(typed: str, kept: str) -> None:
    assert str(parse(written_out(typed)).value).endswith(kept)


def test_a_sweep_over_words_beyond_ascii() -> None:
    assert parse(written_out("out_dir=ü,b")).values == ["ü", "b"]


def test_a_list_beyond_ascii_is_left_to_the_parser() -> None:
    assert written_out("devices=[ü]") == "devices=[ü]"
