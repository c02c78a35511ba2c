"""Runs against a site's observations: layers, signs, times, and scores by hand."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from hybrid_land.errors import InputError
from hybrid_land.evaluation.observed import (
    against_observations,
    layer_of,
    moving_anomaly,
    observed_series,
    scores_against,
)

TIMES = pd.date_range("2019-01-01", periods=50, freq="6h")


def run_of(**values: np.ndarray) -> xr.Dataset:
    return xr.Dataset(
        {name: (("time", "column"), x[:, None]) for name, x in values.items()},
        coords={"time": TIMES},
    )


def site_of(**values: tuple[np.ndarray, dict]) -> xr.Dataset:
    return xr.Dataset(
        {name: ("time", x, attributes) for name, (x, attributes) in values.items()},
        coords={"time": TIMES},
    )


@pytest.mark.parametrize(
    ("depth", "layer"), [(0.05, 1), (0.07, 1), (0.15, 2), (0.28, 2), (0.5, 3), (2.0, 4)]
)
def test_a_probe_belongs_to_the_layer_that_holds_it(depth: float, layer: int) -> None:
    assert layer_of(depth) == layer


def test_a_probe_outside_the_soil_is_refused() -> None:
    with pytest.raises(InputError, match=r"a probe at 5 m, expected 0 to 2\.89 m"):
        layer_of(5.0)


def test_observed_fluxes_turn_to_eclands_sign() -> None:
    wave = np.sin(np.arange(50.0))
    site = site_of(
        Qle=(wave, {}),
        SoilMoist_15cm=(wave, {"depth_m": 0.15}),
        SoilTemp_4=(wave, {}),
        Qg=(wave, {}),
    )
    found = observed_series(site)
    assert {name: variable for name, (variable, _) in found.items()} == {
        "Qle": "slhf",
        "SoilMoist_15cm": "swvl2",
        "SoilTemp_4": "stl2",
    }
    np.testing.assert_array_equal(found["Qle"][1], -wave)
    np.testing.assert_array_equal(found["SoilMoist_15cm"][1], wave)


def test_scores_by_hand_where_observed() -> None:
    observed = np.array([1.0, np.nan, 3.0, 5.0])
    found = scores_against(np.array([2.0, 100.0, 4.0, 8.0]), observed)
    assert found["bias"] == pytest.approx(5.0 / 3.0)
    assert found["rmse"] == pytest.approx(np.sqrt(11.0 / 3.0))
    assert found["ubrmse"] == pytest.approx(np.sqrt(11.0 / 3.0 - 25.0 / 9.0))
    assert found["correlation"] == pytest.approx(np.corrcoef([2, 4, 8], [1, 3, 5])[0, 1])
    assert np.isnan(scores_against(np.zeros(4), observed)["correlation"])


def test_runs_stand_side_by_side_on_the_same_times() -> None:
    truth = np.sin(np.arange(50.0))
    holes = np.where(np.arange(50) % 5 == 2, np.nan, -truth)
    table = against_observations(
        {"model": run_of(slhf=truth + 2.0), "ecland": run_of(slhf=truth)},
        site_of(Qle=(holes, {}), SoilTemp_5cm=(truth, {"depth_m": 0.05})),
    )
    assert list(table) == ["Qle"]
    row = table["Qle"]
    assert row["observations"] == 49 - 10
    assert row["model"]["bias"] == pytest.approx(2.0)
    assert row["model"]["ubrmse"] == pytest.approx(0.0, abs=1e-7)
    assert row["ecland"]["rmse"] == pytest.approx(0.0, abs=1e-12)
    assert row["ecland"]["correlation"] == pytest.approx(1.0)


def test_the_given_first_state_does_not_count() -> None:
    truth = np.sin(np.arange(50.0))
    run = run_of(stl1=np.where(np.arange(50) == 0, 1e3, truth))
    table = against_observations({"m": run}, site_of(SoilTemp_5cm=(truth, {"depth_m": 0.05})))
    assert table["SoilTemp_5cm"]["m"]["rmse"] == pytest.approx(0.0, abs=1e-12)


def test_few_observations_make_no_score() -> None:
    few = np.where(np.arange(50) < 20, 1.0, np.nan)
    assert against_observations({"m": run_of(slhf=few)}, site_of(Qle=(few, {}))) == {}


def test_other_times_or_several_columns_are_refused() -> None:
    wave = np.sin(np.arange(50.0))
    site, run = site_of(Qle=(wave, {})), run_of(slhf=wave)
    with pytest.raises(InputError, match="m: its 40 times are not those of the observations"):
        against_observations({"m": run.isel(time=slice(0, 40))}, site)
    with pytest.raises(InputError, match="m: 2 columns, expected the site's one"):
        against_observations({"m": run.isel(column=[0, 0])}, site)


def test_anomalies_are_from_a_mean_that_moves_along():
    series = 0.2 + 0.001 * np.arange(400.0)
    found = moving_anomaly(series, records=40)
    np.testing.assert_allclose(found[20:-20], 0.0, atol=1e-12)
    assert found[0] < 0 < found[-1], "at the ends the mean is of one side alone"
    pulse = np.zeros(400)
    pulse[200] = 1.0
    found = moving_anomaly(pulse, records=41)
    np.testing.assert_allclose(found[200], 1.0 - 1.0 / 41.0)
    np.testing.assert_allclose(found[[180, 220]], -1.0 / 41.0)
    np.testing.assert_array_equal(found[[179, 221]], 0.0)


def test_missing_values_have_no_anomaly_and_do_not_count_in_the_mean():
    series = np.full(100, 3.0)
    series[::2] = np.nan
    found = moving_anomaly(series, records=40, fewest=20)
    assert np.isnan(found[::2]).all()
    np.testing.assert_allclose(found[41], 0.0, atol=1e-12)
    assert np.isnan(found[1]), "11 values are fewer than 20"
