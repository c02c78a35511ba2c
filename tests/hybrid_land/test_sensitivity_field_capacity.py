"""The comparison with ECLand's answer to theta_cap, on a truth that is itself a model."""

import numpy as np
import pytest
import xarray as xr

from hybrid_land.data import flatten_members
from hybrid_land.data.samples import load_sample
from hybrid_land.errors import InputError
from hybrid_land.sensitivity.field_capacity import (
    answers,
    compare_field_capacity,
    scoreboard,
    summary,
)
from hybrid_land.sensitivity.field_capacity_plots import curves_figure, slopes_figure
from hybrid_land.simulation import simulate
from tests.toy import LAYERS, Weathered

VALUES = (*LAYERS, "slhf")


@pytest.fixture(scope="module")
def runs() -> xr.Dataset:
    """Sixty days of the sample's nine values at four places, as the toy would have made them."""
    template = load_sample("theta_cap").isel(time=slice(0, 240)).load()
    run = simulate(Weathered(), flatten_members(template))
    shape = (template.sizes["time"], template.sizes["member"], template.sizes["column"])
    made = template.copy()
    for name in VALUES:
        values = run[name].to_numpy().reshape(shape)
        made[name] = (("time", "member", "column"), values, template[name].attrs)
    return made


def test_a_model_compared_with_itself_is_right(runs):
    found = compare_field_capacity({"model": Weathered()}, runs)
    assert found["swvl1"].dims == ("run", "year", "member", "column")
    table = summary(found)
    for name in (*VALUES, "e"):
        row = table[name]["runs"]["model"]
        assert row["slope"] == pytest.approx(1.0, abs=1e-4)
        assert row["slope_within_10"] == row["sign_right"] == row["correlation_reached"] == 1.0
        assert row["correlation"] == pytest.approx(1.0, abs=1e-6)
    truth = table["swvl1"]["runs"]["ecland"]
    assert truth["mean_answer"] == pytest.approx(table["swvl1"]["runs"]["model"]["mean_answer"])
    assert 0 < truth["per_scale"] < truth["mean_answer"]
    assert "| swvl1 | m3 m-3 | model | 1.00 | 100% | 1.000 |" in scoreboard(table)


def test_a_model_that_answers_wrongly_is_found_out(runs):
    models = {"backwards": Weathered(sense=-1.0), "deaf": Weathered(sense=0.0)}
    found = compare_field_capacity(models, runs)
    # The first state is ECLand's, so swvl1 of a wrong model still has part of the answer.
    table = summary(found)
    right = summary(compare_field_capacity({"model": Weathered()}, runs))
    for key in models:
        row = table["swvl1"]["runs"][key]
        assert row["slope_within_10"] == 0.0
        assert row["slope"] < 0.9 < right["swvl1"]["runs"]["model"]["slope"]


def test_without_the_first_state_of_ecland_a_deaf_model_has_no_answer(runs):
    found = compare_field_capacity({"deaf": Weathered(sense=0.0)}, runs, spin_up=1)
    table = summary(found)["swvl1"]["runs"]
    assert abs(table["deaf_spun_up"]["slope"]) < 1e-4
    assert table["deaf"]["slope"] > 0.01
    both = compare_field_capacity({"model": Weathered()}, runs, spin_up=2)
    spun = summary(both)["swvl1"]["runs"]["model_spun_up"]
    assert spun["sign_right"] == 1.0


def test_places_have_slopes_per_unit_of_theta_cap(runs):
    places = answers(compare_field_capacity({"model": Weathered()}, runs))
    x = runs["theta_cap"].transpose("member", "column").to_numpy()
    y = runs["swvl2"].mean("time").transpose("member", "column").to_numpy()
    expected = [np.polyfit(x[:, i], y[:, i], 1)[0] for i in range(x.shape[1])]
    slope = places["swvl2_slope"].sel(run="ecland")
    np.testing.assert_allclose(slope, expected, rtol=1e-3)
    assert slope.attrs["units"] == "m3 m-3"


def test_noise_leaves_places_out(runs):
    quiet = runs.copy()
    middle = quiet["slhf"].isel(member=4)
    quiet["slhf"] = (quiet["slhf"] * 0 + middle).transpose(*runs["slhf"].dims)
    table = summary(compare_field_capacity({"model": Weathered()}, quiet))
    assert table["slhf"]["places_above_noise"] == 0
    assert np.isnan(table["slhf"]["runs"]["model"]["sign_right_above_noise"])
    assert table["swvl1"]["places_above_noise"] > 0


def test_figures_show_every_run(runs):
    found = compare_field_capacity({"model": Weathered(), "xgboost": Weathered(sense=0.5)}, runs)
    figure = curves_figure(found, places=[0, 2])
    assert len(figure.axes) == 2 * 3  # without ssro, which the sample lacks
    assert [len(axes.lines) for axes in figure.axes] == [3] * 6
    assert "swvl4 (m³ m⁻³)" in [
        axes.get_title("left") or axes.get_title() for axes in slopes_figure(found).axes
    ]


def test_data_without_members_are_refused(runs):
    with pytest.raises(InputError, match="expected a dim member and the variable theta_cap"):
        compare_field_capacity({"model": Weathered()}, flatten_members(runs))
    with pytest.raises(InputError, match="expected another name"):
        compare_field_capacity({"ecland": Weathered()}, runs)
