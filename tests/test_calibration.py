"""Saved speeds are compared in units of the machine: how that is done, without timing anything."""

import pytest

from tests.benchmarks import conftest


def saved(**extra):
    return {"stats": {"median": 2.0, "min": 1.0, "ops": 0.5, "rounds": 3}, "extra_info": extra}


def test_what_was_saved_is_what_it_would_take_on_a_machine_half_as_fast():
    found = saved(calibration_seconds=0.1)
    conftest.scale(found, 0.2)
    assert found["stats"] == {"median": 4.0, "min": 2.0, "ops": 0.25, "rounds": 3}
    conftest.scale(found, 0.2)
    assert found["stats"]["median"] == 4.0, "once is enough"


def test_what_was_saved_without_a_calibration_stays_as_it_is():
    found = saved()
    conftest.scale(found, 0.2)
    assert found == saved()


def test_the_work_is_the_same_each_time():
    assert conftest.work() == pytest.approx(conftest.work())


def test_saved_files_name_no_host():
    info = {"node": "somebody-s-laptop", "release": "6", "system": "Linux", "cpu": {"brand_raw": "x", "hz_actual": [1]}}
    conftest.pytest_benchmark_update_machine_info(None, info)
    assert info == {"system": "Linux", "cpu": {"brand_raw": "x"}}
