"""Scores on series whose answer is known by hand."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from hybrid_land.evaluation.baselines import climatology, persistence
from hybrid_land.evaluation.climatology import fit_climatology
from hybrid_land.evaluation.scores import (
    Pair,
    anomaly_correlation,
    column_errors,
    errors,
    pair,
    pooled,
)
from hybrid_land.evaluation.skill import ilamb_scores, mlbees_scores, relative_bias, relative_rmse

DIMS = ("time", "column")


def times(days: int) -> np.ndarray:
    return pd.date_range("2010-01-01", periods=4 * days, freq="6h").to_numpy()


def array(values: np.ndarray) -> xr.DataArray:
    return xr.DataArray(np.asarray(values, float), dims=DIMS)


def of(prediction: np.ndarray, truth: np.ndarray, normal: float = 0.0) -> Pair:
    return Pair(array(prediction), array(truth), array(np.full(np.shape(truth), normal)))


def dataset(name: str, values: np.ndarray, time: np.ndarray) -> xr.Dataset:
    return xr.Dataset({name: (DIMS, values)}, coords={"time": time})


def test_climatology_keeps_the_hours_of_the_day_apart() -> None:
    time = times(3 * 365)
    hour = (np.arange(len(time)) % 4).astype(float)
    found = fit_climatology(hour[:, None], time).at(time)
    np.testing.assert_allclose(found[:, 0], hour, atol=1e-12)


def test_climatology_averages_the_31_days_around_a_day_and_the_turn_of_the_year() -> None:
    time = times(365)  # 2010: day of year 1 to 365
    day = np.repeat(np.arange(365.0), 4)
    found = fit_climatology(day[:, None], time).at(time)
    assert found[4 * 100, 0] == pytest.approx(100.0)
    # 1 January: 0 to 15, and the window's 15 days before it, of which 2010 lacks day 366.
    around = [*range(16), *range(351, 365)]
    assert found[0, 0] == pytest.approx(np.mean(around))


def test_climatology_pools_years_and_leaves_out_what_does_not_count() -> None:
    time = times(2 * 365)
    values = np.where(np.arange(len(time)) < 4 * 365, 1.0, 3.0)[:, None]
    np.testing.assert_allclose(fit_climatology(values, time).at(time), 2.0, rtol=1e-12)
    where = values < 2.0
    np.testing.assert_allclose(fit_climatology(values, time, where=where).at(time), 1.0, rtol=1e-12)
    nothing = fit_climatology(values, time, where=np.zeros_like(where))
    assert np.isnan(nothing.at(time)).all()


def test_climatology_does_not_answer_for_hours_it_never_saw() -> None:
    fitted = fit_climatology(np.ones((40, 1)), times(10))
    with pytest.raises(ValueError, match="expected those of the climatology"):
        fitted.at(np.array(["2010-01-01T03:00"], "datetime64[s]"))


def test_errors_by_hand() -> None:
    truth = np.zeros((4, 2))
    prediction = np.array([[1.0, 3.0], [1.0, 3.0], [3.0, 5.0], [3.0, 5.0]])
    found = errors(of(prediction, truth))
    assert found["bias"] == pytest.approx(3.0)
    assert found["rmse"] == pytest.approx(np.sqrt(11.0))
    assert found["ubrmse"] == pytest.approx(np.sqrt(2.0))
    # Without each column's own bias (2 and 4) what is left is 1.
    assert found["ubrmse_column"] == pytest.approx(1.0)


def test_errors_leave_out_what_does_not_count() -> None:
    truth = np.array([[0.0], [np.nan]])
    found = errors(of(np.array([[2.0], [np.nan]]), truth))
    assert found["rmse"] == pytest.approx(2.0)


def test_anomaly_correlation_is_of_anomalies_and_a_mean_over_columns() -> None:
    wave = np.sin(np.arange(400) / 7.0)
    truth = np.stack([wave, wave, wave], axis=1)
    prediction = np.stack([5.0 + 2.0 * wave, -wave, np.full(400, 0.3)], axis=1)
    columns = column_errors(of(prediction, truth))
    np.testing.assert_allclose(columns["acc"], [1.0, -1.0, 0.0], atol=1e-12)
    assert anomaly_correlation(columns)["acc"] == pytest.approx(0.0, abs=1e-12)


def test_anomaly_correlation_counts_the_columns_it_leaves_out() -> None:
    wave = np.sin(np.arange(400) / 7.0)
    truth = np.stack([wave, np.full(400, 300.0)], axis=1)
    found = anomaly_correlation(column_errors(of(truth + 0.1 * np.cos(truth * 9.0), truth)))
    assert found["acc_columns_left_out"] == 1
    assert found["acc"] > 0.9


def test_both_anomalies_are_from_the_truths_climatology() -> None:
    # A prediction with the right seasons but no weather of its own has no anomaly that fits.
    time = times(4 * 365)
    generator = np.random.default_rng(0)
    season = 10.0 * np.sin(2 * np.pi * np.arange(len(time)) / 1461.0)
    truth = dataset("stl1", (280.0 + season + generator.normal(size=len(time)))[:, None], time)
    same_seasons = dataset("stl1", (280.0 + season)[:, None], time)
    found = anomaly_correlation(column_errors(pair(same_seasons, truth, "stl1")))
    assert abs(found["acc"]) < 0.15
    plain = np.corrcoef(same_seasons["stl1"][:, 0], truth["stl1"][:, 0])[0, 1]
    assert plain > 0.98


def test_the_first_record_is_given_and_not_scored() -> None:
    time = times(5)
    truth = dataset("stl1", np.zeros((20, 1)), time)
    wrong_at_first = truth.copy(deep=True)
    wrong_at_first["stl1"][0] = 100.0
    assert errors(pair(wrong_at_first, truth, "stl1"))["rmse"] == 0.0
    wrong_at_first["stl1"][1] = 19.0
    assert errors(pair(wrong_at_first, truth, "stl1"))["rmse"] == pytest.approx(np.sqrt(19.0))


def test_snows_inside_counts_only_where_the_truth_has_snow() -> None:
    time = times(5)
    truth = dataset("rsn", np.full((20, 1), 200.0), time)
    truth["sd"] = (DIMS, np.where(np.arange(20) < 10, 5.0, 0.0)[:, None])
    run = dataset("rsn", np.where(np.arange(20) < 10, 201.0, 999.0)[:, None], time)
    assert errors(pair(run, truth, "rsn"))["rmse"] == pytest.approx(1.0)


def test_relative_errors_are_in_spreads_of_the_truth() -> None:
    truth = np.tile([[1.0], [-1.0]], (50, 1))  # spread 1
    values = of(truth * 1.5 + 0.25, truth)
    assert float(relative_bias(values)[0]) == pytest.approx(0.25)
    assert float(relative_rmse(values)[0]) == pytest.approx(0.5)
    found = mlbees_scores(values)
    assert found["mlbees_bias"] == pytest.approx(np.exp(-0.25))
    assert found["mlbees_rmse"] == pytest.approx(np.exp(-0.5))
    assert found["mlbees_acc"] == pytest.approx(1.0)


def test_mlbees_leaves_out_the_worst_percent_and_ilamb_does_not() -> None:
    truth = np.tile(np.array([[1.0], [-1.0]]), (50, 200))
    shift = np.where(np.arange(200) == 7, 1e6, 0.1)
    values = of(truth + shift, truth)
    assert mlbees_scores(values)["mlbees_bias"] == pytest.approx(np.exp(-0.1))
    found = ilamb_scores(values, times(25))
    assert found["ilamb_bias"] == pytest.approx(199 / 200 * np.exp(-0.1))


def yearly(days: int, *, shift_days: float = 0.0, growth: float = 0.0) -> np.ndarray:
    day = np.arange(4 * days) / 4.0
    year = np.floor(day / 365.0)
    return np.sin(2 * np.pi * (day - shift_days) / 365.0) + growth * (year - year.mean())


def test_ilamb_of_a_perfect_run_is_one() -> None:
    truth = np.stack([yearly(730, growth=0.2), 2.0 + yearly(730, growth=0.1)], axis=1)
    found = ilamb_scores(of(truth, truth), times(730))
    assert list(found) == [
        "ilamb_bias",
        "ilamb_rmse",
        "ilamb_seasonal_cycle",
        "ilamb_interannual",
        "ilamb_spatial",
        "ilamb_overall",
    ]
    np.testing.assert_allclose(list(found.values()), 1.0, atol=1e-12)


def test_ilamb_seasonal_cycle_of_half_a_year_late_is_zero() -> None:
    truth = yearly(730)[:, None]
    late = yearly(730, shift_days=182.5)[:, None]
    assert ilamb_scores(of(late, truth), times(730))["ilamb_seasonal_cycle"] < 0.02
    quarter = yearly(730, shift_days=91.25)[:, None]
    found = ilamb_scores(of(quarter, truth), times(730))["ilamb_seasonal_cycle"]
    assert found == pytest.approx(0.5, abs=0.03)


def test_ilamb_interannual_is_of_the_size_of_the_years_departures() -> None:
    truth = yearly(4 * 365, growth=0.2)[:, None]
    twice = yearly(4 * 365, growth=0.4)[:, None]
    found = ilamb_scores(of(twice, truth), times(4 * 365))["ilamb_interannual"]
    assert found == pytest.approx(np.exp(-1.0), abs=0.02)


def test_ilamb_overall_counts_the_rmse_twice() -> None:
    truth = np.stack([yearly(730, growth=0.2), 2.0 + yearly(730, growth=0.1)], axis=1)
    found = ilamb_scores(of(truth + 0.3 * np.cos(truth), truth), times(730))
    parts = dict(found)
    overall = parts.pop("ilamb_overall")
    assert overall == pytest.approx((sum(parts.values()) + parts["ilamb_rmse"]) / 6.0)


def test_ilamb_leaves_out_what_a_short_record_cannot_say() -> None:
    truth = yearly(60)[:, None]
    found = ilamb_scores(of(truth, truth), times(60))
    assert np.isnan(found["ilamb_seasonal_cycle"])
    assert np.isnan(found["ilamb_interannual"])
    assert found["ilamb_overall"] == pytest.approx(1.0)


def test_ilamb_spatial_is_taylors_score_of_the_means() -> None:
    base = np.tile([[1.0], [-1.0]], (50, 3))
    truth = base + np.array([0.0, 1.0, 2.0])
    found = ilamb_scores(of(base + np.array([0.0, 2.0, 4.0]), truth), times(25))
    assert found["ilamb_spatial"] == pytest.approx(4.0 / (2.0 + 0.5) ** 2)


def test_columns_pool_to_the_whole() -> None:
    generator = np.random.default_rng(1)
    values = of(generator.normal(size=(50, 4)), generator.normal(size=(50, 4)))
    whole, together = errors(values), pooled(column_errors(values), np.arange(4))
    assert together["rmse"] == pytest.approx(whole["rmse"])
    assert together["bias"] == pytest.approx(whole["bias"])


def test_baselines_hold_and_repeat() -> None:
    time = times(2 * 365)
    values = (300.0 + np.arange(len(time)) % 4)[:, None] * np.ones((1, 2))
    truth = dataset("stl1", values, time)
    held = persistence(truth, ["stl1"])
    np.testing.assert_array_equal(held["stl1"], 300.0)
    np.testing.assert_allclose(climatology(truth, ["stl1"])["stl1"], values, rtol=1e-6)


def test_climatology_scores_no_anomaly_correlation() -> None:
    time = times(3 * 365)
    generator = np.random.default_rng(2)
    truth = dataset("stl1", 280.0 + generator.normal(size=(len(time), 3)), time)
    found = column_errors(pair(climatology(truth, ["stl1"]), truth, "stl1"))
    assert anomaly_correlation(found)["acc"] == 0.0


def test_climatology_of_snows_inside_is_finite_without_snow() -> None:
    time = times(400)
    truth = dataset("rsn", np.full((1600, 2), 100.0), time)
    truth["sd"] = (DIMS, np.zeros((1600, 2)))
    assert np.isfinite(climatology(truth, ["rsn"])["rsn"]).all()
