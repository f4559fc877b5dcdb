"""A plan in parts, for job arrays: each shard does its own runs, and needs to know nothing of the others.

What is dealt are groups: the runs of one task and seed, which share an original and a retrained model. Cached ones are
dealt too, so that every shard deals alike, however much is done when it starts.
"""

import re
from collections.abc import Iterable
from dataclasses import replace
from itertools import groupby

from benchmark.errors import BenchmarkError
from benchmark.plan import Plan

Group = tuple[str, int]  # (task, seed)


def parse_shard(text: str) -> tuple[int, int]:
    """`0/2` -> (0, 2).

    Raises:
        BenchmarkError: Unless it names one of so many shards, counted from 0.
    """
    found = re.fullmatch(r"([0-9]+)/([0-9]+)", text)
    index, count = map(int, found.groups()) if found else (0, 0)
    if index >= count:
        raise BenchmarkError(f"--shard {text}: say which part of how many, counted from 0, such as 0/2 or 1/2.")
    return index, count


def split(work: Plan, index: int, count: int) -> Plan:
    """The part of a plan that one shard does.

    Args:
        work: The whole plan.
        index: Of the shard, counted from 0.
        count: Of shards.
    """
    shard_of = deal(work.groups, count)
    runs = {key for group, keys in work.groups.items() if shard_of[group] == index for key in keys}
    owners = _owners(work, shard_of, count)
    jobs = {key: job for key, job in work.jobs.items() if owners[key] == index}
    return replace(
        work,
        jobs=jobs,
        cached=work.cached & runs,
        cached_populations={key for key in work.cached_populations if _falls_to(key, count) == index},
        estimates={key: seconds for key, seconds in work.estimates.items() if key in jobs},
        shard=f"{index}/{count}",
        notes=[*work.notes, *_notes(len(work.groups), count, sum(owner is None for owner in owners.values()))],
    )


def deal(groups: Iterable[Group], count: int) -> dict[Group, int]:
    """Group -> shard: the one that has fewest of its task, whose seeds cost alike, then fewest in all.

    Tasks begin with different shards where they can: FLOPs are counted at a task's first seed.

    Args:
        groups: Those of one task stand together.
        count: Of shards.
    """
    held, begun = [0] * count, [0] * count
    shard_of: dict[Group, int] = {}
    for _, of_task in groupby(groups, key=lambda group: group[0]):
        seeds = [0] * count
        for group in of_task:
            least = min(range(count), key=lambda shard: (seeds[shard], held[shard], begun[shard]))
            begun[least] += not any(seeds)
            seeds[least] += 1
            held[least] += 1
            shard_of[group] = least
    return shard_of


def _owners(work: Plan, shard_of: dict[Group, int], count: int) -> dict[str, int | None]:
    """Job -> shard. What all seeds of a method say together is nobody's while runs of several shards are missing."""
    owners: dict[str, int | None] = {}
    for key, job in work.jobs.items():  # what is needed stands before what needs it
        if job["kind"] == "population":
            having = {owners[need] for need in job["needs"]} or {_falls_to(key, count)}
            owners[key] = having.pop() if len(having) == 1 else None
        else:
            owners[key] = shard_of[job["run"]["task"]["name"], job["run"]["seed"]]
    return owners


def _falls_to(key: str, count: int) -> int:
    return int(key, 16) % count


def _notes(groups: int, count: int, waiting: int) -> list[str]:
    notes = ["shards leave tables and figures to the same command without --shard, once all of them are done."]
    if waiting:
        notes.append(f"{waiting} jobs over all seeds need runs of other shards; that command does them too.")
    if count > groups:
        notes.append(
            f"{groups} pairs of task and seed are dealt, so {count - groups} of the shards have nothing to do."
        )
    return notes
