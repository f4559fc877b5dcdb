"""Reference benchmark for machine unlearning of image models: `python -m benchmark run --all`.

`methods/` and `datasets/` stand beside this folder in a checkout and inside it in a wheel; either way they are
`benchmark.methods` and `benchmark.datasets`, so no top-level package is taken from anybody.
"""

import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parent
"""The package's folder; a checkout's root is its parent."""


def component_folder(name: str) -> Path:
    """Where `methods` or `datasets` lie: in the package (wheel) or beside it (checkout)."""
    inside = ROOT / name
    return inside if inside.is_dir() else ROOT.parent / name


for _name in ("methods", "datasets"):
    _package = ModuleType(f"{__name__}.{_name}")
    _package.__path__ = [str(component_folder(_name))]
    sys.modules[_package.__name__] = _package
    globals()[_name] = _package

try:
    __version__ = version("unlearning-benchmark")
except PackageNotFoundError:  # a checkout that was never installed
    __version__ = "0.0.0+unknown"
