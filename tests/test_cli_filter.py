"""`hybrid-land assimilate` with ensemble filters: what it writes and tells, and what it refuses."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from hybrid_land.data import save
from tests.kit import answered
from tests.mistakes import holds, observed, plain
from tests.toy import Weathered

COMMAND = "assimilate model good.nc --obs obs.nc --method etkf --members 8 --out out.nc"
OPTIONS = (
    "--diagnose --window-days 5 --inflation 1.02 --relaxation 0.3 --rain-error 0.4 "
    "--forcing-error longwave=10 --forcing-memory-days 1 --growth swvl1=0.002 --seed 3"
)


def test_a_filter_tells_all_that_applies_and_draws_it(toy_place, capsys):
    found, told = answered(
        f"{COMMAND} {OPTIONS} --truth good.nc --withhold 0.2 --figures told --restart pieces",
        capsys,
    )
    assert told.splitlines() == ["window 1 of 2", "window 2 of 2"]
    assert len(list(Path("pieces").iterdir())) == 2
    assert (found["method"], found["members"], found["inflation"]) == ("etkf", 8, 1.02)
    assert found["forcing_error"].startswith("precipitation 0.4, longwave 10; memory 1 days")
    assert found["model_error_a_day"] == "swvl1 0.002"
    for key in (
        *("chi_squared_ratio", "swvl1_background_factor", "swvl1_lag_1", "covered_68_swvl1"),
        *("rank_dispersion_swvl1", "rmse_analysis_swvl1", "withheld_swvl1_analysis_rmse"),
        *("crps_swvl1", "stated_over_error_swvl1", "swvl1_crps"),
    ):
        assert np.isfinite(found[key]), key
    assert not any(key.startswith(("taylor", "adjoint")) for key in found)
    figures = {path.stem for path in Path("told").glob("*.png")}
    assert figures == {
        *("increments", "before_after", "map", "chi_squared", "desroziers", "innovations"),
        *("rank", "coverage", "spread", "withheld"),
    }
    with xr.open_dataset("out.nc") as analysis:
        assert analysis.swvl1.dims == ("time", "column")
        assert np.isfinite(analysis.root_zone_soil_moisture_analysis_error).all()
        assert int(np.isfinite(analysis.swvl1_innovation).sum()) == found["observations"]


def test_columns_share_observations_by_letkf(toy_place, capsys):
    local = "--localisation-km 20000 --localisation-depth-m 1 --background climatology"
    found, _ = answered(f"{COMMAND.replace('etkf', 'letkf')} {local}", capsys)
    assert found["method"] == "letkf"
    assert (found["localisation_km"], found["localisation_depth_m"]) == (20000.0, 1.0)
    with xr.open_dataset("out.nc") as analysis:
        assert np.isfinite(analysis.swvl1).all()
        assert (analysis.swvl1 != analysis.swvl1_background).any()
        # Its middle lies 1.9 m below that of the layer that is observed.
        np.testing.assert_array_equal(analysis.swvl4, analysis.swvl4_background)


def test_without_an_observation_a_filter_says_so(toy_place, capsys):
    with xr.open_dataset("obs.nc") as sound:
        save(sound.load().assign(swvl1=sound.swvl1.load() * np.nan), "none.nc")
    found, told = answered(f"{COMMAND.replace('obs.nc', 'none.nc')} {OPTIONS}", capsys)
    assert found["notice"] == "no observation in any window: the analysis is the background"
    assert told.splitlines()[-1] == f"none.nc: {found['notice']}"


def _constant(place):
    """Data of a climate without any variability: a first guess without error."""
    with xr.open_dataset(place / "good.nc") as sound:
        dry = sound.load()
        save(
            dry.assign(swvl1=(dry.swvl1 * 0 + 0.3).assign_attrs(dry.swvl1.attrs)), place / "bad.nc"
        )


MISTAKES = {
    "one member": plain(
        f"{COMMAND} --members 1", "the ensemble has 1 member", "expected at least 2", "draw more"
    ),
    "negative inflation": plain(
        f"{COMMAND} --inflation -1", "inflation is -1", "expected a number above 0"
    ),
    "no background error": plain(
        f"{COMMAND} --background-error swvl1=0",
        "standard deviation of swvl1 is 0",
        "expected a positive number",
    ),
    "a first guess without error": plain(
        f"{COMMAND} --background climatology --control swvl1".replace("good", "bad"),
        "the climatological covariance of swvl1 is not positive definite",
        "expected one that is",
        make=_constant,
    ),
    "observation error": observed(
        lambda ds: ds.assign(swvl1_error=ds.swvl1_error * 0),
        "swvl1_error is 0",
        "expected a positive standard deviation",
        command=COMMAND.replace("obs.nc", "bad.nc"),
    ),
    "a radius that reaches none": plain(
        f"{COMMAND.replace('etkf', 'letkf')} --localisation-km 1",
        "a localisation radius of 1 km reaches no column",
        "expected at least one",
        "widen it",
    ),
    "no radius": plain(
        COMMAND.replace("etkf", "letkf"), "letkf without a localisation", "give it, or filter"
    ),
    "a radius with another method": plain(
        f"{COMMAND} --localisation-km 100", "etkf with a localisation of 100 km", "expected one"
    ),
    "a gradient to test": plain(
        f"{COMMAND} --taylor-test", "--taylor-test with --method etkf", "no gradient", "leave it"
    ),
    "adjoint": plain(f"{COMMAND} --adjoint-test", "--adjoint-test with --method etkf"),
    "an option of 4D-Var": plain(
        f"{COMMAND} --propagate", "--propagate with --method etkf", "expected a variational method"
    ),
    "an option of a filter": plain(
        f"{COMMAND.replace('etkf', '4dvar')} --cycle-days 1",
        "--cycle-days with --method 4dvar",
        "expected an ensemble filter",
    ),
    "forcing": plain(
        f"{COMMAND} --forcing-error wind=3", "--forcing-error 'wind' is not known", "precipitation"
    ),
    "rain": plain(f"{COMMAND} --rain-error -1", "precipitation is -1", "expected zero or more"),
    "cycle": plain(f"{COMMAND} --cycle-days 11", "cycle of 11 days", "data's 10 days"),
    "lag": plain(f"{COMMAND} --lag-days 3", "etkf with a lag of 3 days", "enks or ienks"),
    "shift": plain(f"{COMMAND} --shift-days 3", "etkf with a shift of 3 days", "expected none"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_gets_one_line(name, place, capsys, monkeypatch):
    monkeypatch.setattr("hybrid_land.models.store.load_model", lambda _: Weathered())
    assert holds(MISTAKES[name], place=place, capsys=capsys)
