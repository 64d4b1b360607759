"""Hydra's config loader with less to do: the same configs, sooner.

YAML is parsed by the C library and once a file; nodes that nobody else holds are moved instead of copied; and the table
of choices, which Hydra makes for every file, is made for those that interpolate one. Error messages stay Hydra's.

One thing is other than Hydra's: a key of text, and a group, gets the text that was typed (see :mod:`.typed`).
"""

from __future__ import annotations

import copy
import functools
import os
import posixpath
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from hydra._internal import defaults_list as _hydra_defaults
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import CachingConfigRepository, ConfigRepository
from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigResult
from omegaconf import DictConfig, OmegaConf, flag_override
from omegaconf.errors import OmegaConfBaseException

from mimickit_hydra import foreign
from mimickit_hydra.config import typed
from mimickit_hydra.errors import UserError

try:
    from omegaconf._yaml import get_yaml_loader  # OmegaConf 2.4, with the C library already
except ImportError:
    from omegaconf._utils import get_yaml_loader

_defaults_list: Any = _hydra_defaults
if _choices := getattr(_defaults_list, "_create_interpolation_map", None):  # of Hydra 1.3

    def _choices_where_needed(overrides: Any, listed: Any, self_added: bool, choices: Any = _choices) -> Any:
        interpolates = any(default.is_interpolation() for default in listed)
        return choices(overrides, listed, self_added) if interpolates else None

    _defaults_list._create_interpolation_map = _choices_where_needed

_HELPER: Any = ConfigRepository.__new__(ConfigRepository)  # for a method that needs no sources


@dataclass(frozen=True)
class File:
    """A YAML file, parsed."""

    header: dict[str, str | None]
    content: Any  # without the defaults list
    defaults: Any  # that list, as Hydra's objects
    scalars: tuple[typed.Scalar, ...]


@dataclass
class Result(ConfigResult):
    """A config with the scalars that its file does not write as text."""

    scalars: tuple[typed.Scalar, ...] = ()


class Source(FileConfigSource):
    """A folder of YAML files."""

    def load_config(self, config_path: str) -> ConfigResult:
        path = os.path.join(self.path, self._normalize_file_name(config_path))
        try:
            stat = os.stat(path)
            file = _parsed(path, stat.st_mtime_ns, stat.st_size)
        except OSError:
            return super().load_config(config_path)  # says that there is none
        except (ValueError, TypeError, AttributeError) as error:  # of the header or the defaults list
            if str(error) == "no defaults list":
                return super().load_config(config_path)  # says what it must be
            raise UserError(f"{path}: {foreign.one_line(error)}") from None
        if not isinstance(file.content, (dict, list)):
            raise UserError(f"{path}: found {type(file.content).__name__}, must be a table of keys")
        try:
            config = OmegaConf.create(file.content)
        except (OmegaConfBaseException, ValueError) as error:
            raise UserError(f"{path}: {foreign.one_line(error)}") from None
        header, folder = dict(file.header), f"file://{self.path}"
        return Result(self.provider, folder, config, header, defaults_list=file.defaults, scalars=file.scalars)

    def is_config(self, config_path: str) -> bool:
        return os.path.isfile(os.path.join(self.path, self._normalize_file_name(config_path)))


@functools.lru_cache(maxsize=4096)
def _parsed(path: str, mtime: int, size: int) -> File:
    text = foreign.read_text(Path(path))
    content, scalars = parse_yaml(text, Path(path))
    listed = content.pop("defaults", []) if isinstance(content, dict) else []
    if not isinstance(listed, list):
        raise ValueError("no defaults list")
    for scalar in scalars:
        if scalar.path[:1] == ("defaults",):
            _set(listed, scalar.path[1:], scalar.text)
    defaults = ConfigRepository._create_defaults_list(_HELPER, path, OmegaConf.create(listed))
    return File(Source._get_header_dict(text[:512]), content, defaults, scalars)


def parse_yaml(text: str, path: Path) -> tuple[Any, tuple[typed.Scalar, ...]]:
    """What OmegaConf reads in a YAML text (an empty one is a table), and the scalars whose text that does not keep."""
    scalars: list[typed.Scalar] = []
    content = foreign.parse_yaml(
        text, path, loader=yaml_loader(), seen=lambda node, loader: scalars.extend(typed.of_yaml(node, loader))
    )
    return content or {}, tuple(scalars)


def _set(content: Any, path: tuple[str | int, ...], text: str) -> None:
    for part in path[:-1]:
        content = content[part]
    content[path[-1]] = text


@functools.cache
def yaml_loader() -> Any:
    """OmegaConf's rules of YAML, in the C library where it is installed."""
    rules = get_yaml_loader()
    if not hasattr(yaml, "CSafeLoader") or issubclass(rules, yaml.CSafeLoader):
        return rules

    class Loader(yaml.CSafeLoader):
        yaml_implicit_resolvers = rules.yaml_implicit_resolvers
        yaml_constructors = rules.yaml_constructors

    return Loader


class Repository(ConfigRepository):
    """Looks configs up in all sources."""

    def initialize_sources(self, config_search_path: Any) -> None:
        super().initialize_sources(config_search_path)
        self.sources = [_as_folder(source) for source in self.sources]

    def load_config(self, config_path: str) -> ConfigResult | None:
        source = self._find_object_source(config_path, ObjectType.CONFIG)
        if isinstance(source, Source):
            found = source.load_config(config_path)
            if found.defaults_list is not None:
                return found
        return super().load_config(config_path)

    def __deepcopy__(self, memo: Any) -> Repository:
        """A copy that can be given other sources; the sources themselves never change."""
        found = copy.copy(self)
        found.sources = list(self.sources)
        return found


def _as_folder(source: Any) -> Any:
    """A source of files, also of those in a package, as :class:`Source`."""
    if source.scheme() == "pkg":
        folder = _folder_of(source.path)
        return Source(source.provider, folder) if folder else source
    return Source(source.provider, source.path) if source.scheme() == "file" else source


@functools.cache
def _folder_of(package: str) -> str:
    from importlib.util import find_spec

    try:
        spec = find_spec(package)
    except (ImportError, ValueError):
        return ""
    folders = list(spec.submodule_search_locations or ()) if spec else []
    return folders[0] if len(folders) == 1 and os.path.isdir(folders[0]) else ""


class Loader(ConfigLoaderImpl):
    """Composes configs."""

    def __init__(self, config_search_path: Any) -> None:
        super().__init__(config_search_path)
        self.repository = Repository(config_search_path)
        self._scalars: list[typed.Scalar] = []
        self._moves = False

    def _compose_config_from_defaults_list(self, defaults: Any, repo: Any) -> Any:
        self._scalars = []
        paths = [default.config_path for default in defaults]
        self._repeated = {path for path in paths if paths.count(path) > 1}  # in several packages
        cfg = OmegaConf.create()
        try:
            with flag_override(cfg, "no_deepcopy_set_nodes", True):
                cfg.merge_with(*(self._load_single_config(default, repo).config for default in defaults))
        except OmegaConfBaseException:  # file by file, to say in which
            try:
                return super()._compose_config_from_defaults_list(defaults, CachingConfigRepository(repo.delegate))
            except Exception as error:
                error.scalars = self._scalars  # type: ignore[attr-defined]  # a message shows what was typed
                raise
        typed.keep(cfg, self._scalars)
        _strip_defaults(cfg)
        return cfg

    def _load_single_config(self, default: Any, repo: Any) -> ConfigResult:
        self._moves = default.config_path not in self._repeated
        return super()._load_single_config(default, repo)

    def _load_configuration_impl(self, config_name: str | None, overrides: list[str], *args: Any, **kwargs: Any) -> Any:
        cfg = super()._load_configuration_impl(config_name, overrides, *args, **kwargs)
        for group, option in cfg.hydra.runtime.choices.items():
            _check_name(group, option)
        typed.keep(cfg, (scalar for parsed in self._overrides for scalar in typed.of_override(parsed)))
        for parsed in self._overrides:
            if parsed._value == {} and (table := OmegaConf.select(cfg, parsed.key_or_group)):
                names = ", ".join(map(str, table))
                raise UserError(f"{parsed.input_line}: changes nothing: what is in a table stays; it has {names}")
        return cfg

    def _parse_overrides_and_create_caching_repo(self, *args: Any, **kwargs: Any) -> Any:
        parsed, repo = super()._parse_overrides_and_create_caching_repo(*args, **kwargs)
        for override in parsed:
            name, value, text = override.key_or_group, override._value, str(override.input_line)
            if isinstance(value, (bool, int, float, list)) and self.repository.group_exists(name):
                override._value = chosen = typed.as_text(text)
                if isinstance(value, list) and not name.startswith("hydra/"):  # Hydra lets the last one win
                    listed = ",".join(map(str, chosen))
                    raise UserError(f"{text}: must be one option; one run after the other: --multirun {name}={listed}")
            if self.repository.group_exists(name):
                _check_name(name, override._value)
        last = {override.get_key_element(): override for override in parsed}  # of a key that is given twice
        self._overrides = list(last.values())
        return parsed, repo

    def _embed_result_config(self, ret: ConfigResult, package_override: str | None) -> ConfigResult:  # type: ignore[override]
        package = ret.header["package"] if package_override is None else package_override
        if isinstance(ret, Result):
            self._scalars += [scalar.below(package) for scalar in ret.scalars]
        if not package:
            return ret
        cfg = OmegaConf.create()
        with flag_override(cfg, "no_deepcopy_set_nodes", self._moves):
            OmegaConf.update(cfg, package, ret.config, merge=False)
        ret = copy.copy(ret)
        ret.config = cfg
        return ret


def _check_name(group: str, option: Any) -> None:
    """UserError for another spelling of an option, which presets for it would not know: ``motion=./walk.yaml``."""
    name = posixpath.normpath(option.removesuffix(".yaml")) if isinstance(option, str) and option else option
    if name != option:
        raise UserError(f"{group}={option}: must be the name of an option; write {group}={name}")


def _strip_defaults(node: Any) -> None:
    """Take out the defaults lists that Hydra has marked in dataclasses."""
    if not isinstance(node, DictConfig) or node._is_missing() or node._is_none():
        return
    if node._get_node_flag("HYDRA_REMOVE_TOP_LEVEL_DEFAULTS"):
        with flag_override(node, ["readonly", "struct"], False):
            node._set_flag("HYDRA_REMOVE_TOP_LEVEL_DEFAULTS", None)
            node.pop("defaults", None)
    for _, child in node.items_ex(resolve=False):
        _strip_defaults(child)
