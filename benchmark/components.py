"""Words of a suite -> components: names with arguments, parameters checked by name, type and range."""

from collections.abc import Mapping
from dataclasses import fields
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
    target = registry.get(kind, base).target
    params = dict(ref.params)
    if argument:
        params[fields(target)[0].name] = argument
    return build(target, params, f"{where}, {kind} {ref.name!r}")


def build(target: type, params: Mapping[str, Any], where: str) -> Any:
    """Make a component from its parameters, refusing unknown names, wrong types and values out of range.

    Raises:
        BenchmarkError: Naming the parameter and what would be right.
    """
    known = {f.name: f for f in fields(target)}
    for name, value in params.items():
        if name not in known:
            raise UnknownName("parameter", name, known, where)
        _check_parameter(where, name, value, known[name].metadata, known[name].default)
    try:
        return target(**params)
    except (TypeError, ValueError) as error:
        raise BenchmarkError(f"{where}: {error}") from error


def _check_parameter(where: str, name: str, value: Any, meta: Mapping[str, Any], default: Any) -> None:
    if "choices" in meta and value not in meta["choices"]:
        raise BenchmarkError(f"{where}: {name} = {value!r} is not one of {', '.join(meta['choices'])}.")
    if "low" in meta:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise BenchmarkError(f"{where}: {name} = {value!r} is not a number.")
        if isinstance(default, int) and not isinstance(value, int):
            raise BenchmarkError(f"{where}: {name} = {value!r} is not a whole number.")
        if not meta["low"] <= value <= meta["high"]:
            raise BenchmarkError(f"{where}: {name} = {value!r} is outside {meta['low']} … {meta['high']}.")
    if isinstance(default, bool) and not isinstance(value, bool):
        raise BenchmarkError(f"{where}: {name} = {value!r} is neither true nor false.")
