"""Changes files the way damage, other programs and bad intent change them: by structure first, then by bytes.

Every function takes a :class:`random.Random` and a file's bytes and gives other bytes. What is drawn depends on the
random numbers alone, so that one number repeats one input.
"""

from __future__ import annotations

import copy
import io
import json
import os
import pickle
import pickletools
import random
import re
import struct
import subprocess
import zipfile
from collections.abc import Callable, Sequence
from typing import Any
from xml.etree import ElementTree

import numpy as np

CANARY = "canary"  # a file that is written, in the working directory, by code that a reader should not have run
_SHELL = f"touch {CANARY}"
_PYTHON = f"__import__('os').system({_SHELL!r})"

NUMBERS = (
    "0", "-1", "1e-400", "1e400", "1e-300", "1e300", "nan", "-inf", ".nan", ".inf", "1_0", "0x10", "1e5", "007", "1,5",
    "9" * 400, "9" * 5000, "-0.0", "2147483648", "9223372036854775808", "1.0.0", "٣", "true", "null", "~", "''",
    "1:99:99", "2001-13-45", "2001-01-01", "=", "0.0.0.0", "1" + "0" * 30, "1e-4", "[]", "{}", "0b1", "0o9", "+", ".",
)  # fmt: skip
WORDS = (
    "", " ", "a" * 70_000, "\u2028", "ü", "-" * 3, "../../../etc/passwd", "/dev/zero", "/dev/null", ".", "/", "~nobody/x",
    "${", "${oc.env:HOME}", "${env}", "${.}", "${now:x}", "???", "null", "#", "--", "a=b", "=", "\\", "%s{0}", "\x1b[31m",
)  # fmt: skip
_TAGS = (
    f"!!python/object/apply:os.system [{_SHELL!r}]", f"!!python/object/new:os.system [{_SHELL!r}]",
    "!!python/name:os.system", "!!python/module:os", f"!!python/object/apply:subprocess.Popen [[touch, {CANARY}]]",
    "!!binary 'x'", "!!binary aGk=", "!!int ''", "!!int x", "!!float ''", "!!float x", "!!bool x", "!!timestamp x",
    "!!set {a, b}", "!!omap [a: 1]", "!!pairs [a: 1]", "!!null x", "!x y", "!!str 5", "!!map []", "!!seq {}", "&a [*a]",
    "&a {b: *a}", "*missing", "<<", "{<<: 5}", "{[1]: 2}", "{{}: 1}", "? a", "|\n  x", ">-", "@x", "`x`", "'open", '"\\q"',
    "{1: 2, true: 3, null: 4}", "{a: 1, a: 2}", "[" * 200, "[" * 200 + "]" * 200, "[" * 20_000, "{a: " * 3000, "- " * 3000,
)  # fmt: skip


def some_bytes(draw: random.Random, data: bytes) -> bytes:
    """Flipped, inserted, deleted, repeated and cut bytes."""
    for _ in range(draw.choice((1, 1, 2, 5, 20))):
        place, length = draw.randrange(len(data) + 1), draw.choice((1, 1, 2, 4, 8, 100))
        kind = draw.randrange(6)
        if kind == 0:
            data = data[:place] + draw.randbytes(length) + data[place + length :]
        elif kind == 1:
            data = data[:place] + draw.randbytes(length) + data[place:]
        elif kind == 2:
            data = data[:place] + data[place + length :]
        elif kind == 3:
            data = data[:place] + data[place : place + length] * draw.choice((2, 3, 300)) + data[place + length :]
        elif kind == 4:
            data = data[:place] + draw.choice((b"\0", b"\xff" * 4, b"\r\n", b"\xef\xbb\xbf", b"\x80")) + data[place:]
        else:
            data = data[:place] if draw.random() < 0.3 else data
    return data


def something_else(draw: random.Random, data: bytes) -> bytes:
    """Another file in its place, or the same text in another form."""
    text = data.decode("utf-8", "replace")
    lfs = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 12345\n"
    other: Sequence[bytes] = (
        b"", b"\n", b"\0" * 1000, lfs, b"<!DOCTYPE html>\n<html><head><title>404</title></head></html>", b"PK\x03\x04",
        b"PK\x05\x06" + b"\0" * 18, b"\x80\x04.", b"null", b"[]", b"{}", b"5", b'"x"', b"\x1f\x8b\x08\0", b"\xef\xbb\xbf" + data,
        text.encode("utf-16"), text.encode("utf-32"), b"\xff\xfe" + data, text.replace("\n", "\r\n").encode(), data + data,
        text.replace("\n", "\r").encode(), data[: len(data) // 2], data[:-1], data + b"\0", data + b"\x1a", b"\xe4" + data,
        b"[" * 100_000, b"(" * 100_000, b'{"a":' * 50_000, b"<a>" * 50_000, data + b"\n---\n" + data, b"...\n" + data,
        text.replace(" ", "\t").encode(), text.upper().encode(), text.replace(" ", "\u00a0").encode(),
    )  # fmt: skip
    return draw.choice(other)


# --------------------------------------------------------------------------------------------------------- plain values


def odd_value(draw: random.Random, value: Any) -> Any:
    """Another value for ``value``: of its kind but out of bounds, or of another kind."""
    if isinstance(value, bool | int | float) and draw.random() < 0.5:
        return draw.choice(
            (
                0,
                -1,
                1,
                2,
                3,
                True,
                False,
                2**31,
                2**63,
                2**64,
                -(2**70),
                10**400,
                1e300,
                -1e300,
                1e-300,
                5e-324,
                1e6 + 1,
            )
            + (float("nan"), float("inf"), -float("inf"), 0.5, -0.0, 1e-5, 7, 1e9, 3.4e38, 1e39)
        )
    if isinstance(value, str) and draw.random() < 0.5:
        return draw.choice((*WORDS, *NUMBERS, value + "x", value[:-1], value.upper(), value * 3, value + "\n" + value))
    deep: Any = []
    for _ in range(draw.choice((3, 60, 5000))):
        deep = [deep]
    return draw.choice(
        (None, [], {}, "", "x", 0, 1.5, True, b"x", deep, [value], [value, value], {"a": value}, [None], ())
    )


def odd_tree(draw: random.Random, tree: Any, odd: Callable[[random.Random, Any], Any] = odd_value) -> Any:
    """One change somewhere in nested dicts and lists: a value, a key, an entry gone, twice, moved or nested."""
    if not isinstance(tree, dict | list | tuple) or not tree or draw.random() < 0.15:
        return odd(draw, tree)
    keys = list(tree) if isinstance(tree, dict) else list(range(len(tree)))
    key, kind = draw.choice(keys), draw.random()
    found = dict(tree) if isinstance(tree, dict) else list(tree)
    if kind < 0.1:
        del found[key]
    elif kind < 0.2:
        other = draw.choice(keys)
        found[key], found[other] = found[other], found[key]
    elif kind < 0.3 and isinstance(found, dict):
        found[draw.choice((f"{key}x", "", "a.b", "x y", 5, None, True, 1.5, (1, 2), b"x", str(key).upper()))] = (
            found.pop(key)
        )
    elif kind < 0.3:
        found = found * draw.choice((2, 3, 50))
    elif kind < 0.35:
        laugh = found
        for _ in range(draw.choice((5, 12, 40))):
            laugh = [laugh, laugh]
        found[key] = laugh
    else:
        found[key] = odd_tree(draw, found[key], odd)
    return tuple(found) if isinstance(tree, tuple) else found


# ---------------------------------------------------------------------------------------------------------- text files


def lines(draw: random.Random, data: bytes) -> bytes:
    """Lines twice, gone, moved, indented otherwise, joined or cut."""
    rows = data.decode("utf-8", "replace").splitlines()
    for _ in range(draw.choice((1, 1, 2, 4))):
        if not rows:
            break
        at, kind = draw.randrange(len(rows)), draw.randrange(7)
        if kind == 0:
            rows.insert(draw.randrange(len(rows) + 1), rows[at])
        elif kind == 1:
            del rows[at]
        elif kind == 2:
            rows.insert(draw.randrange(len(rows)), rows.pop(at))
        elif kind == 3:
            rows[at] = draw.choice((" ", "  ", "\t", "- ", "#", "    ")) + rows[at]
        elif kind == 4:
            rows[at] = rows[at].strip()
        elif kind == 5:
            rows[at] = rows[at][: draw.randrange(len(rows[at]) + 1)]
        else:
            rows[at] += " " + draw.choice((*WORDS, *NUMBERS))
    return ("\n".join(rows) + "\n").encode("utf-8", "surrogatepass")


def words(draw: random.Random, data: bytes) -> bytes:
    """Words and numbers of a text replaced by others."""
    text = data.decode("utf-8", "replace")
    for _ in range(draw.choice((1, 1, 2, 4))):
        found = list(re.finditer(r"[^\s:,\[\]{}\"'<>=]+", text))
        if not found:
            break
        match = draw.choice(found)
        other = draw.choice((*NUMBERS, *WORDS, draw.choice(found).group(), match.group() * 2))
        text = text[: match.start()] + other + text[match.end() :]
    return text.encode("utf-8", "surrogatepass")


def yaml_values(draw: random.Random, data: bytes) -> bytes:
    """Values of YAML lines replaced by tags, anchors, collections and odd scalars; keys by others or by doubles."""
    rows = data.decode("utf-8", "replace").splitlines()
    for _ in range(draw.choice((1, 1, 2))):
        places = [at for at, row in enumerate(rows) if re.match(r"\s*(- )?[\w.]+:|\s*- ", row)]
        if not places:
            break
        at = draw.choice(places)
        lead, key, value = re.match(r"(\s*(?:- )?)([\w.]+:|(?=))(.*)", rows[at]).groups()  # type: ignore[union-attr]
        kind = draw.random()
        if kind < 0.75:
            value = draw.choice(
                (*_TAGS, *_TAGS, *NUMBERS, *WORDS, "[1, 2", "{a: 1}", "[a, b]", "- x", "&x " + value, "x: y")
            )
            rows[at] = f"{lead}{key} {value}"
        elif kind < 0.85:
            rows[at] = f"{lead}{draw.choice((*_TAGS, *NUMBERS, 'x', 'defaults', '<<', '_target_', ''))}:{value}"
        elif kind < 0.95:
            rows.insert(at, rows[at])
        else:
            laughs = "".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9 if n else ['x'] * 9)}]\n" for n in range(12))
            merges = "".join(
                f"m{n}: &m{n} {{<<: [{f'*m{n - 1}, *m{n - 1}' if n else ''}], k{n}: 1}}\n" for n in range(24)
            )
            rows.insert(0, draw.choice((laughs, merges, "%YAML 9.9", "--- x", "--- &a", "a: &a\n  b: *a")))
    return ("\n".join(rows) + "\n").encode("utf-8", "surrogatepass")


def yaml_file(draw: random.Random, data: bytes) -> bytes:
    return _one_of(draw, data, ((yaml_values, 6), (lines, 2), (words, 3), (some_bytes, 2), (something_else, 1)))


def json_file(draw: random.Random, data: bytes) -> bytes:
    def tree(draw: random.Random, data: bytes) -> bytes:
        try:
            found = json.loads(data)
        except (ValueError, RecursionError):
            return some_bytes(draw, data)
        for _ in range(draw.choice((1, 1, 2))):
            found = odd_tree(draw, found)
        try:
            return json.dumps(found, default=str).encode()
        except (TypeError, ValueError, RecursionError):
            return b'{"a": ' + b"9" * 5000 + b"}"

    return _one_of(draw, data, ((tree, 6), (words, 2), (some_bytes, 2), (something_else, 1)))


def text_file(draw: random.Random, data: bytes) -> bytes:
    return _one_of(draw, data, ((lines, 4), (words, 4), (some_bytes, 2), (something_else, 1)))


def _one_of(draw: random.Random, data: bytes, kinds: Sequence[tuple[Callable[..., bytes], int]]) -> bytes:
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        (kind,) = draw.choices([kind for kind, _ in kinds], [weight for _, weight in kinds])
        data = kind(draw, data)
        if len(data) > 3_000_000:
            break
    return data


# ----------------------------------------------------------------------------------------------------------------- XML

_ATTRIBUTES = (
    "name", "class", "childclass", "type", "pos", "quat", "euler", "axisangle", "xyaxes", "zaxis", "axis", "range", "ref",
    "limited", "size", "fromto", "mass", "density", "stiffness", "damping", "armature", "angle", "autolimits", "file", "mesh",
    "meshdir", "content_type", "count", "offset", "contype", "conaffinity", "actuatorfrcrange", "actuatorfrclimited", "gear",
    "inertiafromgeom", "coordinate", "eulerseq", "fitscale", "user", "condim", "margin", "solref", "scale", "vertex", "mocap",
)  # fmt: skip
_ELEMENTS = (
    "body", "joint", "geom", "freejoint", "frame", "replicate", "attach", "include", "default", "compiler", "option", "site",
    "inertial", "camera", "light", "worldbody", "asset", "mesh", "hfield", "texture", "actuator", "motor", "sensor", "tendon",
    "equality", "contact", "exclude", "keyframe", "key", "size", "flexcomp", "composite", "plugin", "extension", "deformable",
    "skin", "custom", "numeric", "visual", "statistic", "model", "x", "mujoco",
)  # fmt: skip
_TEXTS = (
    "", "x", "1 2", "1 2 3", "1 2 3 4", "0 0 0", "0 0 0 0", "1 0 0", "1e400 0 0", "nan nan nan", "inf 1 1", "1_0 0 0",
    "-1", "1e30 1e30 1e30", "1e-30 1e-30 1e-30", "0 0 1e-320", "free", "ball", "slide", "hinge", "capsule", "mesh", "plane",
    "sdf", "ellipsoid", "box", "auto", "true", "false", "radian", "root", "main", "a/b", "/dev/zero", "../x.stl", "1" * 400,
    "0 0 0 " * 200, "1 " * 20_000, "2 1", "0 0", "10000000", "1 1 1 1 1 1", "٣ 0 0", "0x1p3 0 0", "1,2,3", "$x", "grid",
)  # fmt: skip
_PROLOGS = (
    '<!DOCTYPE m [<!ENTITY a "x">' + "".join(f'<!ENTITY {"abcdefghij"[n]}1 "{"&a;" * 50}">' for n in range(4)) + "]>",
    "<!DOCTYPE m ["
    + '<!ENTITY l0 "lol">'
    + "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 12))
    + "]>",
    '<!DOCTYPE m [<!ENTITY x SYSTEM "file:///etc/passwd">]>', '<!DOCTYPE m SYSTEM "http://127.0.0.1:9/x.dtd">',
    '<!DOCTYPE m [<!ENTITY % p SYSTEM "file:///etc/passwd"> %p;]>', '<?xml version="1.0" encoding="x"?>',
    '<?xml version="1.0" encoding="utf-16"?>', '<?xml version="1.0" encoding="gbk"?>', '<?xml version="9"?>',
    '<?xml version="1.0" encoding="utf-7"?>', '<?xml-stylesheet href="x"?>', "<!-- x -->", '<?xml version="1.0" encoding="cp037"?>',
)  # fmt: skip


def xml_tree(draw: random.Random, data: bytes) -> bytes:
    """Attributes and elements changed, gone, twice, renamed, nested deeply."""
    try:
        root = ElementTree.fromstring(data)
    except (ElementTree.ParseError, LookupError, ValueError):
        return xml_text(draw, data)
    for _ in range(draw.choice((1, 1, 1, 2, 4))):
        every = [] if len(data) > 200_000 else [(parent, child) for parent in root.iter() for child in parent]
        if not every:
            break
        parent, child = draw.choice(every)
        kind = draw.random()
        if kind < 0.4 and child.attrib:
            name = draw.choice(list(child.attrib))
            child.set(
                name,
                draw.choice((*_TEXTS, *_TEXTS, child.get(name, "") + " 1", draw.choice(NUMBERS), draw.choice(WORDS))),
            )
        elif kind < 0.55:
            child.set(draw.choice(_ATTRIBUTES), draw.choice(_TEXTS))
        elif kind < 0.6 and child.attrib:
            del child.attrib[draw.choice(list(child.attrib))]
        elif kind < 0.7:
            child.tag = draw.choice(_ELEMENTS)
        elif kind < 0.78:
            parent.remove(child)
        elif kind < 0.86:
            draw.choice(every)[0].append(_copy(child))
        elif kind < 0.96:
            new = ElementTree.SubElement(child, draw.choice(_ELEMENTS))
            for _ in range(draw.randrange(4)):
                new.set(draw.choice(_ATTRIBUTES), draw.choice(_TEXTS))
        else:
            inside = child
            for number in range(draw.choice((30, 300, 2000))):
                inside = ElementTree.SubElement(inside, child.tag, {"name": f"n{number}"})
    try:
        return ElementTree.tostring(root)
    except RecursionError:
        return data


def _copy(element: ElementTree.Element) -> ElementTree.Element:
    try:
        return copy.deepcopy(element)
    except RecursionError:
        return ElementTree.Element(element.tag, element.attrib)


def xml_text(draw: random.Random, data: bytes) -> bytes:
    """Declarations, entities and damaged tags."""
    text = re.sub(r"^\s*<\?xml[^>]*\?>", "", data.decode("utf-8", "replace"))
    kind = draw.randrange(4)
    if kind == 0:
        entity = draw.choice(("", "&l9;", "&x;", "&a1;", "&undefined;", "&#0;", "&#1114112;"))
        return (draw.choice(_PROLOGS) + text.replace('name="', f'name="{entity}', 1)).encode()
    if kind == 1:
        outside = draw.choice(("/etc/passwd", "../x.xml", "/dev/zero", "http://127.0.0.1:9/", "", "seed0.xml", "."))
        return text.replace("<worldbody", f'<include file="{outside}"/><worldbody', 1).encode()
    tags = list(re.finditer(r"<[^>]*>", text))
    if not tags:
        return data
    tag = draw.choice(tags)
    other = draw.choice(
        ("", "<", ">", "</", "<![CDATA[", tag.group() * 2, tag.group().rstrip("/>") + ' name="x" name="y">')
    )
    return (text[: tag.start()] + other + text[tag.end() :]).encode()


def xml_file(draw: random.Random, data: bytes) -> bytes:
    return _one_of(draw, data, ((xml_tree, 8), (xml_text, 2), (words, 1), (some_bytes, 1), (something_else, 1)))


# -------------------------------------------------------------------------------------------------------------- pickles


class Calls:
    """Pickles to a call of something that the reader must not make."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


CALLS = (
    Calls(os.system, _SHELL), Calls(eval, _PYTHON), Calls(exec, _PYTHON), Calls(subprocess.check_call, ["touch", CANARY]),
    Calls(open, CANARY, "w"), Calls(getattr, os, "system"), Calls(np.zeros, (3, 3)), Calls(np.save, CANARY, 1),
    Calls(bytearray, 10**6), Calls(str, 5), Calls(complex, 1, 2), Calls(np.frombuffer, b"12345678"), Calls(dict, [("a", 1)]),
)  # fmt: skip
_OPCODES = (
    b"N", b"(", b"0", b"1", b"2", b"}", b"]", b")", b"R", b"b", b"o", b"\x81", b"\x92", b"t", b"l", b"d", b"s", b"u", b"a",
    b"e", b".", b"h\x00", b"h\xff", b"q\x00", b"\x94", b"cos\nsystem\n", b"cbuiltins\neval\n", b"(S'" + _SHELL.encode() + b"'\ntR",
    b"\x8a\xff" + b"\xff" * 255, b"\x8b\xff\xff\xff\x7f", b"\x8d" + b"\xff" * 7 + b"\x7f", b"\x8e" + b"\xff" * 4 + b"\0" * 4,
    b"\x96" + b"\xff" * 4 + b"\0" * 4, b"\x97", b"\x98", b"\x82\x01", b"Px\n", b"Q", b"r\xff\xff\xff\x0f", b"j\xff\xff\xff\x0f",
    b"p268435455\n", b"g5\n", b"I99\n", b"I" + b"9" * 5000 + b"\n", b"L9L\n", b"Fnan\n", b"K\x05", b"M\xff\xff", b"J\xff\xff\xff\xff",
    b"G" + struct.pack(">d", float("inf")), b"\x88", b"\x89", b"\x8f", b"\x90", b"\x91", b"\x93", b"\x8c\x02os\x8c\x06system\x93",
    b"cnumpy\nndarray\n", b"cnumpy\ndtype\n", b"c_codecs\nencode\n", b"cnumpy\nload\n", b"ctorch\nload\n", b"ccollections\nOrderedDict\n",
    b"U\xff", b"T\xff\xff\xff\x7f", b"X\xff\xff\xff\x7f", b"B\xff\xff\xff\x7f", b"C\xff", b"\x95" + b"\xff" * 8, b"\x80\xff",
)  # fmt: skip


def pickle_opcodes(draw: random.Random, data: bytes) -> bytes:
    """Opcodes gone, twice, exchanged, put in, and their arguments changed."""
    starts: list[tuple[Any, Any, int]] = []
    try:
        for one in pickletools.genops(data):
            starts.append(one)
    except Exception:  # of many kinds
        pass
    if not starts:
        return some_bytes(draw, data)
    places = [place for _, _, place in starts] + [len(data)]
    parts = [data[begin:end] for begin, end in zip(places, places[1:], strict=False)]
    parts = [part for part, (op, _, _) in zip(parts, starts, strict=True) if op.name != "FRAME"]
    for _ in range(draw.choice((1, 1, 2, 3, 8))):
        if not parts:
            break
        at, kind = draw.randrange(len(parts)), draw.random()
        if kind < 0.15:
            del parts[at]
        elif kind < 0.3:
            parts.insert(at, draw.choice(parts))
        elif kind < 0.4:
            other = draw.randrange(len(parts))
            parts[at], parts[other] = parts[other], parts[at]
        elif kind < 0.75:
            parts.insert(at, draw.choice(_OPCODES))
        elif len(parts[at]) > 1:
            parts[at] = parts[at][:1] + draw.choice((draw.randbytes(len(parts[at]) - 1), parts[at][:0:-1], b"\xff" * 8))
    return b"".join(parts)


def odd_pickled(draw: random.Random, value: Any) -> Any:
    """What else a pickle can hold: calls, arrays of odd shapes and types."""
    if draw.random() < 0.25:
        return draw.choice(CALLS)
    if draw.random() < 0.5:
        return odd_array(draw, value)
    return odd_value(draw, value)


def _depth(value: Any, most: int = 9) -> int:
    """How deep lists are nested, at most ``most``; one that stands twice in another is looked at once."""
    if not isinstance(value, list | tuple) or not most:
        return 0
    once = {id(part): part for part in value}.values()
    return 1 + max((_depth(part, most - 1) for part in once), default=0)


def odd_array(draw: random.Random, value: Any) -> Any:
    """``value`` as an array of another shape or type, or another array."""
    with np.errstate(all="ignore"):
        try:
            if _depth(value) > 8:
                raise ValueError("forty lists of twice the same one: as an array it would fill the memory here")
            base = np.asarray(
                value, dtype=draw.choice((np.float64, np.float32, np.float16, np.int64, np.complex64, object))
            )
        except (TypeError, ValueError, OverflowError, RecursionError):
            base = np.zeros((3, 9))
        kind = draw.randrange(9)
        if kind == 0:
            return base.reshape(draw.choice(((-1,), (1, -1), (-1, 1), base.shape[::-1], (1, *base.shape))))
        if kind == 1:
            return base[..., None]
        if kind == 2:
            return base[:0]
        if kind == 3:
            return np.zeros(draw.choice(((), (0, 0), (2, 3, 4), (0,), (2, 0), (1,) * 20, (10**5, 9))))
        if kind == 4:
            return base.astype(draw.choice(("S5", "U5", "V8", "M8[s]", "m8[s]", bool, ">f8", "i1")), copy=True)
        if kind == 5 and base.size and base.dtype.kind == "f":
            base = np.array(base)
            base.flat[draw.randrange(base.size)] = draw.choice((np.nan, np.inf, 1e30, -1e30, 1e-40, 1e6))
            return base
        if kind == 6:
            return np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")])
        if kind == 7:
            return np.asfortranarray(base)
        return base


def pickle_file(draw: random.Random, data: bytes) -> bytes:
    def tree(draw: random.Random, data: bytes) -> bytes:
        try:
            found = pickle.loads(data)
            for _ in range(draw.choice((1, 1, 2))):
                found = odd_tree(draw, found, odd_pickled)
            return pickle.dumps(found, protocol=draw.randrange(6))
        except Exception:  # no longer what it was
            return pickle_opcodes(draw, data)

    # only what this file has made itself is unpickled, before it is damaged
    first = tree if draw.random() < 0.5 else pickle_opcodes
    data = first(draw, data)
    return (
        data
        if draw.random() < 0.6
        else _one_of(draw, data, ((pickle_opcodes, 3), (some_bytes, 2), (something_else, 1)))
    )


# ------------------------------------------------------------------------------------------------------------- archives


def archive(members: Sequence[tuple[str, bytes]], method: int = zipfile.ZIP_STORED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as file:
        for name, content in members:
            file.writestr(zipfile.ZipInfo(name), content, method)
    return out.getvalue()


def zip_members(draw: random.Random, data: bytes, member: Callable[[random.Random, str, bytes], bytes]) -> bytes:
    """Members of an archive changed by ``member``, gone, twice, renamed, or a bomb; then perhaps its own structure."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as file:
            members = [(info.filename, file.read(info)) for info in file.infolist()]
    except Exception:  # already damaged
        return some_bytes(draw, data)
    for _ in range(draw.choice((1, 1, 2))):
        if not members:
            break
        at, kind = draw.randrange(len(members)), draw.random()
        name, content = members[at]
        if kind < 0.65:
            members[at] = name, member(draw, name, content)
        elif kind < 0.72:
            del members[at]
        elif kind < 0.8:
            other = draw.choice(
                (name, name.upper(), "x", "../" + name, "/" + name, name + "/", "", "x.npy", "ü", "a/b/c", ".data/x")
            )
            members.append((other, content))
        elif kind < 0.9:
            members[at] = (
                draw.choice((name.replace(".npy", ""), "x" + name, name + ".npy", "constants.pkl", "code/x.py")),
                content,
            )
        elif kind < 0.93:
            members[at] = name, content[:200] + bytes(draw.choice((10**5, 3 * 10**7)))
        else:
            members[at] = name, content[: draw.randrange(len(content) + 1)]
    found = archive(
        members, draw.choice((zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA))
    )
    if draw.random() < 0.25:  # what the table of contents says of a member: flags, method, sizes, attributes, offset
        entries = [match.start() for match in re.finditer(b"PK\x01\x02", found)]
        at = draw.choice(entries or [0]) + draw.choice((8, 10, 16, 20, 24, 28, 38, 42))
        found = (
            found[:at]
            + draw.choice((b"\xff\xff", b"\x01\x00", b"\0\0", b"\x63\0", b"\xff\xff\xff\x7f"))
            + found[at + 2 :]
        )
    return found


def npy_header(draw: random.Random, content: bytes) -> bytes:
    """A header of numpy's format with another type, shape, order, version or text."""
    body = content.partition(b"\n")[2]
    descr = draw.choice(
        (
            "'<f8'",
            "'<f4'",
            "'>f8'",
            "'|O'",
            "'<U5'",
            "'|S3'",
            "'|V8'",
            "'<c16'",
            "'<i1'",
            "'x'",
            "[('a', '<f8')]",
            "'<f'",
            "5",
            "'|b1'",
        )
    )
    shape = draw.choice(
        (
            "(3, 9)",
            "(27,)",
            "()",
            "(0, 9)",
            "(10000000000, 9)",
            "(99999999999999999999,)",
            "(-1, 9)",
            "(3, 9.0)",
            "[3, 9]",
            "(True, 9)",
        )
        + ("(4611686018427387905, 4)", "(2, 8)", "(1000000, 1000)", "(0, 10000000000000000000)", "None", "(" * 200)
    )
    order = draw.choice(("True", "False", "0", "None"))
    text = f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}"
    if draw.random() < 0.2:
        text = draw.choice(
            ("", "{}", _PYTHON, "{'descr': " + "[" * 500, text + " " * 70_000, text + ";" + _PYTHON, "\0", text[:-9])
        )
    major = draw.choice((1, 1, 1, 2, 3, 4, 0, 255))
    header = text.encode() + b"\n"
    size = struct.pack("<H", min(len(header), 65535)) if major == 1 else struct.pack("<I", len(header))
    return b"\x93NUMPY" + bytes((major, 0)) + size + header + body


def npy_object_file(draw: random.Random, data: bytes) -> bytes:
    """A ``.npy`` around a pickle."""
    head, line, body = data.partition(b"\n")
    if draw.random() < 0.2:
        return npy_header(draw, data)
    return head + line + pickle_file(draw, body)


def joblib_file(draw: random.Random, data: bytes) -> bytes:
    """A pickle of joblib, whose arrays stand in the stream; or what pickle makes of the same table."""
    if draw.random() < 0.4:
        import joblib

        found = joblib.load(io.BytesIO(data))
        if draw.random() < 0.5:
            return pickle_file(draw, pickle.dumps(found, protocol=draw.randrange(2, 6)))
        out = io.BytesIO()
        try:
            found = odd_tree(draw, found, odd_pickled)
            joblib.dump(found, out, compress=draw.choice((0, 0, 3)), protocol=draw.randrange(2, 6))
        except Exception:  # what cannot be pickled
            return pickle_opcodes(draw, data)
        return out.getvalue()
    return _one_of(draw, data, ((pickle_opcodes, 3), (some_bytes, 4), (something_else, 1)))


def npz_file(draw: random.Random, data: bytes) -> bytes:
    def member(draw: random.Random, name: str, content: bytes) -> bytes:
        kind = draw.random()
        if kind < 0.4:
            return npy_header(draw, content)
        if kind < 0.8:
            try:
                value = odd_pickled(draw, np.load(io.BytesIO(content)))
                out = io.BytesIO()
                np.save(out, value, allow_pickle=True)
                return out.getvalue()
            except Exception:  # no longer an array
                return npy_header(draw, content)
        return some_bytes(draw, content)

    if draw.random() < 0.1:
        return _one_of(draw, data, ((some_bytes, 3), (something_else, 1)))
    return zip_members(draw, data, member)


def torch_file(draw: random.Random, data: bytes) -> bytes:
    """A file of torch.save: the values themselves, the pickle inside, its numbers, its archive."""
    import torch

    def odd(draw: random.Random, value: Any) -> Any:
        if not isinstance(value, torch.Tensor) or draw.random() < 0.3:
            return draw.choice(CALLS) if draw.random() < 0.2 else odd_value(draw, value)
        changes: Sequence[Callable[[], Any]] = (
            lambda: value.double(), lambda: value.half(), lambda: value.long(), lambda: value.bool(), lambda: value[..., None],
            lambda: value.flatten(), lambda: value[:0], lambda: value.to_sparse(), lambda: value.to("meta"), lambda: value * float("nan"),
            lambda: torch.zeros(1).expand(10**9), lambda: torch.zeros(1).expand(value.shape), lambda: value.t(), lambda: value.tolist(),
            lambda: torch.nn.Parameter(value), lambda: value.to(torch.complex64), lambda: value.numpy(), lambda: value.to(torch.bfloat16),
            lambda: torch.quantize_per_tensor(value, 0.1, 0, torch.qint8), lambda: torch.Size([2]), lambda: torch.float64,
            lambda: torch.nested.nested_tensor([value, value]),
        )  # fmt: skip
        try:
            return draw.choice(changes)()
        except Exception:  # does not apply to this one
            return odd_value(draw, value)

    def tree(draw: random.Random, data: bytes) -> bytes:
        out = io.BytesIO()
        try:
            found = torch.load(io.BytesIO(data), weights_only=True)
            for _ in range(draw.choice((1, 1, 2))):
                found = odd_tree(draw, found, odd)
            torch.save(found, out, _use_new_zipfile_serialization=draw.random() < 0.9)
        except Exception:  # no longer what torch reads or writes
            return some_bytes(draw, data)
        return out.getvalue()

    def member(draw: random.Random, name: str, content: bytes) -> bytes:
        return pickle_opcodes(draw, content) if name.endswith(".pkl") else some_bytes(draw, content)

    kind = draw.random()
    if kind < 0.5:
        return tree(draw, data)
    if kind < 0.9:
        return zip_members(draw, data, member)
    return _one_of(draw, data, ((some_bytes, 3), (something_else, 1)))
