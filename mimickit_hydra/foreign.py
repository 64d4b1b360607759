"""Reads files that may come from anywhere: damaged, of another kind, or made to harm whoever reads them.

Whatever is wrong is one UserError that names the file. Nothing that a file says is executed, what a small file unfolds
to is bounded, and only plain files are opened: a pipe would keep its reader waiting, and a device has no end.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO
from xml.etree import ElementTree

from mimickit_hydra.errors import UserError

MAX_TEXT = 2**26  # bytes of a text file, many times what any of them has
MAX_DEPTH = 64  # lists and tables inside each other, and elements of XML
_ROOM = 10_000  # values that aliases may add to those that stand in a YAML file
_DECIMAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def one_line(error: BaseException) -> str:
    """The beginning of an error's message, in one line."""
    text = " ".join(str(error).split())
    return text[:200] + " ..." if len(text) > 200 else text or type(error).__name__


def check_plain_file(path: Path) -> int:
    """The size in bytes of a plain file. UserError for what is none or cannot be looked at."""
    try:
        found = os.stat(path)
    except OSError as error:
        raise UserError(f"{path}: {_reason(error)}") from None
    except ValueError as error:  # a zero byte in the name
        raise UserError(f"{str(path)!r}: no such file ({error})") from None
    if not stat.S_ISREG(found.st_mode):
        raise UserError(
            "{}: is {}, not a file".format(path, "a folder" if stat.S_ISDIR(found.st_mode) else "no plain file")
        )
    return found.st_size


def open_plain(path: Path) -> BinaryIO:
    """A plain file, open to be read. UserError for what is none or cannot be opened: a pipe would wait for ever."""
    check_plain_file(path)
    try:
        return open(path, "rb")
    except OSError as error:
        raise UserError(f"{path}: {_reason(error)}") from None


def _reason(error: OSError) -> str:
    return "no such file" if isinstance(error, FileNotFoundError) else f"cannot be read ({error.strerror or error})"


def read_bytes(path: Path, at_most: int = MAX_TEXT) -> bytes:
    """The content of a plain file. UserError where there is none, it is too large, or another one is in its place."""
    try:
        with open_plain(path) as file:
            size = os.fstat(file.fileno()).st_size
            if size > at_most:
                raise UserError(f"{path}: has {size:,} bytes; at most {at_most:,} are read")
            data = file.read(at_most)
    except OSError as error:
        raise UserError(f"{path}: {_reason(error)}") from None
    instead = stands_for(data)
    if instead:
        raise UserError(f"{path}: is {instead}")
    return data


def sha256_of(file: Path) -> str:
    """The hash of a plain file's content, as hexadecimal digits. UserError if it cannot be read."""
    try:
        with open_plain(file) as content:
            digest = hashlib.sha256()
            while block := content.read(1 << 20):
                digest.update(block)
            return digest.hexdigest()
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror or error})") from None


def stands_for(data: bytes) -> str | None:
    """What a download has left in a file's place: a Git LFS pointer or a web page; None for anything else."""
    begin = data[:1000].lstrip(b"\xef\xbb\xbf \t\r\n")
    if begin.startswith(b"version https://git-lfs"):
        return "a pointer of Git LFS, not the file itself; bring it with: git lfs pull"
    if begin[:14].lower() == b"<!doctype html" or begin[:5].lower() == b"<html":
        return "a web page (HTML), not the file itself; download the raw file"
    return None


def read_text(path: Path, at_most: int = MAX_TEXT) -> str:
    """UTF-8 text, without the mark that some editors put first and with plain line ends."""
    return decode(read_bytes(path, at_most), path)


def decode(data: bytes, path: Path) -> str:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(f"{path}: line {line} is not text in UTF-8") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def number(text: str) -> float:
    """A decimal number that is finite; ValueError for anything else that Python takes for one, such as nan and 1_0."""
    value = float(text) if _DECIMAL.fullmatch(text) else float("nan")
    if not abs(value) < float("inf"):
        raise ValueError(f"{text[:60]!r} is not a finite number")
    return value


# --------------------------------------------------------------------------------------------------------- JSON and XML


def read_json(path: Path) -> Any:
    """The value in a JSON file."""
    return parse_json(read_text(path), path)


def parse_json(text: str, path: Path) -> Any:
    """The value of a JSON text; ``path`` is what messages name."""
    try:
        return json.loads(text)
    except RecursionError:
        raise UserError(f"{path}: is nested too deeply") from None
    except ValueError as error:
        raise UserError(f"{path}: not valid JSON ({one_line(error)})") from None


def read_xml(path: Path) -> Any:
    """The root element of an XML file. A document type, in which entities are defined, is refused."""
    data = read_bytes(path)
    builder = ElementTree.TreeBuilder()
    parser = ElementTree.XMLParser(target=_Bounded(builder))
    try:
        parser.feed(data)
        return parser.close()
    except ElementTree.ParseError as error:
        raise UserError(f"{path}: not well-formed XML ({one_line(error)})") from None
    except (ValueError, LookupError) as error:  # an encoding that there is not, or of several bytes
        raise UserError(f"{path}: cannot be read ({one_line(error)})") from None


class _Bounded:
    """A target for the parser that raises ValueError for what no model needs."""

    def __init__(self, builder: Any) -> None:
        self._builder, self._depth = builder, 0
        self.data, self.close = builder.data, builder.close

    def start(self, tag: str, attributes: dict[str, str]) -> Any:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise ValueError(f"elements are nested more than {MAX_DEPTH} deep")
        return self._builder.start(tag, attributes)

    def end(self, tag: str) -> Any:
        self._depth -= 1
        return self._builder.end(tag)

    def doctype(self, name: str, public: str, system: str) -> None:
        raise ValueError("a document type (<!DOCTYPE>) is not supported")


# ----------------------------------------------------------------------------------------------------------------- YAML


def read_yaml(path: Path, **options: Any) -> Any:
    """The value in a YAML file; ``options`` as for :func:`parse_yaml`."""
    return parse_yaml(read_text(path), path, **options)


def parse_yaml(
    text: str,
    path: Path,
    *,
    loader: Any = None,
    repeated: Callable[[str, int], None] | None = None,
    seen: Callable[[Any, Any], None] | None = None,
) -> Any:
    """The value of a YAML text; ``path`` is what messages name.

    ``loader`` is a class of PyYAML's (default: the safe one, in C where it is installed). A key that stands twice in a
    table is refused, or told to ``repeated`` with its line, and the last one counts. ``seen`` is shown PyYAML's nodes
    and the loader that has read them.
    """
    return _yaml(text, path, loader, repeated, seen, values=True)


def yaml_nodes(text: str, path: Path) -> Any:
    """PyYAML's nodes of a text, with their lines; None for an empty one."""
    return _yaml(text, path, None, None, None, values=False)


def _yaml(
    text: str,
    path: Path,
    loader: Any,
    repeated: Callable[[str, int], None] | None,
    seen: Callable[[Any, Any], None] | None,
    values: bool,
) -> Any:
    import yaml

    loading = None
    try:
        loading = (loader or getattr(yaml, "CSafeLoader", yaml.SafeLoader))(text)
        node = loading.get_single_node()
        if node is not None:
            _Nodes(path, repeated).check(node)
        if not values or node is None:
            return node
        value = loading.construct_document(node)
        if seen is not None:
            seen(node, loading)
        return value
    except UserError:
        raise
    except RecursionError:
        raise UserError(f"{path}: is nested too deeply") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f":{mark.line + 1}" if mark is not None else ""
        said = getattr(error, "problem", None) or error
        raise UserError(f"{path}{where}: not valid YAML: {one_line(Exception(said))}") from None
    except Exception as error:  # a tag whose text is not what it says: of nearly any kind
        raise UserError(f"{path}: not valid YAML: {one_line(error)}") from None
    finally:
        if loading is not None:
            loading.dispose()


class _Nodes:
    """Checks what a YAML file unfolds to: aliases can make a cycle, or millions of values of a few lines."""

    def __init__(self, path: Path, repeated: Callable[[str, int], None] | None) -> None:
        self.path, self.repeated = path, repeated
        self.sizes: dict[int, int] = {}  # of what has been looked at, by id; 0 while it is open

    def check(self, node: Any) -> None:
        size = self.size(node, "", 0)
        if size > 10 * len(self.sizes) + _ROOM:
            raise UserError(f"{self.path}: its aliases (&, *) unfold to {float(size):.3g} values")

    def size(self, node: Any, prefix: str, depth: int) -> int:
        known = self.sizes.get(id(node))
        if known == 0:
            raise UserError(f"{self.path}:{node.start_mark.line + 1}: contains itself")
        if known is not None:
            return known
        if depth > MAX_DEPTH:
            raise UserError(f"{self.path}: is nested more than {MAX_DEPTH} deep")
        self.sizes[id(node)] = 0
        total = 1
        if node.id == "sequence":
            total += sum(self.size(item, prefix, depth + 1) for item in node.value)
        elif node.id == "mapping":
            seen: list[str] = []
            for key, value in node.value:
                name = prefix + str(key.value) if key.id == "scalar" else prefix
                total += self.size(key, name, depth + 1) + self.size(value, name + ".", depth + 1)
                seen.append(name)
            self._check_keys(node, seen)
        self.sizes[id(node)] = total
        return total

    def _check_keys(self, node: Any, names: list[str]) -> None:
        if len(set(names)) == len(names):
            return
        for at, (key, _) in enumerate(node.value):
            if names[at] in names[:at]:
                line = key.start_mark.line + 1
                if self.repeated is None:
                    raise UserError(f"{self.path}:{line}: not valid YAML: found duplicate key {names[at][:100]}")
                self.repeated(names[at], line)


# ------------------------------------------------------------------------------------------------------------- archives


def check_archive(path: Path, at_most: int | None = None) -> list[str]:
    """The names in a zip archive that is whole and unfolds to at most ``at_most`` bytes (default: to its own size).

    UserError for a member that is damaged, encrypted, packed in a way that Python cannot read, or a bomb.
    """
    size = check_plain_file(path)
    if size == 0:
        raise UserError(f"{path}: is empty")
    with open_plain(path) as file:
        instead = stands_for(file.read(1000))
    if instead:
        raise UserError(f"{path}: is {instead}")
    try:
        with zipfile.ZipFile(path) as archive:
            unfolded = sum(member.file_size for member in archive.infolist())
            if unfolded > (size if at_most is None else at_most):
                raise UserError(f"{path}: its {size:,} bytes unfold to {unfolded:,}, more than expected")
            broken = archive.testzip()
            names = archive.namelist()
    except UserError:
        raise
    except zipfile.BadZipFile as error:
        raise UserError(f"{path}: truncated or not an archive ({one_line(error)})") from None
    except Exception as error:  # zlib.error and what else a flipped bit can cause
        raise UserError(f"{path}: damaged ({one_line(error)})") from None
    if broken is not None:
        raise UserError(f"{path}: damaged, the checksum of {broken[:100]!r} does not match")
    if len(set(names)) < len(names):
        raise UserError(f"{path}: damaged, it holds {max(names, key=names.count)[:100]!r} twice")
    return names


def read_torch(path: Path, *, map_location: Any = "cpu", mmap: bool = False, enums: Sequence[str] = ()) -> Any:
    """What ``torch.save`` wrote: tensors and plain values. UserError for one that holds or asks for more.

    Members of the ``enums``, full names of classes that need not be there, are read as their values, which are text.
    """
    import pickle

    import torch

    names = check_archive(path)  # torch does not compress
    try:
        with zipfile.ZipFile(path) as archive:
            for name in names:
                if name.rpartition("/")[2] == "data.pkl":
                    check_pickle(archive.read(name))
        torch.serialization.add_safe_globals([_stand_in(name) for name in enums])
        content = torch.load(path, map_location=map_location, weights_only=True, mmap=mmap or None)
        if _any_meta(content):
            raise ValueError("it holds a tensor without numbers")
        return content
    except pickle.UnpicklingError as error:
        match = re.search(r"(?:GLOBAL|Unsupported (?:global|class|operand))[:\s]*(?:GLOBAL)?\s*([\w.]+)", str(error))
        what = match.group(1) if match else one_line(error)
        raise UserError(f"{path}: refused, it holds more than tensors and plain values: {what}") from None
    except MemoryError:
        raise UserError(f"{path}: not enough memory to read it") from None
    except Exception as error:  # torch raises many kinds for damaged files
        raise UserError(f"{path}: damaged ({one_line(error)})") from None


def _any_meta(content: Any) -> bool:
    """Whether a tensor in what torch read has a shape but no numbers, which torch writes too."""
    import torch

    left, seen = [content], set()
    while left:
        value = left.pop()
        if isinstance(value, torch.Tensor):
            if value.is_meta:
                return True
        elif isinstance(value, dict | list | tuple | set) and id(value) not in seen:
            seen.add(id(value))
            left.extend(value.values() if isinstance(value, dict) else value)
    return False


def _stand_in(enum: str) -> Any:
    """What torch calls in place of an enum's class, which it knows by these two names."""

    def text(value: Any) -> str:
        return value if isinstance(value, str) else ""

    text.__module__, _, text.__qualname__ = enum.rpartition(".")
    text.__name__ = text.__qualname__
    return text


# -------------------------------------------------------------------------------------------------------------- pickles

_TUPLES = b"t\x85\x86\x87"
_MAX_TUPLES = 50_000  # Python looks into tuples without end for the hash of a key: 150,000 inside each other crash it
# opcodes of fixed length that cost nothing: runs of them are passed over at once
_RUN = re.compile(
    rb"(?:(?:G.{8})+|[]N(012})RbosuaedlQ\x81\x88\x89\x92\x93\x94]|[Kqh].|M..|[Jj].{4}){1,1000}", re.DOTALL
)


def check_pickle(data: bytes, start: int = 0) -> None:
    """ValueError for a pickle that would take memory or the interpreter itself down, whatever it is read with."""
    import io
    import pickletools

    known: Any = pickletools.__dict__["code2op"]
    stream = io.BytesIO(data)
    place, tuples = start, 0
    while True:
        while run := _RUN.match(data, place):
            place = run.end()
        stream.seek(place)
        code = stream.read(1)
        if code in (b"", b"."):
            return
        op = known.get(code.decode("latin-1"))
        if op is None:
            raise ValueError(f"unknown opcode {code!r}")
        argument: Any = op.arg.reader(stream) if op.arg is not None else None
        if code in b"rp" and int(argument) > len(data):
            raise ValueError(f"a memo of {int(argument):,} entries")
        tuples += code in _TUPLES
        if tuples > _MAX_TUPLES:
            raise ValueError(f"more than {_MAX_TUPLES:,} tuples")
        place = stream.tell()
