"""The digits inside scikit-learn, and the package that datasets live in."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import sklearn.datasets

import benchmark
from benchmark.components import make
from benchmark.datasets.digits import Digits
from benchmark.registry import get
from benchmark.specs import Ref


def test_digits_are_scaled_to_bytes_and_have_no_test_part(tmp_path: Path) -> None:
    data = Digits().load(tmp_path)
    assert tuple(data.images.shape) == (1797, 1, 8, 8)
    grey = sklearn.datasets.load_digits().images
    assert np.array_equal(data.images[:, 0].numpy(), np.rint(grey / 16 * 255))
    assert data.images.max() == 255
    assert not data.test.any()
    assert data.classes == tuple("0123456789")


def test_digits_need_no_folder_and_fetch_nothing(tmp_path: Path) -> None:
    (file,) = Digits().files(tmp_path / "absent")
    assert file.is_file()
    assert not (tmp_path / "absent").exists()


def test_channel_statistics_of_digits_are_measured(tmp_path: Path) -> None:
    info, pixels = get("dataset", "digits").info, Digits().load(tmp_path).images / 255
    assert abs(pixels.mean() - info.mean[0]) < 1e-4
    assert abs(pixels.std() - info.std[0]) < 1e-4


def test_datasets_are_found_by_name_with_an_argument() -> None:
    assert make("dataset", Ref(name="digits"), "suite") == Digits()
    assert make("dataset", Ref(name="parquet:/some/where"), "suite").path == "/some/where"
    assert make("dataset", Ref(name="folder:/some/where"), "suite").path == "/some/where"


def test_the_name_datasets_stays_free_for_others(tmp_path: Path) -> None:
    """Whoever has Hugging Face's package of that name gets it, even behind a checkout on the path."""
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets" / "__init__.py").write_text("OWNER = 'somebody else'")
    program = (
        "import sys, benchmark.datasets.digits; assert 'datasets' not in sys.modules;"
        "import datasets; print(datasets.OWNER)"
    )
    path = os.pathsep.join([str(benchmark.ROOT.parent), str(tmp_path)])
    command, environment = [sys.executable, "-c", program], os.environ | {"PYTHONPATH": path}
    found = subprocess.run(command, env=environment, cwd=tmp_path.parent, capture_output=True, text=True)
    assert found.stdout.strip() == "somebody else", found.stderr
