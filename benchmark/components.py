"""Words of a suite -> components: names with arguments, parameters checked by name, type and range."""

from collections.abc import Mapping
from dataclasses import MISSING, Field, fields
from typing import Any

from benchmark import registry
from benchmark.errors import BenchmarkError, UnknownName
from benchmark.specs import Ref


def make(kind: str, ref: Ref, where: str) -> Any:
    """Build a dataset or scenario from `name`, `name:ARGUMENT` (its first field) or a table.

    Raises:
        BenchmarkError: If the name, a parameter or the argument is wrong, saying where.
    """
    base, _, argument = ref.name.partition(":")
    target = registry.get(kind, base, where).target
    place = f"{where}, {kind} {ref.name!r}"
    params = dict(ref.params)
    if argument:
        if not fields(target):
            raise BenchmarkError(f"{place}: {base!r} takes no argument; write {base!r} alone.")
        params[fields(target)[0].name] = argument
    return build(target, params, place)


def build(target: type, params: Mapping[str, Any], where: str) -> Any:
    """Make a component from its parameters, refusing unknown names, wrong types and values out of range.

    Raises:
        BenchmarkError: Naming the parameter and what would be right.
    """
    known = {f.name: f for f in fields(target)}
    for name, value in params.items():
        if name not in known:
            raise UnknownName("parameter", name, known, where)
        _check_parameter(f"{where}: {name} = {value!r} is", known[name], value)
    for name, parameter in known.items():
        if name not in params and parameter.default is MISSING and parameter.default_factory is MISSING:
            raise BenchmarkError(f"{where}: {name} is missing; it has no default.")
    try:
        return target(**params)
    except (TypeError, ValueError) as error:
        raise BenchmarkError(f"{where}: {error}") from error


_TYPES: dict[str, tuple[tuple[type, ...], str]] = {
    "bool": ((bool,), "neither true nor false"),
    "int": ((int,), "not a whole number"),
    "float": ((int, float), "not a number"),
    "str": ((str,), "no text"),
}


def _check_parameter(what: str, parameter: "Field[Any]", value: Any) -> None:
    """Hold a value against its field's choices, simple type and range; other types are the class's own affair."""
    meta = parameter.metadata
    if "choices" in meta and value not in meta["choices"]:
        raise BenchmarkError(f"{what} not one of {', '.join(meta['choices'])}.")
    if "low" in meta and value is None and parameter.default is None:
        return
    word = getattr(parameter.type, "__name__", str(parameter.type))
    types, complaint = _TYPES.get(word.removesuffix(" | None") if "low" in meta else word, ((object,), ""))
    if not isinstance(value, types) or (isinstance(value, bool) and int in types):
        raise BenchmarkError(f"{what} {complaint}.")
    if "low" in meta and not meta["low"] <= value <= meta["high"]:
        raise BenchmarkError(f"{what} outside {meta['low']} … {meta['high']}.")
