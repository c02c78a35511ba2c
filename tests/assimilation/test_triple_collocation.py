"""Triple collocation on products whose errors are known."""

import numpy as np
import pytest
import xarray as xr

from assimilation.triple_collocation import triple_collocation
from hybrid_land.errors import InputError

ERRORS = (0.02, 0.05, 0.03)
GAINS = (1.0, 0.5, 2.0)


def series(values, *, hours=0.0):
    time = np.datetime64("2015-01-01", "ns") + np.arange(len(values)) * np.timedelta64(1, "D")
    time = time + np.timedelta64(round(3600 * hours), "s")
    return xr.DataArray(values, dims=("time", "column"), coords={"time": time})


def three(days=20000, columns=2, seed=0):
    """One truth of standard deviation 0.1, seen thrice: linear, with independent errors."""
    generator = np.random.default_rng(seed)
    truth = 0.3 + 0.1 * generator.standard_normal((days, columns))
    return [
        series(
            0.05 * k + gain * truth + error * generator.standard_normal(truth.shape), hours=6 * k
        )
        for k, (gain, error) in enumerate(zip(GAINS, ERRORS, strict=True))
    ]


def test_known_errors_are_recovered():
    found = triple_collocation(*three(), names=("a", "b", "c"))
    for name, gain, error in zip("abc", GAINS, ERRORS, strict=True):
        mine = found.sel(product=name)
        np.testing.assert_allclose(mine["error_std"], error, rtol=0.06)
        np.testing.assert_allclose(mine["scaled_error_std"], error / gain, rtol=0.06)
        np.testing.assert_allclose(mine["beta"], 1.0 / gain, rtol=0.02)
        signal = 20.0 * np.log10(0.1 * gain / error)
        np.testing.assert_allclose(mine["snr"], signal, atol=0.6)
    assert found["count"].to_numpy().tolist() == [20000, 20000]
    assert found["error_std"].attrs["units"] == "m3 m-3"


def test_triplets_are_of_one_interval_and_complete():
    first, second, third = three(days=300)
    second = second.isel(time=slice(0, 280))
    third = third.where(np.arange(300)[:, None] % 2 == 0)
    assert triple_collocation(first, second, third)["count"].to_numpy().tolist() == [140, 140]
    # Six and twelve hours later are other intervals of six hours.
    with pytest.raises(InputError, match="column 0 has 0 triplets of first, second, third"):
        triple_collocation(first, second, third, every="6h")


def test_few_triplets_are_refused_or_left_empty():
    first, second, third = three(days=200)
    first = first.where(xr.DataArray([True, False], dims="column"))
    with pytest.raises(InputError, match=r"column 1 has 0 triplets .* expected at least 100"):
        triple_collocation(first, second, third)
    found = triple_collocation(first, second, third, skip_few=True)
    assert np.isfinite(found["error_std"]).all(dim="product").to_numpy().tolist() == [True, False]


def test_an_estimate_that_is_not_positive_is_missing():
    """The third goes against the others: no linear function of one truth."""
    first, second, third = three(days=500, columns=1)
    found = triple_collocation(first, second, -third)
    assert not np.isfinite(found["error_std"].sel(product="third")).any()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda a: a.isel(column=0), r"third has dims \('time',\), expected \(time, column\)"),
        (lambda a: a.isel(column=[0]), "third has 1 columns, expected 2 as first"),
        (lambda a: a.assign_coords(time=np.arange(200)), "third: time is int64, expected dates"),
    ],
)
def test_faults_are_named(spoil, message):
    first, second, third = three(days=200)
    with pytest.raises(InputError, match=message):
        triple_collocation(first, second, spoil(third))


def test_names_must_differ():
    with pytest.raises(InputError, match="expected three different ones; name each product"):
        triple_collocation(*three(days=200), names=("a", "a", "b"))


def test_an_interval_holds_the_error_as_often_as_it_says():
    """Of 40 intervals of 90 percent, some miss and not many."""
    given = three(days=400, columns=20)
    found = triple_collocation(*given, confidence=0.9)
    inside = []
    # Of the third, whose error is small beside its signal, some estimates are not positive.
    for product, error in zip(("first", "second"), ERRORS, strict=False):
        mine = found.sel(product=product)
        assert (mine["error_std_lower"] < mine["error_std"]).all()
        assert (mine["error_std"] < mine["error_std_upper"]).all()
        within = (mine["error_std_lower"] <= error) & (error <= mine["error_std_upper"])
        inside.append(float(within.mean()))
    assert 0.75 <= np.mean(inside) <= 0.975
    again = triple_collocation(*given, confidence=0.9)
    np.testing.assert_array_equal(found["error_std_upper"], again["error_std_upper"])
    assert found.attrs["confidence"] == 0.9
    assert "error_std_lower" not in triple_collocation(*given)


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95.0])
def test_a_level_that_is_no_share_is_refused(confidence):
    with pytest.raises(InputError, match=r"confidence of .* expected a level between 0 and 1"):
        triple_collocation(*three(days=200), confidence=confidence)
