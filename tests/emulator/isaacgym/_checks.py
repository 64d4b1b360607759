"""Every call against the published signatures, where the package of stubs is installed."""

import functools
import numbers

import isaacgym_stubs

_PATH = isaacgym_stubs.find_stub()
STUB = isaacgym_stubs.load_stub(_PATH) if _PATH else None
_PLAIN = {"int": numbers.Integral, "float": numbers.Real, "str": str, "bool": bool, "List": (list, tuple)}


def checked(cls):
    """Wrap the public methods of the emulated ``Gym``; a method that the real one lacks is our mistake."""
    if STUB is None:
        return cls
    known = STUB.classes[cls.__name__].methods
    for name, method in list(vars(cls).items()):
        if not name.startswith("_"):
            if name not in known:
                raise TypeError("emulated isaacgym: {}.{} is not in the stubs".format(cls.__name__, name))
            setattr(cls, name, _binding(name, method, known[name]))
    return cls


def fields_exist(cls):
    """Check that an emulated structure invents no field."""
    if STUB is not None:
        extra = set(cls._defaults) - set(STUB.classes[cls.__name__].fields)
        if extra:
            raise TypeError("emulated isaacgym: {} has no {}".format(cls.__name__, ", ".join(sorted(extra))))
    return cls


def _binding(name, method, signatures):
    @functools.wraps(method)
    def call(self, *args, **kwargs):
        problems = []
        for signature in signatures:
            problem = signature.problem(len(args), set(kwargs)) or _misfit(signature, args, kwargs)
            if not problem:
                return method(self, *args, **kwargs)
            problems.append(problem)
        raise TypeError("gym.{}: {}".format(name, "; ".join(problems)))

    return call


def _misfit(signature, args, kwargs):
    from isaacgym import gymapi

    for parameter, value in signature.bound(args, kwargs):
        wanted = _PLAIN.get(parameter.kind) or getattr(gymapi, parameter.kind, None)
        if value is None and parameter.kind not in _PLAIN:
            continue
        if isinstance(wanted, (type, tuple)) and not isinstance(value, wanted):
            return "{} must be {}, found {}".format(parameter.name, parameter.kind, type(value).__name__)
    return ""
