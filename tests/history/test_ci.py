"""CI's own steps in a small copy of the repository: they pass as it is, and fail with a defect in it."""

import os
import shutil
import subprocess
import sys

import pytest

from tests.history.house import CHECKOUT, LEARNS, House

pytestmark = pytest.mark.slow


def steps(house, name):
    """What `.ci/run` does to find regressions; with the store of before, so that only what changed is computed."""
    (house.folder / name).mkdir()
    (house.folder / name / "store").symlink_to(house.folder / "store")
    environment = {**os.environ, "PYTHONPATH": str(house.repo), "COLUMNS": "200"}
    command = ["bash", str(house.repo / ".ci" / "regressions"), sys.executable, str(house.folder / name)]
    return subprocess.run(command, cwd="/", env=environment, capture_output=True, text=True, check=False)


def test_ci_passes_as_it_is_and_fails_on_a_planted_quality_regression(tmp_path):
    house = House.build(tmp_path)
    shutil.copytree(CHECKOUT / ".ci", house.repo / ".ci")
    house.suite({**LEARNS, "name": "ci"})
    done = house.python("-m", "benchmark", "baseline", "--store", tmp_path / "store", "--data", tmp_path / "data")
    assert done.returncode == 0, done.stdout + done.stderr
    house.commit("baseline")

    clean = steps(house, "clean")
    assert clean.returncode == 0, clean.stdout + clean.stderr
    assert "No regression (24 runs paired" in clean.stdout

    house.edit("methods/gradient_ascent.py", "lr: float = bounded(5e-4", "lr: float = bounded(1.5e-3")
    broken = steps(house, "broken")
    assert broken.returncode == 3, broken.stdout + broken.stderr
    assert "Regressed: " in broken.stdout
    assert "gradient_ascent" in broken.stdout and "accuracy drop (points) ↓ (drop_test)" in broken.stdout

    done = house.python("-m", "benchmark", "baseline", tmp_path / "broken" / "results")
    assert done.returncode == 0, done.stdout + done.stderr
    message = (house.repo / ".git" / "BASELINE_MESSAGE").read_text()
    assert message.startswith("Baseline: ") and "(drop_test) " in message and " -> " in message
    house.commit("intended")
    accepted = house.python("-m", "benchmark", "compare", "results/baseline", tmp_path / "broken" / "results")
    assert accepted.returncode == 0, accepted.stdout + accepted.stderr
