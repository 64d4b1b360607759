"""Keeps what was typed for keys of text: YAML and Hydra's grammar make numbers of ``1e3``, ``007`` and ``on``.

Whether a key is one of text is known once its schema is merged. So the scalars that were read as a number or as true
or false are remembered with their text, and :func:`keep` puts the text back where the key turns out to be one of text.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from omegaconf import AnyNode, BooleanNode, DictConfig, ListConfig, StringNode

from mimickit_hydra.config.fields import wrong

_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float", "tag:yaml.org,2002:bool")
_WRITTEN_OUT = (("hydra", "sweeper", "params"), ("core", "args"))  # tables whose numbers end on a command line


class Scalar(NamedTuple):
    """A number or truth value: its place below the root, what was made of it, and the text that was typed."""

    path: tuple[str | int, ...]
    value: Any
    text: str

    def below(self, package: str | None) -> Scalar:
        """The same scalar in a file that is put at ``package``."""
        return self._replace(path=(*package.split("."), *self.path)) if package else self


def of_yaml(node: Any, loader: Any, path: tuple[str | int, ...] = ()) -> Iterator[Scalar]:
    """The scalars below a YAML node whose text their value would not give back, and all of its defaults list."""
    if node.id == "mapping":
        for key, value in node.value:
            yield from of_yaml(value, loader, (*path, str(key.value)))
    elif node.id == "sequence":
        for index, value in enumerate(node.value):
            yield from of_yaml(value, loader, (*path, index))
    elif node.tag in _NUMBERS:
        value = loader.construct_object(node)
        if path[0] == "defaults" or _matters(value, node.value):
            yield Scalar(path, value, node.value)


def of_override(parsed: Any) -> Iterator[Scalar]:
    """The scalars of an override, as Hydra's parser gives it."""
    value = parsed.value()
    if not isinstance(value, (str, type(None))) and parsed.input_line and not parsed.is_sweep_override():
        yield from _pairs(value, as_text(parsed.input_line), tuple(parsed.key_or_group.split(".")))


def as_text(override: str) -> Any:
    """The value of an override text without quotes, with the text that was typed for numbers, true and false."""
    from hydra.core.override_parser.types import Override

    return Override._convert_value(_parsed_as_text(override)._value)


def choices_as_text(override: str) -> list[str]:
    """The values that an override text lists, each as it was typed."""
    return list(_parsed_as_text(override).sweep_string_iterator())


def keep(cfg: DictConfig, scalars: Iterable[Scalar]) -> None:
    """Put the text back at those keys of ``cfg`` that are of text and still hold what was made of it.

    UserError for a number where true or false belongs.
    """
    for path, value, text in scalars:
        node = functools.reduce(_child, path, cfg)
        if isinstance(node, BooleanNode) and not _may_be_truth(value):
            raise wrong(".".join(map(str, path)), value, "true or false")
        written_out = isinstance(node, AnyNode) and any(path[: len(table)] == table for table in _WRITTEN_OUT)
        if isinstance(node, StringNode) or (written_out and not isinstance(value, bool)):
            node._val = text if str(node._value()) == str(value) else node._val


def is_text(cfg: DictConfig, key: str) -> bool:
    """Whether the dotted key is one of text."""
    return isinstance(functools.reduce(_child, key.split("."), cfg), StringNode)


def put_back(values: Mapping[str, Any], cfg: DictConfig, scalars: Iterable[Scalar]) -> dict[str, Any]:
    """The same for plain ``{dotted key: value}`` that were read without the schema which ``cfg`` has."""
    found = dict(values)
    for path, _, text in scalars:
        *above, last = path
        key = ".".join(str(part) for part in path if isinstance(part, str))
        parent = functools.reduce(_child, above, cfg)
        if isinstance(last, str) and isinstance(_child(parent, last), StringNode) and key in found:
            found[key] = text
        elif isinstance(last, int) and isinstance(parent, ListConfig) and parent._metadata.element_type is str:
            found[key] = [text if index == last else item for index, item in enumerate(found[key])]
    return found


# ------------------------------------------------------------------------------------------------------------- details


def _parsed_as_text(override: str) -> Any:
    from hydra.core.override_parser.overrides_parser import create_functions
    from hydra.core.override_parser.overrides_visitor import HydraOverrideVisitor
    from hydra.grammar.gen.OverrideLexer import (  # type: ignore[attr-defined]
        CommonTokenStream,
        InputStream,
        OverrideLexer,
    )
    from hydra.grammar.gen.OverrideParser import OverrideParser

    class Visitor(HydraOverrideVisitor):
        def _createPrimitive(self, ctx: Any) -> Any:  # noqa: N802
            found = super()._createPrimitive(ctx)
            return ctx.getText().strip() if isinstance(found, (bool, int, float)) else found

        def visitFunction(self, ctx: Any) -> Any:  # noqa: N802
            takes_text = ctx.getChild(0).getText() in ("choice", "shuffle", "tag")  # others convert, compare or count
            return super().visitFunction(ctx) if takes_text else HydraOverrideVisitor(self.functions).visitFunction(ctx)

    tree = OverrideParser(CommonTokenStream(OverrideLexer(InputStream(override)))).override()
    return Visitor(create_functions()).visit(tree)


def _pairs(value: Any, text: Any, path: tuple[str | int, ...]) -> Iterator[Scalar]:
    """Every scalar of ``value`` beside the one at the same place in ``text``."""
    if isinstance(value, Mapping):
        for (key, one), other in zip(value.items(), text.values(), strict=True):
            yield from _pairs(one, other, (*path, key))
    elif isinstance(value, list):
        for index, (one, other) in enumerate(zip(value, text, strict=True)):
            yield from _pairs(one, other, (*path, index))
    elif isinstance(value, (bool, int, float)) and isinstance(text, str) and _matters(value, text):
        yield Scalar(path, value, text)


def _matters(value: bool | int | float, text: str) -> bool:
    """Whether a key could take what was typed for something else than ``value``."""
    return str(value) != text or not _may_be_truth(value)


def _may_be_truth(value: bool | int | float) -> bool:
    """Whether a key that is true or false takes this: OmegaConf makes true of every number but 0."""
    return value in (0, 1)


def _child(node: Any, part: str | int) -> Any:
    """The node below ``node``; None where there is none."""
    if isinstance(node, (DictConfig, ListConfig)) and not (
        node._is_none() or node._is_missing() or node._is_interpolation()
    ):
        fits = isinstance(node, DictConfig) or (isinstance(part, int) and part < len(node))
        return node._get_node(part, validate_access=False) if fits else None  # type: ignore[arg-type]
    return None
