"""A model's error by lead and lag: read from its table, and made a covariance."""

import numpy as np
import pytest
import xarray as xr

from calibration.covariance import Errors
from calibration.discrepancy import error_covariance, known
from hybrid_land.errors import InputError

STEP = 21600.0


@pytest.fixture
def table():
    """Two leads and two lags; nothing is known of snow."""
    return xr.Dataset(
        {
            "variance": (("lead", "name"), np.array([[0.01, np.nan], [0.03, np.nan]]) ** 2),
            "autocorrelation": (("lag", "name"), [[0.8, 0.0], [0.5, 0.0]]),
        },
        coords={"lead": [1, 100], "lag": [4, 40], "name": ["swvl1", "sd"]},
        attrs={"time_step": STEP},
    )


def test_deviations_grow_with_the_lead_and_correlations_fall_with_the_lag(table):
    days = np.array([0.0, 0.25, 2.5, 10.25, 25.0, 250.0])
    found = error_covariance(table, "swvl1", days)
    deviation = np.sqrt(np.diag(found))
    # Linear in the logarithm: 10 steps are half way from 1 to 100.
    np.testing.assert_allclose(deviation, [0.01, 0.01, 0.02, 0.0261, 0.03, 0.03], rtol=0.02)
    correlation = found / np.outer(deviation, deviation)
    np.testing.assert_allclose(correlation[1, 3], 0.5, atol=0.01)
    # Beyond 40 steps it goes on falling by 0.5 every 40.
    np.testing.assert_allclose(correlation[0, 4], 0.5**2.5, atol=0.01)
    assert correlation[0, 5] < 1e-6
    assert np.linalg.eigvalsh(found).min() > -1e-12


def test_correlations_that_no_series_has_are_mended(table):
    table["autocorrelation"].loc[{"name": "swvl1"}] = [0.0, 1.0]
    found = error_covariance(table, "swvl1", np.arange(40) * 2.5)
    assert np.linalg.eigvalsh(found).min() > -1e-12
    np.testing.assert_allclose(found[-1, -1], 0.03**2, rtol=1e-6)


def test_what_the_table_does_not_know_is_left_to_the_deviations(table):
    assert known(table, "swvl1")
    assert not known(table, "sd")
    assert not known(table, "root_zone_soil_moisture")
    errors = Errors(model={"swvl1": 0.5, "sd": 3.0}, table=table, table_factor=2.0)
    assert errors.described("swvl1") == "swvl1 by lead and lag from the model's validation times 2"
    assert errors.described("sd") == "sd 3, memory 30 days"


def test_the_shipped_model_has_a_table():
    from hybrid_land.evaluation.error_covariance import load_errors

    found = error_covariance(load_errors("default").table, "swvl1", np.arange(0, 365, 3.0))
    assert 0.003 < np.sqrt(found[0, 0]) < np.sqrt(found[-1, -1]) < 0.02
    assert np.linalg.eigvalsh(found).min() > -1e-12


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.drop_vars("variance"), "lack variance with dims lead, name"),
        (lambda t: t.drop_attrs(), "lack the attribute time_step"),
    ],
)
def test_a_table_of_another_kind_is_refused(table, change, words):
    with pytest.raises(InputError, match=words):
        Errors(table=change(table))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"representativeness": {"swvl1": -0.1}}, "representativeness error of swvl1 is -0.1"),
        ({"model": {"swvl1": np.nan}}, "model error of swvl1 is nan"),
        ({"memory_days": 0.0}, "memory_days is 0, expected more than 0"),
        ({"table_factor": -1.0}, "table_factor is -1"),
    ],
)
def test_errors_that_are_none_are_refused(given, words):
    with pytest.raises(InputError, match=words):
        Errors(**given)
