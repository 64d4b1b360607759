"""The lines for files of a user's that are written as a command line is, or choose a group in no way Hydra knows."""

from __future__ import annotations

import re

_NO_MATCH = re.compile(r"(?:Could not override|No earlier Group Default for) '([^'@]+)(?:@([^']+))?'")  # Hydra 1.3, 1.4
_WORD_FOR_TABLE = re.compile(r"str is not a subclass of (\w+)\. value: (\S+)")
_TWICE = re.compile(r"Multiple values for (\S+)\. To override a value use 'override [^:]+: (\S+)'")
NO_KEY = re.compile(r"(?:Key|Attribute) '([^']*)'(?: is)? not in")


def misplaced(text: str, where: str, key: str) -> str:
    """What a file has to say instead; empty where ``text``, Hydra's error, is about something else.

    Args:
        text: the error with its causes.
        where: the file, as a message begins; empty where Hydra does not name one.
        key: the whole key that the error is about; empty where Hydra does not name one.
    """
    from mimickit_hydra.config.groups import groups

    if match := _TWICE.search(text):
        group, option = match.groups()
        return f"{where}{group}: chosen twice; the file of {option} has to write: - override /{group}: {option}"
    if not where:
        return ""
    if match := _NO_MATCH.search(text):
        return _unmatched(match[1], match[2] or "", where)
    if match := _WORD_FOR_TABLE.search(text):
        kind, option = match[1].lower(), match[2]
        named = [name for name, group in groups().items() if name in kind and option in group.option_names()]
        return _in_the_list(where, named[0], option) if named else ""
    match = NO_KEY.search(text)
    return _unknown(match[1], where, key) if match else ""


def _unknown(name: str, where: str, key: str) -> str:
    """The line for a key that is no key, where it is known what was meant."""
    from mimickit_hydra.config.groups import groups

    if name == key and name in groups():
        return _in_the_list(where, name, "OPTION")
    if name == "default":
        return f"{where}default: unknown key; nearest: defaults"
    if "." in name:
        nested = name.replace(".", ": {") + ": VALUE" + "}" * name.count(".")
        return f"{where}{name}: a file nests its keys: {nested}"
    return ""


def _in_the_list(where: str, group: str, option: str) -> str:
    return f"{where}{group}: a group is chosen in the file's list of defaults: - override /{group}: {option}"


def _unmatched(name: str, package: str, where: str) -> str:
    """The line for an ``override`` in a file that meets nothing: of a file in a package, or with a relative name."""
    from mimickit_hydra.config.groups import groups

    last = name.rpartition("/")[2]
    if name in groups() and package.endswith(f".{name}"):
        return f"{where}override /{name}: a file that chooses a group begins with: # @package _global_"
    if last in groups() and name not in groups():
        return f"{where}override {last}: meets nothing; write it with a slash: - override /{last}: OPTION"
    return ""
