"""Scores of ensembles whose answers are known, and the inflation that makes one reliable."""

import json

import jax
import numpy as np
import pytest
import xarray as xr
from scipy import stats

from hybrid_land.columns import forcing_from, parameters_from, state_from
from hybrid_land.data.samples import load_sample
from hybrid_land.errors import InputError
from hybrid_land.evaluation import ensemble_forecasts
from hybrid_land.evaluation.ensemble import evaluate_ensemble, score_forecasts
from hybrid_land.evaluation.ensemble_calibration import calibrate_ensemble, withheld_from_all
from hybrid_land.evaluation.ensemble_forecasts import (
    Cases,
    Forecasts,
    forecasts,
    join,
    near_the_day_in_other_years,
)
from hybrid_land.evaluation.ensemble_plots import save_ensemble_figures
from hybrid_land.evaluation.ensemble_scores import (
    coverage,
    crps,
    flatness,
    open_cases,
    ranks,
    spread_and_skill,
)
from hybrid_land.evaluation.ensemble_table import ensemble_table
from hybrid_land.evaluation.inflation import (
    Inflation,
    fit_calibration,
    fit_inflation,
    load_calibration,
    save_calibration,
)
from hybrid_land.gaussian_crps import gaussian_crps
from hybrid_land.models.emulator import create
from hybrid_land.models.ensemble import stack
from hybrid_land.simulation import simulate

K, COLUMNS, EACH = 5, 100, 100


def synthetic(*, seed=0, scale=1.0, widths=(0.5, 1.5), knowing=True):
    """Members and truth from one normal distribution a case; `scale` is of the members' spread.

    The distributions' width varies by case; that of members that know nothing of it varies too,
    apart from the truth's.
    """
    generator = np.random.default_rng(seed)
    cases = COLUMNS * EACH
    width = generator.choice(widths, cases)
    centre = generator.normal(280.0, 5.0, cases)
    truth = centre + width * generator.normal(size=cases)
    own = width if knowing else generator.choice(widths, cases)
    members = centre + own * generator.normal(size=(K, cases))
    mean = members.mean(axis=0)
    members = mean + scale * (members - mean)
    return Cases(members=members, truth=truth, column=np.repeat(np.arange(COLUMNS), EACH))


def test_crps_is_the_closed_form():
    """Of a normal distribution: 0.2337 s at its centre (Gneiting et al. 2005, eq. 5)."""
    truth = np.array([-2.0, -0.5, 0.0, 0.7, 3.0])
    quantiles = stats.norm.ppf((np.arange(500) + 0.5) / 500)
    members = np.repeat(quantiles[:, None], 5, axis=1)
    exact = gaussian_crps(np.zeros(5), np.ones(5), truth)
    assert crps(members, truth) == pytest.approx(exact, rel=5e-3)
    centre = gaussian_crps(np.zeros(1), np.full(1, 2.0), np.zeros(1))
    assert centre == pytest.approx(2.0 * (np.sqrt(2.0) - 1.0) / np.sqrt(np.pi))
    assert gaussian_crps(np.zeros(2), np.zeros(2), np.array([1.0, -3.0])) == 2.0


def test_the_fair_crps_is_that_of_an_endless_ensemble():
    generator = np.random.default_rng(0)
    truth = generator.normal(size=20000)
    members = generator.normal(size=(K, 20000))
    exact = gaussian_crps(np.zeros(20000), np.ones(20000), truth)
    assert crps(members, truth, method="fair") == pytest.approx(exact, rel=0.02)
    assert crps(members, truth) > 1.1 * exact


def test_a_reliable_ensemble_has_a_ratio_of_one():
    reliable = synthetic()
    found = spread_and_skill(reliable.members, reliable.truth)
    assert found["spread_over_skill"] == pytest.approx(1.0, abs=0.02)
    # Without the correction for few members it would be sqrt(5 / 6).
    assert found["spread"] / found["rmse"] == pytest.approx(np.sqrt(K / (K + 1)), abs=0.02)


def test_inflation_gives_back_a_spread_that_was_halved():
    halved = synthetic(scale=0.5)
    before = spread_and_skill(halved.members, halved.truth)["spread_over_skill"]
    assert before == pytest.approx(0.5, abs=0.02)
    assert fit_inflation(halved, dressed=False).factor == pytest.approx(2.0, abs=0.05)
    inflation = fit_inflation(halved)
    other = synthetic(seed=1, scale=0.5)
    calibrated = inflation.members(other.members, name="stl1")
    after = spread_and_skill(calibrated, other.truth)
    assert after["spread_over_skill"] == pytest.approx(1.0, abs=0.03)
    assert after["rmse"] == pytest.approx(spread_and_skill(other.members, other.truth)["rmse"])
    assert crps(calibrated, other.truth) < 0.97 * crps(other.members, other.truth)


def test_a_spread_that_says_nothing_is_replaced_and_not_inflated():
    share = {}
    for knowing in (False, True):
        cases = synthetic(widths=(0.2, 3.0), knowing=knowing)
        inflation = fit_inflation(cases)
        inner = inflation.factor**2 * cases.members.var(axis=0, ddof=1).mean()
        share[knowing] = inner / (inner + inflation.dressing**2)
    # Not zero: the error of the mean holds a fifth of the members' own variance.
    assert share[False] < 0.4
    assert share[True] > 0.9


def test_no_error_or_no_spread_needs_no_fit():
    same = np.full((K, 4), 280.0)
    column = np.arange(4)
    perfect = Cases(members=same, truth=same[0], column=column)
    assert fit_inflation(perfect) == Inflation()
    alike = fit_inflation(Cases(members=same, truth=same[0] + 2.0, column=column))
    assert alike.factor == 1.0
    assert alike.dressing == pytest.approx(2.0 * np.sqrt(K / (K + 1)))
    assert fit_inflation(Cases(np.zeros((K, 0)), np.zeros(0), np.zeros(0, int))) == Inflation()


@pytest.mark.parametrize("level", [0.5, 0.9])
def test_intervals_of_a_reliable_ensemble_cover_what_they_should(level):
    for cases, inflation in (
        (synthetic(), Inflation()),
        (synthetic(scale=0.5), Inflation(factor=2.0)),
    ):
        mean, scale, freedom = inflation.predictive(cases.members)
        share = coverage(mean, scale, cases.truth, level=level, freedom=freedom)
        assert share == pytest.approx(level, abs=0.015)
    halved = synthetic(scale=0.5)
    mean, scale, freedom = Inflation().predictive(halved.members)
    assert coverage(mean, scale, halved.truth, level=level, freedom=freedom) < level - 0.1


def test_dressing_is_known_and_takes_the_tails_from_the_intervals():
    members = synthetic().members
    _, scale, freedom = Inflation(factor=0.0, dressing=3.0).predictive(members)
    np.testing.assert_allclose(scale, 3.0 * np.sqrt(1.0 + 1.0 / K))
    assert freedom.min() > 1e5
    _, _, few = Inflation().predictive(members)
    np.testing.assert_allclose(few, K - 1)


def test_calibrated_members_stay_within_the_variable_s_bounds():
    members = np.random.default_rng(0).uniform(0.0, 0.05, (K, 500))
    moved = Inflation(factor=3.0, dressing=0.05).members(members, name="swvl1")
    assert moved.min() == 0.0
    assert moved.std() > 2.0 * members.std()


def test_ranks_of_a_reliable_ensemble_are_flat_and_of_a_narrow_one_are_not():
    reliable = synthetic()
    flat = flatness(ranks(reliable.members, reliable.truth), reliable.column, members=K)
    assert sum(flat["counts"]) == len(reliable.truth)
    assert flat["deviation"] < 0.05
    assert flat["p_flat"] > 0.01
    halved = synthetic(scale=0.5)
    narrow = flatness(ranks(halved.members, halved.truth), halved.column, members=K)
    assert narrow["counts"][0] > 1.5 * narrow["counts"][2]
    assert narrow["p_flat"] < 1e-6


def test_cases_of_one_column_are_not_taken_for_independent():
    """Forty columns whose hundred cases are all the same: forty draws, not four thousand."""
    found = []
    for seed in range(8):
        rank = np.random.default_rng(seed).integers(0, K + 1, 40)
        column = np.repeat(np.arange(40), 100)
        found.append(flatness(np.repeat(rank, 100), column, members=K)["p_flat"])
    assert min(found) > 1e-3
    few = flatness(np.array([0, 1]), np.array([0, 1]), members=K)
    assert np.isnan(few["p_flat"])


def test_ties_take_any_of_their_ranks():
    same = np.zeros((K, 6000))
    counts = np.bincount(ranks(same, np.zeros(6000)), minlength=K + 1)
    assert counts.min() > 850
    assert not open_cases(same, np.zeros(6000)).any()


def as_forecasts(cases, *, days=(1.0, 10.0, 90.0)):
    empty = Cases(np.zeros((K, 0)), np.zeros(0), np.zeros(0, int))
    by_name = {"stl1": [cases] * len(days), "rsn": [empty] * len(days)}
    return Forecasts(days, by_name, columns=COLUMNS, starts=EACH)


@pytest.fixture(scope="module")
def scored():
    calibration = fit_calibration(as_forecasts(synthetic(scale=0.5)), fitted_on={"files": ["x.nc"]})
    return score_forecasts(as_forecasts(synthetic(seed=1, scale=0.5)), calibration=calibration)


def test_the_result_sets_raw_beside_calibrated(scored):
    row = scored["variables"]["stl1"]["leads"][1]
    assert row["lead_days"] == 10.0
    assert row["raw"]["spread_over_skill"] == pytest.approx(0.5, abs=0.02)
    assert row["calibrated"]["spread_over_skill"] == pytest.approx(1.0, abs=0.03)
    assert row["calibrated"]["coverage"]["0.9"] == pytest.approx(0.9, abs=0.03)
    assert row["calibrated"]["crps"] < row["raw"]["crps"]
    assert row["calibrated"]["rank"]["deviation"] < 0.3 * row["raw"]["rank"]["deviation"]
    assert scored["sound"] == {"raw": [0.0, 0.0, 0.0], "calibrated": [1.0, 1.0, 1.0]}
    assert scored["calibration"]["columns"] == COLUMNS
    nothing = scored["variables"]["rsn"]["leads"][0]
    assert nothing["cases"] == 0
    assert nothing["raw"]["crps"] is None
    json.dumps(scored, allow_nan=False)


def test_settled_cases_count_in_errors_but_not_in_ranks_and_coverage():
    some = synthetic()
    truth, members = some.truth.copy(), some.members.copy()
    truth[: COLUMNS * EACH // 2] = 280.0
    members[:, : COLUMNS * EACH // 2] = 280.0
    half = Cases(members, truth, some.column)
    row = score_forecasts(as_forecasts(half))["variables"]["stl1"]["leads"][0]
    assert row["settled"] == len(truth) // 2
    assert sum(row["raw"]["rank"]["counts"]) == len(truth) // 2
    assert row["raw"]["coverage"]["0.5"] == pytest.approx(0.5, abs=0.02)
    assert row["raw"]["rmse"] == pytest.approx(np.sqrt(0.5 * 1.2 * 1.25), rel=0.03)


def test_a_member_that_blew_up_is_not_scored():
    broken = synthetic()
    broken.members[0, 0] = np.nan
    row = score_forecasts(as_forecasts(broken))["variables"]["stl1"]["leads"][0]
    assert row["raw"]["crps"] is None
    assert row["raw"]["rank"] is None


def test_the_tables_and_figures_are_of_the_result(scored, tmp_path):
    text = ensemble_table(scored)
    assert "## Lead of 90 days" in text
    row = next(line for line in text.splitlines() if line.startswith("| stl1"))
    assert row.count("|") == len(text.split("| variable")[1].splitlines()[0].split("|"))
    assert "| calibrated | 100% | 100% | 100% |" in text
    paths = save_ensemble_figures(tmp_path, scored)
    assert [path.name for path in paths] == [
        "rank_histograms.png",
        "spread_and_error.png",
        "intervals.png",
    ]
    assert min(path.stat().st_size for path in paths) > 10_000


def test_a_calibration_comes_back_and_is_read_between_its_leads(tmp_path):
    by_lead = {"stl1": [synthetic(scale=0.5), synthetic(scale=0.25)]}
    narrow = Forecasts((1.0, 100.0), by_lead, columns=COLUMNS, starts=EACH)
    made = fit_calibration(narrow, fitted_on={"files": ["x.nc"]})
    save_calibration(made, tmp_path)
    again = load_calibration(tmp_path, members=K)
    assert again == made
    first, last = made.variables["stl1"]
    assert last.factor > 1.5 * first.factor
    assert again.at("stl1", 0.25) == first
    middle = again.at("stl1", 10.0)
    assert middle.factor == pytest.approx(0.5 * (first.factor + last.factor))
    assert again.at("skt", 1.0) == Inflation()
    assert load_calibration(tmp_path / "elsewhere", members=K) is None
    with pytest.raises(InputError, match="fitted for 5 members, expected the ensemble's 4"):
        load_calibration(tmp_path, members=4)
    (tmp_path / "calibration.json").write_text('{"form": 1}')
    with pytest.raises(InputError, match=r"calibration\.json: not a calibration .*fit it again"):
        load_calibration(tmp_path, members=K)


@pytest.fixture(scope="module")
def data():
    sample = load_sample("ecland_sample").isel(time=slice(0, 30), column=slice(0, 3)).load()
    return sample


@pytest.fixture(scope="module")
def ensemble(data):
    first = {name: series[0] for name, series in forcing_from(data).items()}
    arguments = (parameters_from(data), state_from(data), first)
    return stack([create(*arguments, hidden=(8,), key=jax.random.key(i)) for i in range(3)])


@pytest.fixture(scope="module")
def made(ensemble, data):
    return forecasts(ensemble, data, lead_days=(1.0, 3.0), most_starts=3)


def test_starts_in_pieces_are_those_at_once(made, ensemble, data, monkeypatch):
    monkeypatch.setattr(ensemble_forecasts, "MOST_ROWS", 2 * data.sizes["column"])
    pieces = forecasts(ensemble, data, lead_days=(1.0, 3.0), most_starts=3)
    assert pieces.starts == made.starts
    for name, by_lead in made.cases.items():
        for whole, part in zip(by_lead, pieces.cases[name], strict=True):
            np.testing.assert_array_equal(part.truth, whole.truth)
            np.testing.assert_array_equal(part.column, whole.column)
            np.testing.assert_allclose(part.members, whole.members, rtol=1e-5, atol=1e-6)


def test_forecasts_are_the_members_runs_from_each_start(made, ensemble, data):
    assert made.lead_days == (1.0, 3.0)
    assert made.starts == 3
    start = 9  # the middle of 1 to 17, which leaves room for 12 steps
    alone = simulate(ensemble.member(2), data.isel(time=slice(start, start + 13)))
    for name, at in (("stl1", 12), ("skt", 12), ("slhf", 11), ("e", 11)):
        cases = made.cases[name][1]
        rows = slice(3, 6)  # of the second start
        np.testing.assert_array_equal(cases.column[rows], [0, 1, 2])
        np.testing.assert_allclose(
            cases.members[2, rows], alone[name].isel(time=at), rtol=1e-4, atol=1e-3
        )
        np.testing.assert_allclose(cases.truth[rows], data[name].isel(time=start + at), rtol=1e-6)


def test_forecasts_of_several_files_keep_their_columns_apart(made):
    both = join([made, made])
    assert both.columns == 6
    cases = both.cases["swvl2"][0]
    assert cases.members.shape == (3, 18)
    assert sorted(set(cases.column.tolist())) == [0, 1, 2, 3, 4, 5]
    np.testing.assert_array_equal(cases.truth[:9], cases.truth[9:])


def test_climatology_is_ofnear_the_day_in_other_years_at_the_same_hour():
    a_year = 365 * 4
    series = np.add.outer(np.arange(3 * a_year), np.zeros(2))
    valid = np.array([100, a_year + 101])
    found = near_the_day_in_other_years(series, valid, 21600.0)
    assert found.shape == (2 * 7, 4)
    away = (found[:, [0, 2]] - valid) / 4.0  # days
    np.testing.assert_allclose(away % 1.0, 0.0)
    around = (away + 182.5) % 365.0 - 182.5
    assert np.abs(around).max() <= 15.0
    assert np.abs(away).min() > 300.0
    assert near_the_day_in_other_years(series[: a_year + 200], valid[:1], 21600.0) is None


def test_traces_are_nothing(ensemble, data):
    faint = data.assign(sd=xr.full_like(data["sd"], 1e-9), sro=xr.full_like(data["sro"], 0.009))
    cases = forecasts(ensemble, faint, lead_days=(1.0, 3.0), most_starts=3).cases
    assert cases["sd"][0].truth.tolist() == [0.0] * 9
    assert cases["sro"][0].truth.tolist() == [0.0] * 9
    assert cases["stl1"][0].truth.min() > 200.0


def test_a_record_shorter_than_a_lead_is_named(ensemble, data):
    with pytest.raises(InputError, match="30 records of 6 h, expected more than the longest lead"):
        forecasts(ensemble, data, lead_days=(1.0, 10.0))


def test_the_evaluation_of_an_ensemble_writes_its_files(ensemble, data, tmp_path):
    calibration = calibrate_ensemble(ensemble, {"a.nc": data}, lead_days=(1.0, 3.0), most_starts=3)
    assert calibration.fitted_on == {"files": ["a.nc"], "columns": 3, "starts": 3}
    result = evaluate_ensemble(
        ensemble,
        data,
        calibration=calibration,
        out=tmp_path / "out",
        lead_days=(1.0, 3.0),
        most_starts=3,
        figures=False,
    )
    assert json.loads((tmp_path / "out" / "ensemble.json").read_text()) == result
    assert (tmp_path / "out" / "ensemble.md").read_text().startswith("# Ensemble")
    # The same columns as in the fit: spread matches skill but for the cut to bounds.
    lead = result["variables"]["swvl1"]["leads"][0]
    assert lead["calibrated"]["spread_over_skill"] == pytest.approx(1.0, abs=0.05)
    assert lead["raw"]["spread_over_skill"] < 0.8


def test_only_columns_withheld_from_all_members_count(ensemble, data):
    splits = [
        lambda whole: whole.isel(column=[0, 1]),
        lambda whole: whole.isel(column=[1, 2]),
    ]
    held = withheld_from_all(data, splits)
    assert held.sizes["column"] == 1
    assert float(held["lat"][0]) == float(data["lat"][1])
    assert list(held.coords) == list(data.coords)
    none = data.isel(column=[])
    with pytest.raises(InputError, match="no column is withheld from all members"):
        calibrate_ensemble(ensemble, {"a.nc": none})
