"""Observations rescaled to a model's climate: fitted on one period, applied to another.

Satellite soil moisture and a model's first layer differ in mean, variance and distribution, so
that observations are brought into the model's climate before they are assimilated (Reichle and
Koster 2004, Geophys. Res. Lett. 31, L19501). The error is scaled by the ratio of the standard
deviations, as the signal is (de Rosnay et al. 2013).
"""

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr

from hybrid_land.data.netcdf import open_netcdf, save
from hybrid_land.errors import InputError

METHODS = ("cdf", "linear", "regression")
MINIMUM = 60
# As in the ESA CCI merging (Moesinger et al. 2020, Earth Syst. Sci. Data 12, 177): percentiles of
# one percent, fewer where a bin would hold less than this many values.
BINS = 100
VALUES_A_BIN = 20


@dataclass(frozen=True)
class Rescaling:
    """A fitted rescaling, one a column and season.

    Attributes:
        method: `cdf`, `linear` or `regression`.
        name: the observable.
        parameters: dims `(column, season)`: `count`, `scale` (of the error), and `slope` and
            `intercept`, or for `cdf` `observed_percentiles` and `reference_percentiles` with the
            dim `percentile` (NaN after the last). `season` is the month it is for, or 0 for all.
    """

    method: str
    name: str
    parameters: xr.Dataset

    def apply(self, observed: xr.Dataset) -> xr.Dataset:
        """Observations in the reference's climate.

        Beyond the values of the fit, a CDF goes on along its last line.

        Args:
            observed: the observations' form with the columns of the fit, of any time.

        Returns:
            The same, with `<name>` and `<name>_error` rescaled; what has no fit becomes NaN, and
            the attribute `not_rescaled` counts it.

        Raises:
            InputError: for other columns or a missing variable.
        """
        values = _table(observed, self.name)
        _require_columns(values, self.parameters.sizes["column"], "the observations", "the fit")
        spread = None
        if f"{self.name}_error" in observed:
            like = observed[f"{self.name}_error"].broadcast_like(observed[self.name])
            spread = like.transpose("time", "column").to_numpy().astype(np.float64)
        raw = values.to_numpy().astype(np.float64)
        result, errors = np.full(raw.shape, np.nan), np.full(raw.shape, np.nan)
        month = observed["time"].dt.month.to_numpy()
        for s, season in enumerate(self.parameters["season"].to_numpy()):
            rows = np.flatnonzero((month == season) | (season == 0))
            for c in range(raw.shape[1]):
                fit = self.parameters.isel(season=s, column=c)
                result[rows, c] = _predict(self.method, fit, raw[rows, c])
                if spread is not None:
                    errors[rows, c] = spread[rows, c] * float(fit["scale"])
        lost = np.isfinite(raw) & ~np.isfinite(result)
        dims = ("time", "column")
        scaled = observed.assign(
            {self.name: (dims, result.astype(np.float32), observed[self.name].attrs)}
        )
        if spread is not None:
            key = f"{self.name}_error"
            errors[~np.isfinite(result)] = np.nan
            scaled[key] = (dims, errors.astype(np.float32), observed[key].attrs)
        scaled.attrs = observed.attrs | {
            "rescaling": self.method,
            "rescaling_fitted": str(self.parameters.attrs.get("fitted", "")),
            "not_rescaled": int(lost.sum()),
        }
        return scaled

    def save(self, path: str | Path) -> None:
        """Write the fit as NetCDF, whole or not at all.

        Raises:
            InputError: if the path cannot be written.
        """
        stored = self.parameters.assign_attrs(method=self.method, observable=self.name)
        save(stored, path)


def load_rescaling(path: str | Path) -> Rescaling:
    """Read a fit that `Rescaling.save` wrote.

    Raises:
        InputError: if the file is missing, damaged or holds something else.
    """
    with open_netcdf(path) as stored:
        parameters = stored.load()
    method, name = (str(parameters.attrs.pop(key, "")) for key in ("method", "observable"))
    needed = ("observed_percentiles", "reference_percentiles") if method == "cdf" else ("slope",)
    absent = [key for key in ("scale", "count", *needed) if key not in parameters]
    if method not in METHODS or absent or not {"column", "season"} <= set(parameters.dims):
        raise InputError(
            f"{path}: not a fitted rescaling, expected a file that hybrid-land observe "
            "--save-rescaling wrote; give one"
        )
    return Rescaling(method=method, name=name, parameters=parameters)


def fit_rescaling(
    observed: xr.Dataset,
    reference: xr.Dataset,
    *,
    method: str = "cdf",
    name: str = "swvl1",
    reference_name: str | None = None,
    window_months: int | None = None,
    paired: bool = True,
    tolerance: str = "12h",
    minimum: int = MINIMUM,
    skip_few: bool = False,
) -> Rescaling:
    """Fit a rescaling of observations to a reference, column by column.

    `cdf` matches the cumulative distributions by pytesmo's `CDFMatching` with linear edges;
    `linear` matches mean and standard deviation; `regression` is least squares of the reference
    on the observations (pytesmo's `linreg_params`), which also shrinks by the correlation. Cut
    both to a period first to fit on it: `observed.sel(time=slice("2017"))`.

    Args:
        observed: the observations' form.
        reference: dims `(time, column)`, the same columns in the same order: a model's own run,
            or ERA5-Land.
        method: `cdf`, `linear` or `regression`.
        name: the observable.
        reference_name: its name in the reference, if another.
        window_months: for a fit of each calendar month, the months (odd) around it that take
            part; one fit for all of the year if not given.
        paired: take only what both have at the same time, so that gaps of the one do not bias the
            fit; else all that each has, for periods that do not overlap (not for `regression`).
        tolerance: of time between the two of a pair (pandas' notation); the nearest is taken.
        minimum: values that each fit must have of both.
        skip_few: leave a column or month with fewer without a fit instead of raising.

    Raises:
        InputError: for an unknown method, a missing variable, other columns, too few data, a
            series that is constant, or a regression that turns the sign.
    """
    if method not in METHODS:
        raise InputError(
            f"rescaling {method!r} is not known, expected {', '.join(METHODS)}; use one"
        )
    if method == "regression" and not paired:
        raise InputError("a regression needs pairs, expected paired data; use cdf or linear")
    if window_months is not None and (window_months not in range(1, 12) or window_months % 2 == 0):
        raise InputError(
            f"window of {window_months} months, expected an odd number from 1 to 11; correct it"
        )
    left = _table(observed, name)
    right = _table(reference, reference_name or name)
    columns = left.sizes["column"]
    _require_columns(right, columns, "the reference", "the observations")
    if paired:
        right = right.sel(time=~right.indexes["time"].duplicated()).sortby("time")
        right = right.reindex(time=left["time"], method="nearest", tolerance=tolerance)
    seasons = np.arange(1, 13) if window_months else np.zeros(1, np.int64)
    x_all, y_all = (part.to_numpy().astype(np.float64) for part in (left, right))
    if paired:
        both = np.isfinite(x_all) & np.isfinite(y_all)
        x_all, y_all = np.where(both, x_all, np.nan), np.where(both, y_all, np.nan)
    shape = (columns, len(seasons))
    wide = ("column", "season", "percentile")
    fitted: dict[str, np.ndarray] = {key: np.full(shape, np.nan) for key in ("scale",)}
    if method == "cdf":
        for key in ("observed_percentiles", "reference_percentiles"):
            fitted[key] = np.full((*shape, BINS + 1), np.nan)
    else:
        fitted |= {key: np.full(shape, np.nan) for key in ("slope", "intercept")}
    count = np.zeros(shape, np.int64)
    enough = max(minimum, 2 * VALUES_A_BIN)
    for s, season in enumerate(seasons):
        x_rows, y_rows = (_in_season(part, int(season), window_months) for part in (left, right))
        for c in range(columns):
            x, y = x_all[x_rows, c], y_all[y_rows, c]
            x, y = x[np.isfinite(x)], y[np.isfinite(y)]
            count[c, s] = min(len(x), len(y))
            place = f"column {c}" + (f", month {season}" if season else "")
            fault = _fault(x, y, enough)
            found = {} if fault else _fit(method, x, y)
            if not fault and not found["scale"] > 0.0:
                fault = "observations and reference go against each other (the slope is negative)"
            if fault:
                if skip_few:
                    continue
                raise InputError(
                    f"{name} of {place}: {fault}; fit on a longer period or in wider windows, or "
                    "leave such columns out (skip_few, --skip-few)"
                )
            for key, value in found.items():
                fitted[key][c, s] = value
    parameters = xr.Dataset(
        {key: (wide[: value.ndim], value) for key, value in fitted.items()},
        coords={"season": seasons},
        attrs={"title": f"Rescaling of {name}", "fitted": _period(left)},
    )
    parameters["count"] = (("column", "season"), count)
    return Rescaling(method=method, name=name, parameters=parameters)


def _fault(x: np.ndarray, y: np.ndarray, enough: int) -> str:
    """Why these two samples cannot be fitted, or nothing."""
    if min(len(x), len(y)) < enough:
        return (
            f"{len(x)} observations and {len(y)} values of the reference, expected at least "
            f"{enough} of each"
        )
    for values, which in ((x, "observations"), (y, "reference")):
        if not np.std(values) > 1e-6:
            return f"the {which} are constant at {values[0]:g}, expected values that vary"
        # Soil at a bound: pytesmo finds no line through the edge of such a distribution.
        if len(np.unique(values)) < VALUES_A_BIN:
            return (
                f"{len(np.unique(values))} different values in the {which}, expected at least "
                f"{VALUES_A_BIN}"
            )
    return ""


def _fit(method: str, x: np.ndarray, y: np.ndarray) -> dict[str, np.ndarray | float]:
    """Parameters of one fit from finite values, `[value]` each."""
    ratio = float(np.std(y) / np.std(x))
    if method == "linear":
        return {"scale": ratio, "slope": ratio, "intercept": float(y.mean() - ratio * x.mean())}
    if method == "regression":
        from pytesmo.scaling import linreg_params

        slope, intercept = np.asarray(linreg_params(x, y), float).tolist()
        return {"scale": slope, "slope": slope, "intercept": intercept}
    from pytesmo.cdf_matching import CDFMatching

    matcher = CDFMatching(nbins=BINS, minobs=VALUES_A_BIN, linear_edge_scaling=True)
    with warnings.catch_warnings():
        # Fewer bins for few values is what `minobs` is for.
        warnings.filterwarnings("ignore", "The bins have been resized", UserWarning)
        matcher.fit(x, y)
    return {
        "scale": ratio,
        "observed_percentiles": matcher.x_perc_,
        "reference_percentiles": matcher.y_perc_,
    }


def _predict(method: str, fit: xr.Dataset, values: np.ndarray) -> np.ndarray:
    """Rescaled values of one column and season, NaN where there is no fit."""
    if not np.isfinite(float(fit["scale"])) or not np.isfinite(values).any():
        return np.full(values.shape, np.nan)
    if method != "cdf":
        from pytesmo.scaling import linreg_stored_params

        return linreg_stored_params(values, float(fit["slope"]), float(fit["intercept"]))
    from pytesmo.cdf_matching import CDFMatching

    matcher = CDFMatching()
    matcher.x_perc_ = fit["observed_percentiles"].to_numpy()
    matcher.y_perc_ = fit["reference_percentiles"].to_numpy()
    return matcher.predict(values)


def _in_season(values: xr.DataArray, season: int, window: int | None) -> np.ndarray:
    """Records whose month takes part in the fit of a month (0: all), `[record]`."""
    month = values["time"].dt.month.to_numpy()
    if not season or window is None:
        return np.ones(len(month), bool)
    apart = np.abs(month - season)
    return np.minimum(apart, 12 - apart) <= (window - 1) // 2


def _table(data: xr.Dataset, name: str) -> xr.DataArray:
    if name not in data:
        found = ", ".join(map(str, data.data_vars)) or "nothing"
        raise InputError(f"no variable {name} to rescale, found {found}; name another")
    if set(data[name].dims) != {"time", "column"}:
        raise InputError(
            f"{name} has dims {data[name].dims}, expected (time, column); select or average the "
            "others"
        )
    plain = data[name].transpose("time", "column").reset_coords(drop=True)
    return plain.drop_vars("column", errors="ignore")


def _require_columns(values: xr.DataArray, columns: int, what: str, other: str) -> None:
    if values.sizes["column"] != columns:
        raise InputError(
            f"{what}: {values.sizes['column']} columns, expected {columns} as in {other}; "
            "collocate both with the same data"
        )


def _period(values: xr.DataArray) -> str:
    time = values["time"].to_numpy()
    if not len(time):
        return "nothing"
    return f"{time.min().astype('datetime64[D]')} to {time.max().astype('datetime64[D]')}"
