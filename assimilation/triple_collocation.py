"""Error variances of three products that observe the same, without knowing the truth."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import scipy.stats
import xarray as xr
from jaxtyping import Float

from hybrid_land.errors import InputError

MINIMUM = 100  # triplets; Zwieback et al. 2012 ask for several hundred for 10 percent
_RESAMPLES = 1000


def triple_collocation(
    first: xr.DataArray,
    second: xr.DataArray,
    third: xr.DataArray,
    *,
    names: Sequence[str] = ("first", "second", "third"),
    every: str = "1D",
    minimum: int = MINIMUM,
    skip_few: bool = False,
    confidence: float | None = None,
    seed: int = 0,
) -> xr.Dataset:
    """Estimate the error of each of three products, column by column, by pytesmo's `tcol_metrics`.

    With covariances Q of the triplets, the error variance of the first in its own units is
    Q11 - Q12 Q13 / Q23, and so round (Stoffelen 1998, J. Geophys. Res. 103, 7755; Gruber et al.
    2016, Int. J. Appl. Earth Obs. 45, 200). It holds if each is linear in the truth and the errors
    are independent of the truth and of one another: two satellites with the same ancillary data,
    or a model that has assimilated one of them, do not qualify.

    Args:
        first: dims `(time, column)`, NaN where missing; the reference of the scaling.
        second: the same columns, any times.
        third: the same.
        names: of the three, for the result.
        every: values are averaged over intervals of this length (pandas' notation) from midnight;
            intervals that all three have are triplets.
        minimum: triplets that a column must have.
        skip_few: leave a column with fewer empty (NaN) instead of raising.
        confidence: level of an interval by the bootstrap, such as 0.95; none if not given. It
            takes triplets for independent, and is too narrow where errors last for days.
        seed: of the bootstrap.

    Returns:
        Dims `(product, column)`: `error_std` in the product's own units, `scaled_error_std` in
        the reference's, `beta` (the factor that scales to the reference), `snr` in dB; `count`
        of triplets on column; with a confidence, `error_std_lower` and `error_std_upper`, the
        lower one zero where that quantile of the variance is not positive. NaN where the estimate
        of the variance is not positive: too few triplets, or the assumptions do not hold.

    Raises:
        InputError: for other numbers of columns, times that are no dates, too few triplets, or a
            confidence that is not between 0 and 1.
    """
    from pytesmo.metrics import tcol_metrics

    if len(names) != 3 or len(set(names)) != 3:
        raise InputError(f"names {tuple(names)}, expected three different ones; name each product")
    if confidence is not None and not 0.0 < confidence < 1.0:
        raise InputError(
            f"confidence of {confidence:g}, expected a level between 0 and 1 such as 0.95; correct "
            "it"
        )
    series = []
    for name, values in zip(names, (first, second, third), strict=True):
        if set(values.dims) != {"time", "column"}:
            raise InputError(
                f"{name} has dims {values.dims}, expected (time, column); select or average the "
                "others"
            )
        if not np.issubdtype(values["time"].dtype, np.datetime64):
            raise InputError(f"{name}: time is {values['time'].dtype}, expected dates; decode it")
        if values.sizes["column"] != first.sizes["column"]:
            raise InputError(
                f"{name} has {values.sizes['column']} columns, expected {first.sizes['column']} as "
                f"{names[0]}; collocate it with the same columns"
            )
        table = pd.DataFrame(
            values.transpose("time", "column").to_numpy().astype(np.float64),
            index=pd.DatetimeIndex(values["time"].to_numpy()),
        )
        series.append(table.resample(every, origin="epoch").mean())
    common = series[0].index.intersection(series[1].index).intersection(series[2].index)
    aligned = [table.loc[common].to_numpy() for table in series]
    columns = first.sizes["column"]
    found = {key: np.full((3, columns), np.nan) for key in ("scaled", "snr", "beta")}
    bounds = np.full((2, 3, columns), np.nan)
    count = np.zeros(columns, np.int64)
    for column in range(columns):
        three = np.stack([part[:, column] for part in aligned])
        three = three[:, np.isfinite(three).all(axis=0)]
        count[column] = three.shape[1]
        if count[column] < max(minimum, 3):
            if skip_few:
                continue
            raise InputError(
                f"column {column} has {count[column]} triplets of {', '.join(names)}, expected at "
                f"least {max(minimum, 3)}; give a longer time or leave such columns empty "
                "(skip_few)"
            )
        with np.errstate(divide="ignore", invalid="ignore"):
            snr, scaled, beta = tcol_metrics(*three)
        sound = np.isfinite(scaled) & (beta > 0)
        found["snr"][:, column] = np.where(sound, snr, np.nan)
        found["scaled"][:, column] = np.where(sound, scaled, np.nan)
        found["beta"][:, column] = np.where(sound, beta, np.nan)
        if confidence is not None:
            interval = _interval(three, confidence, seed)
            bounds[:, :, column] = np.where(sound, interval, np.nan)
    units = {"units": str(first.attrs.get("units", "m3 m-3"))}
    dims = ("product", "column")
    result = xr.Dataset(
        {
            "error_std": (
                dims,
                found["scaled"] / found["beta"],
                units | {"long_name": "standard deviation of the error"},
            ),
            "scaled_error_std": (
                dims,
                found["scaled"],
                units | {"long_name": f"the same, scaled to {names[0]}"},
            ),
            "beta": (dims, found["beta"], {"units": "1", "long_name": f"factor to {names[0]}"}),
            "snr": (dims, found["snr"], {"units": "dB", "long_name": "signal-to-noise ratio"}),
            "count": ("column", count, {"units": "1", "long_name": "triplets"}),
        },
        coords={"product": list(names)},
        attrs={"title": "Triple collocation", "every": every, "reference": names[0]},
    )
    if confidence is not None:
        result.attrs["confidence"] = confidence
        for name, values in zip(("lower", "upper"), bounds, strict=True):
            words = {"long_name": f"{name} bound of error_std, level {confidence:g}"}
            result[f"error_std_{name}"] = (dims, values, units | words)
    return result


def _variances(
    first: np.ndarray, second: np.ndarray, third: np.ndarray, axis: int = -1
) -> np.ndarray:
    """Error variances of three products in their own units, `[product, ...]`."""
    a, b, c = (x - x.mean(axis=axis, keepdims=True) for x in (first, second, third))
    ab, ac, bc = ((x * y).mean(axis=axis) for x, y in ((a, b), (a, c), (b, c)))
    aa, bb, cc = ((x * x).mean(axis=axis) for x in (a, b, c))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.stack([aa - ab * ac / bc, bb - ab * bc / ac, cc - ac * bc / ab])


def _interval(
    three: Float[np.ndarray, "product triplet"], level: float, seed: int
) -> Float[np.ndarray, "bound product"]:
    """Lower and upper bound of the error's standard deviation by the percentile bootstrap."""
    found = scipy.stats.bootstrap(
        tuple(three),
        _variances,
        paired=True,
        vectorized=True,
        n_resamples=_RESAMPLES,
        confidence_level=level,
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    low, high = found.confidence_interval
    return np.sqrt(np.maximum(np.stack([low, high]), 0.0))
