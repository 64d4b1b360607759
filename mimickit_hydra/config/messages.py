"""Turns exceptions of Hydra and OmegaConf into one line: the key or file, what was found, what is allowed."""

from __future__ import annotations

import difflib
import errno
import re
from collections.abc import Sequence
from typing import Any

from mimickit_hydra.config.file_mistakes import NO_KEY, misplaced
from mimickit_hydra.config.overrides import find as find_word
from mimickit_hydra.config.overrides import parse
from mimickit_hydra.config.roots import find, shown
from mimickit_hydra.config.typed import Scalar
from mimickit_hydra.errors import UserError, nearest, suggestion

_OVERRIDE_OF = re.compile(r"Could not (?:override|delete from config\.) '([^']+)'")
_IN_FILE = re.compile(r"^In '([^']+)'(?:: (\w+) raised)?")
_FULL_KEY = re.compile(r"^\s*full_key: (\S+)", re.MULTILINE)
_BAD_VALUE = re.compile(
    r"Value '?(.*?)'? (?:of type '(\w+)' )?(?:could not be converted to|is not a valid) '?(\w+)'?", re.DOTALL
)
_MERGED = re.compile(r"^Error merging override ([^=\n]+)=(.*)$", re.MULTILINE)
_NO_LIST = re.compile(r"is not a ListConfig")
_NO_TABLE = re.compile(r"Cannot assign \w+ to Dict|Invalid type assigned: \w+ is not a subclass")
_LONG = 2000  # characters of a line
_TYPE_NAMES = {
    "Integer": "a whole number",
    "Float": "a number",
    "bool": "true or false",
    "Boolean": "true or false",
    "str": "text",
    "String": "text",
}


# What is wrong with a disk, not with our code: it is full or broken; Python does not always know for which file
_DISKS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.ESTALE)
# and with a place: no permission, a name too long, a folder where a file belongs or the other way round
_PLACES = (errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.EISDIR, errno.ENOTDIR, errno.ELOOP)


def one_line(error: BaseException, overrides: Sequence[str] = ()) -> str | None:
    """The line a user should see for ``error``, or None if it is no mistake of theirs.

    Args:
        error: what composing or running raised.
        overrides: the command line's overrides, to find the nearest names in the config they lead to.
    """
    line = _line(error, overrides)
    if line is None or len(line) <= _LONG:
        return line
    return f"{line[: _LONG - 100]} ... {line[-100:]}"  # what a file holds may be in it


def _line(error: BaseException, overrides: Sequence[str]) -> str | None:
    if isinstance(error, UserError):
        return _flat(str(error))
    if isinstance(error, OSError) and error.errno in (*_DISKS, *_PLACES):
        place = error.filename2 or error.filename  # of a renaming, where it should lead
        if place or error.errno in _DISKS:
            return f"{place or 'a file could not be written'}: {error.strerror}"
    from hydra.errors import HydraException, MissingConfigException, OverrideParseException
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    if isinstance(error, OverrideParseException):
        return _parse_error(error)
    if isinstance(error, MissingConfigException):
        return _missing_option(error)
    if isinstance(error, YAMLError):
        return _yaml_error(error)
    if isinstance(error, (HydraException, OmegaConfBaseException)):
        return _composition_error(error, overrides)
    if isinstance(error, OverflowError) and (match := _FULL_KEY.search(str(error))):
        return f"{match.group(1)}: found a whole number that is too large, must be a number"
    if isinstance(error, ValueError) and "Config group override" in str(error):
        return _empty_group(overrides)
    if isinstance(error, ValueError) and str(error).startswith("Invalid defaults list"):
        return str(error)
    return None


def _flat(text: str) -> str:
    return "; ".join(line.strip() for line in text.splitlines() if line.strip())


def _parse_error(error: Any) -> str:
    text = str(error.override)
    if "=" not in text and not text.startswith("~"):
        from mimickit_hydra.config.groups import groups

        owner = [f"{group.name}={text}" for group in groups().values() if text in group.option_names()]
        hint = f"; did you mean {' or '.join(owner)}?" if owner else ""
        return f"{text}: an override is written key=value or group=option{hint}"
    reason = _flat(str(error).split("See https://")[0]).replace("; ^", "")
    if "LexerNoViableAlt" in reason:  # the parser's own word
        reason = "a character that has a meaning of its own, or none"
    return f"{text}: not a valid override ({reason}); quote values with special characters: key='\"a, b\"'"


def _missing_option(error: Any) -> str:
    name = error.missing_cfg_file or ""
    group, _, option = name.rpartition("/")
    options = [text for text in (error.options or ()) if not text.startswith("base_")]
    if not group:
        return f"{name}: no such config; {_flat(str(error))}"
    if not options:
        return f"{group}={option}: {group} is no config group"
    near = nearest(option, options, count=1)
    hint = f"; nearest: {near[0]}" if near else ""
    return f"{group}={option}: no such option{hint}; allowed: {', '.join(options)}"


def _empty_group(overrides: Sequence[str]) -> str:
    from mimickit_hydra.config.groups import groups

    for word in map(parse, overrides):
        allowed = groups()[word.key].option_names() if word.key in groups() else []
        if allowed and word.word not in allowed:
            return f"{word.text}: this group needs an option; allowed: {', '.join(allowed)}"
    return "a config group needs an option, found something else"


def _yaml_error(error: Any) -> str:
    mark = getattr(error, "problem_mark", None)
    where = f"{mark.name}:{mark.line + 1}: " if mark is not None else ""
    return f"{where}not valid YAML: {getattr(error, 'problem', None) or _flat(str(error))}"


def _composition_error(error: BaseException, overrides: Sequence[str]) -> str:
    chain: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and len(chain) < 5:
        chain.append(current)
        current = current.__cause__
    text = "\n".join(str(part) for part in chain)
    where = ""
    if match := _IN_FILE.match(text):
        path = find(f"{match.group(1)}.yaml")
        where = f"{shown(path) if path else match.group(1)}: "
    key_match = _FULL_KEY.search(text)
    key = key_match.group(1) if key_match else ""
    if line := _wrong_sign(text, overrides) or misplaced(text, where, key):
        return line
    if match := _OVERRIDE_OF.search(text):
        return _unknown_key(_deepest(match.group(1), overrides), overrides)
    if _NO_LIST.search(text) or _NO_TABLE.search(text):
        return f"{where}{_other_shape(key, text)}"
    if value := _BAD_VALUE.search(text):
        kind = _TYPE_NAMES.get(value.group(3), value.group(3))
        scalars = [scalar for part in chain for scalar in getattr(part, "scalars", ())]
        return f"{where}{key}: found {_as_typed(key, value.group(1), overrides, scalars)!r}, must be {kind}"
    if NO_KEY.search(text):
        if match := re.match(r"In 'recipe/(?:by_recipe_agent/)?(\w+)'", text):
            return f"recipe={match.group(1)}: sets {key}, which this agent lacks; recipe=mimickit leaves it as it is"
        return f"{where}{_unknown_key(key, ())}"
    if "Interpolation" in text and (match := re.search(r"'([^']+)' not found", text)):
        key = key or f"${{{match.group(1)}}}"
        return (
            f"{where}{key}: refers to {match.group(1)}, which does not exist{_near_key(match.group(1), known_keys())}"
        )
    if "MissingMandatoryValue" in {type(part).__name__ for part in chain}:
        return f"{where}{key or _flat(text)}: has no value; set it on the command line"
    return _other(where, text)


def _as_typed(key: str, found: str, overrides: Sequence[str], scalars: Sequence[Scalar]) -> str:
    """The text that was typed for the number ``found``: 1e3 for 1000.0."""
    word = find_word(key, overrides)
    pairs = [(parse(text).value, parse(text).word) for text in (word.each() if word else ())]
    pairs += [(value, text) for path, value, text in scalars if ".".join(map(str, path)) == key]
    return next((text for value, text in pairs if str(value) == found), found)


def _other_shape(key: str, text: str) -> str:
    """The line for one value where a list or a table belongs."""
    match = _MERGED.search(text)
    key, found = (match.group(1).lstrip("+"), match.group(2)) if match else (key, "")
    shape, written = ("a list", f"[{found}]") if _NO_LIST.search(text) else ("a table", "{name: value}")
    return f"{key}: {f'found {found}, ' if found else ''}must be {shape}" + (f": {key}={written}" if found else "")


def _other(where: str, text: str) -> str:
    """The line for any other error: Hydra's own words, without its advice for programmers."""
    if match := re.search(r"Ambiguous value for argument '(.+)'", text):
        from mimickit_hydra.config.groups import groups

        key, _, value = match.group(1).partition("=")
        if key in groups():
            return f"{match.group(1)}: must be one option; to run one after the other add --multirun"
        return f"{match.group(1)}: a list is written {key}=[{value}]; to run one after the other add --multirun"
    if match := re.search(r"Sweep parameters '(.+)' requires --multirun", text):
        return f"{match.group(1)}: several values need --multirun (-m)"
    if match := re.search(r"Could not append to config. An item is already at '([^']+)'", text):
        return f"{match.group(1)}: is there already; write it without the +"
    if match := re.search(r"field '([^']+)' is not Optional", text):
        return f"{where}{match.group(1)}: found null, must have a value"
    if match := re.match(r"Error merging override (\S+)", text):
        rest = [line.strip() for line in text.splitlines()[1:] if line.strip()]
        return f"{match.group(1)}: {rest[0] if rest else 'does not fit the config'}"
    body = re.sub(r"^In '[^']+': \w+ raised while composing config:\s*", "", text)
    lines = [line.strip() for line in body.splitlines() if line.strip() and "full_key:" not in line]
    lines = [line for line in dict.fromkeys(lines) if not line.startswith(("object_type=", "reference_type="))]
    return where + "; ".join(lines[:2])


def _wrong_sign(text: str, overrides: Sequence[str]) -> str:
    """The line for an override with a ``+`` or ``~`` that cannot be; empty for another mistake."""
    from mimickit_hydra.config.groups import groups

    for word in map(parse, overrides):
        plain = word.text.lstrip("+~")
        if word.key in groups() and word.is_added and ("Multiple values for" in text or "force-add" in text):
            return f"{word.text}: there is one already; write it without the +: {plain}"
        if word.key in groups() and word.is_deleted and "resolving interpolation" in text:
            return f"{word.text}: a run needs one; choose another with {word.key}=OPTION, mimickit list {word.key}"
        if word.is_deleted and "does not support deletion" in text:
            return f"{word.text}: the schema has this key; give it another value: {word.key}=VALUE"
        if not word.key:
            return f"{word.text}: an override is written key=value or group=option"
    return ""


def _deepest(key: str, overrides: Sequence[str]) -> str:
    """``key``, or below it the first unknown key of the table that an override gives it: ``agent={typ: x}``."""
    word = find_word(key, overrides)
    if word is None or not isinstance(word.value, dict):
        return key
    from mimickit_hydra.config.compose import leaves

    known = set(known_keys(overrides))
    return next((leaf for leaf, _ in leaves(word.value, f"{key}.") if leaf not in known), key)


def _unknown_key(key: str, overrides: Sequence[str]) -> str:
    from mimickit_hydra.config.groups import groups

    if "/" in key or "@" in key:
        return f"{key}: unknown group{suggestion(key, list(groups()))}"
    known = known_keys(overrides)
    part, near = _first_unknown(key, known)
    if near:
        return f"{part}: unknown key; nearest: {near}"
    return f"{key}: unknown key{_near_key(key, known)}"


def _first_unknown(key: str, known: Sequence[str]) -> tuple[str, str]:
    """The part of ``key`` where it leaves the known ones, and what it is taken for; empty for the end of ``key``."""
    parts = key.split(".")
    for depth in range(1, len(parts)):
        begin = ".".join(parts[:depth])
        if not any(f"{name}.".startswith(f"{begin}.") for name in known):
            above = begin.rpartition(".")[0]
            beside = {".".join(name.split(".")[:depth]) for name in known if name.count(".") >= depth}
            beside = {name for name in beside if name.rpartition(".")[0] == above}
            return begin, next(iter(difflib.get_close_matches(begin, sorted(beside), n=1, cutoff=0.6)), "")
    return key, ""


def _near_key(key: str, known: Sequence[str]) -> str:
    from mimickit_hydra.config.groups import groups

    near_groups = nearest(key, list(groups()), count=1) if "." not in key else []
    near = list(dict.fromkeys(near_groups + nearest(key, known)))[:3]
    if near:
        return f"; nearest: {', '.join(near)}"
    return "; see mimickit explain for all keys"


def known_keys(overrides: Sequence[str] = ()) -> list[str]:
    """Every key of the config that the group choices among ``overrides`` lead to."""
    from mimickit_hydra.config.compose import compose, flatten
    from mimickit_hydra.config.groups import groups

    chosen = [text for text in overrides if parse(text).key in groups()]
    try:
        cfg = compose(chosen)
    except Exception:  # the choices themselves are wrong: the default run's keys are near enough
        cfg = compose([])
    return list(flatten(cfg))
