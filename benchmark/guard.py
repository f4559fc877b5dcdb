"""Each job in a process of its own, under the eyes of a guard: output is capped, time and memory are limited.

The guard is a process too, between the driver and the job, so a job that blocks its interpreter cannot block it. It
adopts what a job forks and forgets, so that all of it ends with the job, and ends everything if the driver is gone.
"""

import ctypes
import faulthandler
import json
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import psutil

Result = dict[str, Any]
Work = Callable[..., Result]

PERIOD = 0.2
"""Seconds between two looks at a job."""
KEPT = 1 << 15
"""Bytes of a job's output that are kept, to be shown if it dies: enough for the traceback of a crash."""
_PIPE = 1 << 16  # bytes that a pipe holds at most
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36  # of Linux's <sys/prctl.h>


def guard(driver: Connection, work: Work, *more: Any) -> None:
    """Do one job after the other, each in a child process, until the driver has no more. Runs in a process of its own.

    Args:
        driver: Sends jobs as JSON and is sent, for each, its result or how it ended. A job's `time_limit` (seconds)
            and `memory_limit` (bytes, of all its processes together) are kept, if it has them.
        work: Called as `work(job, *more)`; returns what JSON can hold.
        more: Handed on to `work`.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all; the driver decides what comes of it
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    with suppress(EOFError, ConnectionError):
        while True:
            found = _guarded(driver, work, json.loads(driver.recv_bytes()), more)
            driver.send_bytes(json.dumps(found).encode())


def ended(status: str, error: str, output: bytes = b"") -> Result:
    """The result of a job that cannot speak for itself: it `died`, met its `timeout`, or is `out_of_memory`."""
    said = output.decode(errors="replace").strip()
    return {"status": status, "error": f"{said}\n{error}" if said else error, "seconds": {}, "notes": []}


def cause_of_death(code: int | None) -> str:
    """An exit code in words."""
    if code is not None and code < 0:
        names = {number.value: number.name for number in signal.Signals}
        hint = ", as the system does when memory runs out" if -code == signal.SIGKILL else ""
        return f"the worker was killed by {names.get(-code, f'signal {-code}')}{hint}."
    return f"the worker died with exit code {code}."


def _guarded(driver: Connection, work: Work, job: dict[str, Any], more: tuple[Any, ...]) -> Result:
    """Start a job, watch it, and clear up after it."""
    fork = multiprocessing.get_context("fork")
    result, into = fork.Pipe(duplex=False)
    output, printed = fork.Pipe(duplex=False)
    with result, output:
        child = fork.Process(target=_child, args=(os.getpid(), driver, into, printed, work, job, more))
        child.start()
        into.close()
        printed.close()
        try:
            return _watch(child, driver, result, output, job.get("time_limit"), job.get("memory_limit"))
        finally:
            _end(child)


def _watch(
    child: BaseProcess,
    driver: Connection,
    result: Connection,
    output: Connection,
    seconds: float | None,
    memory: float | None,
) -> Result:
    """What came of a job; EOFError if the driver is gone."""
    sources = [driver, result, output]
    tail, start = b"", time.monotonic()
    look = start + PERIOD
    while True:
        ready = wait(sources, PERIOD)
        if driver in ready:  # that sends nothing now
            raise EOFError
        if output in ready:
            printed = os.read(output.fileno(), _PIPE)
            tail = (tail + printed)[-KEPT:]
            if not printed:
                sources.remove(output)
        if result in ready:
            try:
                found: Result = json.loads(result.recv_bytes())
                return found
            except EOFError:  # it is at its end, or has closed what it does not know
                sources.remove(result)
                child.join(PERIOD)
                look = 0.0
        now = time.monotonic()
        if now < look:
            continue
        look = now + PERIOD
        if not child.is_alive():  # asked, for what it forked may hold its pipes open
            if result in sources and result.poll():
                continue
            last = os.read(output.fileno(), _PIPE) if output in sources and output.poll() else b""
            return ended("died", cause_of_death(child.exitcode), (tail + last)[-KEPT:])
        if seconds is not None and now - start > seconds:
            return ended("timeout", f"the job took longer than {seconds:g} s.", tail)
        if memory is not None and _resident() > memory:
            return ended("out_of_memory", f"the job took more than {memory / 1e9:g} GB of memory.", tail)


def _child(
    parent: int, driver: Connection, into: Connection, printed: Connection, work: Work, job: dict[str, Any], more: Any
) -> None:
    """Runs in the job's process."""
    driver.close()  # held by the guard alone, it ends when the guard does
    os.setsid()  # signals of the terminal do not come here
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it was gone before that
        os._exit(1)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with suppress(OSError):  # where memory runs out, Linux is to take this process, not somebody's editor
        Path("/proc/self/oom_score_adj").write_text("1000")
    for stream in (1, 2):
        os.dup2(printed.fileno(), stream)
    printed.close()
    sys.stdout, sys.stderr = (os.fdopen(n, "w", buffering=1, errors="replace", closefd=False) for n in (1, 2))
    faulthandler.enable()
    process = os.getpid()
    answer = json.dumps(work(job, *more)).encode()
    if os.getpid() == process:  # not one that the job forked
        into.send_bytes(answer)


def _resident() -> float:
    """Bytes in memory of all that was started below this process; pages that they share are counted in each."""
    found = 0
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            found += process.memory_info().rss
    return found


def _end(child: BaseProcess) -> None:
    """Kill a job and all that it started and left."""
    heeded = signal.signal(signal.SIGTERM, signal.SIG_IGN)  # nothing is to come between
    child.kill()
    assert child.pid is not None
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.join()
    with suppress(ChildProcessError):  # none is left
        os.waitpid(-1, os.WNOHANG)
        while True:  # orphans come to this process
            for orphan in psutil.Process().children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    orphan.kill()
            os.waitpid(-1, 0)
    signal.signal(signal.SIGTERM, heeded)


def _prctl(option: int, value: int) -> None:
    """Linux's process control; elsewhere orphans are found by their process group alone."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)
