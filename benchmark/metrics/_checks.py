"""Input checks shared by the measurement functions.

A bad input is a `ValueError` of one sentence: where it is, what is wrong, what would be right. Nothing is
repaired and nothing is dropped. `name` always reads like `"mia_auc: member_scores"`.
"""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


def numbers(values: ArrayLike, name: str, ndim: int, *, finite: bool = True) -> Floats:
    """Return `values` as a non-empty float64 array with `ndim` axes; finite unless told otherwise."""
    try:
        array = np.asarray(values)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} is ragged; it must be a {ndim}-d array of numbers.") from error
    if array.ndim != ndim or array.size == 0:
        raise ValueError(f"{name} has shape {array.shape}; it must be a non-empty {ndim}-d array.")
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{name} has dtype {array.dtype}; it must hold real numbers.")
    floats = array.astype(np.float64)
    if finite:
        reject(~np.isfinite(floats), floats, name, "a finite number")
    return floats


def probabilities(values: ArrayLike, name: str, ndim: int) -> Floats:
    """Return `values` as float64 after checking that each lies in [0, 1]."""
    array = numbers(values, name, ndim)
    reject((array < 0) | (array > 1), array, name, "a fraction in [0, 1]")
    return array


def whole_numbers(values: ArrayLike, name: str, ndim: int, low: int, high: int) -> Integers:
    """Return `values` as int64 after checking that each is a whole number in low..high."""
    array = numbers(values, name, ndim)
    bad = (array != np.floor(array)) | (array < low) | (array > high)
    reject(bad, array, name, f"a whole number in {low}..{high}")
    return array.astype(np.int64)


def reject(bad: NDArray[np.bool_], array: Floats, name: str, wanted: str) -> None:
    """Raise for the first entry of `array` marked in `bad`, naming its index."""
    if bad.any():
        index = tuple(int(i) for i in np.argwhere(bad)[0])
        raise ValueError(f"{name}{list(index)} is {array[index]}; it must be {wanted}.")


def same_shape(first: Floats, second: Floats, name: str) -> None:
    """Raise unless both arrays have the same shape."""
    if first.shape != second.shape:
        raise ValueError(f"{name} have shapes {first.shape} and {second.shape}; they must be equal.")


def same_columns(first: Floats, second: Floats, name: str) -> None:
    """Raise unless both arrays describe the same number of examples (last axis)."""
    if first.shape[-1] != second.shape[-1]:
        raise ValueError(f"{name} have shapes {first.shape} and {second.shape}; their columns must agree.")


def at_least(count: int, least: int, name: str, unit: str) -> None:
    """Raise if there are fewer than `least` units."""
    if count < least:
        raise ValueError(f"{name} has {count} {unit}; at least {least} are needed.")


def number(value: float, name: str, low: float = -np.inf, high: float = np.inf, ends: str = "[]") -> float:
    """Return one finite number in the interval low..high; `ends` says which ends belong, as in `"(]"`."""
    real = isinstance(value, float | int | np.floating | np.integer) and not isinstance(value, bool)
    if real and math.isfinite(value):
        above = value > low or (ends[0] == "[" and value == low)
        below = value < high or (ends[1] == "]" and value == high)
        if above and below:
            return float(value)
    raise ValueError(f"{name} is {value!r}; it must be a number in {ends[0]}{low:g}, {high:g}{ends[1]}.")


def whole_number(value: int, name: str, low: int = 0) -> int:
    """Return one whole number that is at least `low`."""
    if isinstance(value, int | np.integer) and not isinstance(value, bool) and value >= low:
        return int(value)
    raise ValueError(f"{name} is {value!r}; it must be a whole number, at least {low}.")


def one_of(value: str, name: str, known: tuple[str, ...]) -> None:
    """Raise unless `value` is one of the `known` words."""
    if value not in known:
        raise ValueError(f"{name} is {value!r}; it must be one of {', '.join(known)}.")


def centred(values: Floats) -> Floats:
    """Deviations from the mean along axis 0, exactly zero in a constant column (no rounding residue)."""
    shifted = values - values[0]
    return np.asarray(shifted - shifted.mean(axis=0))
