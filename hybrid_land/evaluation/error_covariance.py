"""A model's forecast error by variable and lead: mean, variance, correlations, memory in time.

The errors are those of runs that start from ECLand's own state, so that they are the model's
alone: what assimilation calls model error, and what calibration adds to an observation's error.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr
from jaxtyping import Float

from hybrid_land.columns import require_model_fits
from hybrid_land.data.files import atomic_path
from hybrid_land.data.netcdf import open_netcdf
from hybrid_land.errors import InputError
from hybrid_land.evaluation.scores import counted
from hybrid_land.forecasts import from_starts
from hybrid_land.interface import Model
from hybrid_land.models.store import model_directory
from hybrid_land.variables import VARIABLES

FILE = "errors.nc"
LEADS = (1, 4, 40, 120, 360)  # steps: 6 hours, 1, 10, 30 and 90 days at 6-hourly steps
LAGS = (1, 2, 4, 8, 20, 40, 120)  # steps
YEAR = 1440  # steps of the long forecasts
YEAR_LAGS = (360, 700)  # steps, 90 and 175 days
_FORM = 1


@dataclass(frozen=True)
class ForecastErrors:
    """Statistics of a model's forecast errors (model minus truth).

    Attributes:
        table: dims `name` (all variables), `prognostic`, `prognostic_2`, `lead` and `lag` (steps):
            `mean` and `variance` `(lead, name)` in the variable's unit and its square,
            `correlation` `(lead, prognostic, prognostic_2)`, `autocorrelation` `(lag, name)`,
            `samples` `(lead, name)`, `units` `(name)`; attribute `time_step`, s. Where it was
            found (`benchmarks/parameter_error.py`) `parameter_error` `(parameter)`.
    """

    table: xr.Dataset

    @property
    def names(self) -> tuple[str, ...]:
        """Variables whose variance is known."""
        return tuple(map(str, self.table["name"].to_numpy()))

    @property
    def parameters(self) -> dict[str, float]:
        """Error of each parameter whose error is known, as a share of its range.

        Standard deviation of the value with which the model does best about the true one.
        """
        if "parameter_error" not in self.table:
            return {}
        found = self.table["parameter_error"]
        return {
            str(name): float(value)
            for name, value in zip(found["parameter"].to_numpy(), found.to_numpy(), strict=True)
        }

    def variance(self, name: str, lead: int | float | np.ndarray) -> Float[np.ndarray, "..."]:
        """Variance of the error at a lead, or at many, in the square of the variable's unit.

        The standard deviation is linear in the logarithm of the lead between the leads that were
        measured, and constant beyond them.

        Args:
            name: of a variable of the model.
            lead: steps, positive.

        Raises:
            InputError: if the variable is not known or a lead is not positive.
        """
        if name not in self.names:
            raise InputError(
                f"errors of {name!r} are not known, expected one of {', '.join(self.names)}; "
                "compute the model's errors with that variable"
            )
        steps = np.asarray(lead, np.float64)
        if not (steps > 0.0).all():
            raise InputError(
                f"lead {float(steps.min()):g} steps, expected more than 0; give leads in steps"
            )
        known = self.table["variance"].sel(name=name).to_numpy().astype(np.float64)
        sound = np.isfinite(known)
        at = np.log(self.table["lead"].to_numpy().astype(np.float64)[sound])
        if not sound.any():
            return np.full(steps.shape, np.nan)
        return np.asarray(np.interp(np.log(steps), at, np.sqrt(known[sound])) ** 2)

    def covariance(
        self, lead: int | float, *, variables: Sequence[str] | None = None
    ) -> Float[np.ndarray, "variable variable"]:
        """Covariance between prognostic variables at a lead, positive semi-definite.

        B = D^1/2 C D^1/2 with the variances of `variance` and the correlations C of the measured
        lead that is nearest in its logarithm; correlations over different samples (snow counts
        only where there is some) are made semi-definite by clipping eigenvalues at zero.

        Args:
            lead: steps.
            variables: names in the order wanted, all prognostic ones by default.

        Raises:
            InputError: if a variable is not prognostic.
        """
        order = [str(name) for name in self.table["prognostic"].to_numpy()]
        chosen = order if variables is None else list(variables)
        absent = [name for name in chosen if name not in order]
        if absent:
            raise InputError(
                f"correlations of {', '.join(absent)} are not known, expected of "
                f"{', '.join(order)}; leave it out"
            )
        leads = self.table["lead"].to_numpy().astype(np.float64)
        nearest = int(np.argmin(np.abs(np.log(leads / lead))))
        found = self.table["correlation"].isel(lead=nearest)
        matrix = found.sel(prognostic=chosen, prognostic_2=chosen).to_numpy().astype(np.float64)
        values, vectors = np.linalg.eigh(0.5 * (matrix + matrix.T))
        matrix = (vectors * np.maximum(values, 0.0)) @ vectors.T
        diagonal = np.sqrt(np.diag(matrix))
        deviation = np.sqrt([float(self.variance(name, lead)) for name in chosen])
        return matrix / np.outer(diagonal, diagonal) * np.outer(deviation, deviation)


def forecast_errors(
    model: Model,
    data: xr.Dataset | Sequence[xr.Dataset],
    *,
    leads: Sequence[int] = LEADS,
    lags: Sequence[int] = LAGS,
    starts: int = 12,
    long_lead: int = YEAR,
    long_lags: Sequence[int] = YEAR_LAGS,
) -> ForecastErrors:
    """Errors of forecasts from many starts over columns that the model was not trained on.

    Args:
        model: started from the data's own states.
        data: one Dataset or several, ECLand's; every start and column is one sample.
        leads: steps, the longest sets how long the forecasts are.
        lags: steps, of the autocorrelation; those not shorter than half a forecast are left out.
        starts: of each Dataset, spread evenly over its records.
        long_lead: steps of further forecasts, as many as a Dataset holds one after the other, whose
            memory tells how much of the error stays. Left out where no Dataset is as long.
        long_lags: steps, of their autocorrelation.

    Returns:
        The statistics. Snow's inner variables count where the truth has snow. The autocorrelation
        is that of the error about its mean over samples, between pairs of steps of one forecast
        in its second half.

    Raises:
        InputError: if no Dataset is as long as the longest lead, or one lacks a variable.
    """
    given = [data] if isinstance(data, xr.Dataset) else list(data)
    longest = max(leads)
    usable = [ds for ds in given if ds.sizes["time"] > longest]
    if not usable:
        records = max((ds.sizes["time"] for ds in given), default=0)
        raise InputError(
            f"{records} records, expected more than {longest} for the longest lead; give longer "
            "data or shorter leads"
        )
    errors = _joined([_errors_of(model, ds, longest, starts) for ds in usable])
    names = [name for name in (*model.prognostic, *model.diagnostic) if name in errors]
    prognostic = list(model.prognostic)
    at_lead = {int(lead): errors for lead in sorted(set(leads))}
    at_lag = {int(lag): errors for lag in sorted(lags) if lag < longest - longest // 2}
    whole = [ds for ds in given if ds.sizes["time"] > long_lead > longest]
    if whole:
        late = _joined([_errors_of(model, ds, long_lead, 0) for ds in whole])
        at_lag |= {int(lag): late for lag in sorted(long_lags) if lag > max(at_lag, default=0)}
    moments = {
        name: [_moments(found[name][lead - 1]) for lead, found in at_lead.items()] for name in names
    }
    table = xr.Dataset(
        {
            "mean": (("lead", "name"), _by_lead(moments, 0)),
            "variance": (("lead", "name"), _by_lead(moments, 1)),
            "samples": (("lead", "name"), _by_lead(moments, 2).astype(np.int32)),
            "correlation": (
                ("lead", "prognostic", "prognostic_2"),
                np.stack(
                    [
                        _correlations([found[name][lead - 1] for name in prognostic])
                        for lead, found in at_lead.items()
                    ]
                ),
            ),
            "autocorrelation": (
                ("lag", "name"),
                np.array(
                    [[_memory(found[name], lag) for name in names] for lag, found in at_lag.items()]
                ).reshape(len(at_lag), len(names)),
            ),
            "units": ("name", [VARIABLES[name].units for name in names]),
        },
        coords={
            "lead": ("lead", np.array(list(at_lead), np.int32), {"units": "steps"}),
            "lag": ("lag", np.array(list(at_lag), np.int32), {"units": "steps"}),
            "name": names,
            "prognostic": prognostic,
            "prognostic_2": prognostic,
        },
        attrs={
            "form": _FORM,
            "time_step": float(model.time_step),
            "title": "errors of forecasts that start from ECLand's state, model minus ECLand",
            "forecasts": int(next(iter(errors.values())).shape[1]),
            "columns": int(sum(ds.sizes["column"] for ds in usable)),
        },
    )
    return ForecastErrors(_described(table))


def _described(table: xr.Dataset) -> xr.Dataset:
    words = {
        "mean": ("unit of the variable, see units", "mean error"),
        "variance": ("square of the unit of the variable, see units", "variance of the error"),
        "samples": ("1", "forecasts times columns that count"),
        "correlation": ("1", "correlation between errors of two variables at one lead"),
        "autocorrelation": ("1", "correlation between errors of one forecast, a lag apart"),
    }
    for name, (units, long_name) in words.items():
        kept = table[name].astype(np.float32) if name != "samples" else table[name]
        table[name] = kept.assign_attrs(units=units, long_name=long_name)
    return table


def _joined(
    pieces: Sequence[dict[str, Float[np.ndarray, "step _"]]],
) -> dict[str, Float[np.ndarray, "step sample"]]:
    """The samples of several Datasets side by side, of the variables that the first has."""
    return {name: np.concatenate([piece[name] for piece in pieces], axis=1) for name in pieces[0]}


def _errors_of(
    model: Model, truth: xr.Dataset, longest: int, starts: int
) -> dict[str, Float[np.ndarray, "step sample"]]:
    """Model minus truth at every lead, NaN where the variable does not count.

    From so many starts; 0: from one after the other, as many as the records hold.
    """
    require_model_fits(model, truth)
    room = truth.sizes["time"] - 1 - longest
    first = np.unique(np.linspace(0, room, starts or 1 + room // longest).astype(int))
    steps = np.arange(1, longest + 1)
    found = from_starts(model, truth, first, steps)
    errors = {}
    for name, values in found.items():
        if name not in truth:
            continue
        late = int(VARIABLES[name].kind == "instantaneous")
        valid = first[None, :] + steps[:, None] - 1 + late
        actual = truth[name].transpose("time", "column").to_numpy()[valid]
        where = counted(truth, name).transpose("time", "column").to_numpy()[valid]
        error = np.where(where, values.astype(np.float64) - actual, np.nan)
        errors[name] = error.reshape(longest, -1)
    return errors


def _moments(error: Float[np.ndarray, " sample"]) -> tuple[float, float, int]:
    """Mean, variance (ddof 1) and number of what counts."""
    known = error[np.isfinite(error)]
    if known.size < 2:
        return float("nan"), float("nan"), int(known.size)
    return float(known.mean()), float(known.var(ddof=1)), int(known.size)


def _by_lead(moments: Mapping[str, Sequence[tuple[float, float, int]]], part: int) -> np.ndarray:
    return np.array([[one[part] for one in series] for series in moments.values()]).T


def _pearson(a: np.ndarray, b: np.ndarray) -> float:
    """Correlation over samples that count in both; 0 where either does not vary."""
    both = np.isfinite(a) & np.isfinite(b)
    if both.sum() < 3:
        return 0.0
    x, y = a[both] - a[both].mean(), b[both] - b[both].mean()
    size = np.sqrt(np.mean(x * x) * np.mean(y * y))
    return float(np.mean(x * y) / size) if size > 0.0 else 0.0


def _correlations(
    errors: Sequence[Float[np.ndarray, " sample"]],
) -> Float[np.ndarray, "variable variable"]:
    matrix = np.eye(len(errors))
    for i, a in enumerate(errors):
        for j in range(i):
            matrix[i, j] = matrix[j, i] = _pearson(a, errors[j])
    return matrix


def _memory(error: Float[np.ndarray, "step sample"], lag: int) -> float:
    """Autocorrelation of the second half of the forecasts, about the mean of each step."""
    late = error[len(error) // 2 :]
    counts = np.maximum(np.isfinite(late).sum(axis=1, keepdims=True), 1)
    centred = late - np.nansum(late, axis=1, keepdims=True) / counts
    return _pearson(centred[:-lag].ravel(), centred[lag:].ravel())


def save_errors(errors: ForecastErrors, path: str | Path) -> Path:
    """Write the statistics as NetCDF, whole or not at all; in a model's directory, as `errors.nc`.

    Raises:
        InputError: if the place cannot be written.
    """
    target = Path(path) / FILE if Path(path).is_dir() else Path(path)
    with atomic_path(target) as partial:
        errors.table.to_netcdf(partial, engine="netcdf4")
    return target


def load_errors(model: str | Path) -> ForecastErrors:
    """Read the statistics of a model, by its name or directory, or from a file.

    Raises:
        InputError: if there is none, or the file is of another kind.
    """
    path = Path(model)
    if not path.is_file():
        path = model_directory(model) / FILE
    if not path.is_file():
        raise InputError(
            f"{path}: no such file, expected the model's error statistics; make them with "
            "benchmarks/error_covariance.py"
        )
    with open_netcdf(path) as stored:
        table = stored.load()
    if table.attrs.get("form") != _FORM or "variance" not in table:
        raise InputError(
            f"{path}: form {table.attrs.get('form')}, expected {_FORM} with a variance; make it "
            "again"
        )
    return ForecastErrors(table)
