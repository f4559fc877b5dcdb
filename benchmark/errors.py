"""The errors that people are meant to read: each is one sentence saying what, where and what would be right."""

from collections.abc import Iterable
from difflib import get_close_matches


class BenchmarkError(Exception):
    """A mistake in what was asked for; the command line prints its sentence and exits with code 2."""


class UnknownName(BenchmarkError):
    """A name that nothing is registered under; says the nearest right one."""

    def __init__(self, kind: str, name: str, known: Iterable[str], where: str = "") -> None:
        known = sorted(known)
        near = get_close_matches(name, known, n=1, cutoff=0.5)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        place = f"{where}: " if where else ""
        if len(known) > 60:
            known = get_close_matches(name, known, n=10, cutoff=0.3)
        super().__init__(f"{place}unknown {kind} {name!r}.{hint} Known: {', '.join(known) or 'none'}.")


class UndeclaredAccess(BenchmarkError):
    """A method reached for data that it does not declare in `uses`."""


class Diverged(BenchmarkError):
    """Training or unlearning met a loss or a weight that is not finite."""


class PlaceError(BenchmarkError):
    """A store, results or data that cannot be written or read: nobody's run has failed, but none can go on."""
