"""Imported by the server that workers are forked from, so that no worker waits for what every job needs.

Measured per job of a few tenths of a second: 0.3 s for a collection of garbage that walks over all that was
inherited, 0.2 s for finding and importing components.
"""

import atexit
import gc
import signal
from contextlib import suppress
from importlib import import_module

from benchmark import registry
from benchmark.errors import BenchmarkError
from benchmark.provenance import commit_of_code

signal.signal(signal.SIGINT, signal.SIG_IGN)  # of the server and all that it forks: a terminal sends it to all of them
import_module("benchmark.jobs")
for _kind in registry.KINDS:
    for _name in registry.names(_kind):
        with suppress(BenchmarkError):  # the job that needs it will say so
            registry.get(_kind, _name.partition("[")[0])
commit_of_code()
gc.collect()
gc.freeze()
atexit.register(gc.unfreeze)  # or libraries report at the server's end what they take for leaks
