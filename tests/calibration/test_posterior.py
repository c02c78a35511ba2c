"""A posterior on disk and in words."""

import arviz as az
import numpy as np
import pytest
import xarray as xr

from calibration import load_posterior, save_posterior, summary
from calibration.methods import METHODS
from calibration.posterior import make_posterior
from hybrid_land.errors import InputError

CHAINS, DRAWS = 4, 500


def made(draws, *, diverging=0):
    """InferenceData of two columns from draws of field capacity `[chain, draw, column]`."""
    data = xr.Dataset(coords={"column": [7, 9], "lat": ("column", [10.0, 20.0])})
    flags = np.zeros(draws.shape, bool)
    flags[0, :diverging, 1] = True
    return make_posterior(
        {"theta_cap": draws},
        {"diverging": flags},
        {"theta_cap": draws[0]},
        data,
        facts={"method": "nuts"},
    )


@pytest.fixture
def draws():
    """Draws of chains that agree."""
    generator = np.random.default_rng(1)
    return generator.normal([0.3, 0.35], [0.01, 0.03], (CHAINS, DRAWS, 2))


def test_written_and_read_again(draws, tmp_path):
    posterior = made(draws, diverging=3)
    path = tmp_path / "posterior.nc"
    save_posterior(posterior, path)
    found = load_posterior(path)
    assert list(tmp_path.iterdir()) == [path]
    assert set(found.groups()) == {"posterior", "sample_stats", "prior"}
    for group in found.groups():
        xr.testing.assert_identical(found[group].load(), posterior[group])
    assert found["posterior"].attrs["method"] == "nuts"
    assert found["posterior"]["theta_cap"].attrs["units"] == "m3 m-3"
    assert summary(found) == summary(posterior)


def test_a_file_is_written_whole_or_not_at_all(draws, tmp_path, monkeypatch):
    path = tmp_path / "posterior.nc"
    path.write_text("what was there")

    def full_disk(self, filename):
        with open(filename, "w") as file:  # noqa: PTH123
            file.write("half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(az.InferenceData, "to_netcdf", full_disk)
    with pytest.raises(InputError, match=r"cannot be written \(No space left on device\)"):
        save_posterior(made(draws), path)
    assert path.read_text() == "what was there"
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_no_posterior_is_refused(draws, tmp_path):
    with pytest.raises(InputError, match="no such file; give a posterior"):
        load_posterior(tmp_path / "nowhere.nc")
    text = tmp_path / "text.nc"
    text.write_text("not NetCDF")
    with pytest.raises(InputError, match=r"text.nc: not a posterior"):
        load_posterior(text)
    other = tmp_path / "other.nc"
    xr.Dataset({"swvl1": ("time", [0.1])}).to_netcdf(other)
    with pytest.raises(InputError, match=r"other.nc: no group posterior"):
        load_posterior(other)
    with pytest.raises(InputError, match="is not a folder"):
        save_posterior(made(draws), tmp_path / "absent" / "posterior.nc")


def test_summary_of_each_column(draws):
    found = summary(made(draws))
    row = found["theta_cap"]
    flat = draws.reshape(-1, 2)
    np.testing.assert_allclose(row["mean"], flat.mean(axis=0))
    np.testing.assert_allclose(row["sd"], flat.std(axis=0))
    np.testing.assert_allclose([row["low"], row["high"]], np.quantile(flat, [0.05, 0.95], axis=0))
    assert max(row["rhat"]) < 1.01
    assert min(row["ess"]) > 1500
    assert found["divergences"] == 0
    first, second, last = found["words"].splitlines()
    assert first == (
        f"column 7: theta_cap {row['mean'][0]:.3g} m3 m-3, 90% in "
        f"[{row['low'][0]:.3g}, {row['high'][0]:.3g}]"
    )
    assert second.startswith("column 9: theta_cap 0.3")
    assert last.startswith("the chains agree (largest R-hat 1.00")


def test_chains_that_disagree_in_one_column_are_warned_of(draws):
    draws[1, :, 1] += 0.05
    found = summary(made(draws))
    assert found["theta_cap"]["rhat"][0] < 1.01 < 1.1 < found["theta_cap"]["rhat"][1]
    worst = found["theta_cap"]["rhat"][1]
    assert found["words"].splitlines()[-1] == (
        f"the chains do not agree (largest R-hat {worst:.3f}, expected below 1.01): "
        "give more --warmup and --draws, or --options longer=3"
    )


def test_chains_are_judged_by_the_value_they_walk_in(draws):
    """An error that is drawn anew for each draw would hide that they never met."""
    walked = draws.copy()
    walked[1, :, 1] += 0.2
    posterior = made(draws)
    dims = ("chain", "draw", "column")
    posterior.add_groups(unconstrained_posterior=xr.Dataset({"theta_cap": (dims, walked)}))
    found = summary(posterior)
    assert found["theta_cap"]["rhat"][0] < 1.01 < 1.1 < found["theta_cap"]["rhat"][1]
    assert found["unfit"].startswith("the chains did not mix: largest R-hat 1.")
    np.testing.assert_allclose(found["theta_cap"]["mean"], draws.mean(axis=(0, 1)))
    np.testing.assert_allclose(found["theta_cap"]["own_mean"], walked.mean(axis=(0, 1)))


@pytest.mark.parametrize("value", [np.nan, 0.3])
def test_draws_that_are_not_finite_or_never_move_are_no_agreement(draws, value):
    draws[..., 0] = value
    assert "the chains do not agree" in summary(made(draws))["words"]


def test_of_one_chain_nothing_is_claimed(draws, caplog):
    found = summary(made(draws[:1]))
    words = found["words"]
    assert np.isnan(found["theta_cap"]["rhat"]).all()
    assert "one chain: whether it has converged is not known; run 4" in words
    assert "agree" not in words
    assert not caplog.records


def test_divergences_are_counted_and_said(draws):
    found = summary(made(draws, diverging=12))
    assert found["divergences"] == 12
    assert found["words"].endswith(
        "12 transitions diverged: the tails are less sure than they look"
    )


def test_columns_in_which_the_method_did_not_converge_make_it_unfit(draws):
    posterior = made(draws)
    posterior["posterior"].attrs["method"] = "laplace"
    statistics = posterior["sample_stats"]
    statistics["converged"] = ("column", np.array([True, False]))
    found = summary(posterior)
    assert found["unfit"] == "no maximum of the posterior was found in 1 of 2 columns (9)"
    assert found["remedy"].startswith("give more starts and max_iterations")
    assert found["words"].endswith(f"{found['unfit']}: {found['remedy']}")
    statistics["converged"] = ((), np.array(False))
    assert summary(posterior)["unfit"].endswith("was found for what the columns share")
    statistics["converged"] = ("column", np.array([True, True]))
    assert (summary(posterior)["unfit"], summary(posterior)["remedy"]) == ("", "")


@pytest.mark.parametrize("method", METHODS)
def test_every_method_that_may_not_converge_has_words_for_it(draws, method):
    """By what it says that it returns."""
    posterior = made(draws)
    posterior["posterior"].attrs["method"] = method
    if "`converged`" in (METHODS[method].__doc__ or ""):
        posterior["sample_stats"]["converged"] = ("column", np.zeros(2, bool))
        assert "in 2 of 2 columns (7, 9)" in summary(posterior)["unfit"]
    else:
        assert summary(posterior)["unfit"] == ""
