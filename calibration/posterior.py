"""A posterior as ArviZ InferenceData: made, written, read and put in words."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import arviz as az
import numpy as np
import xarray as xr

from calibration.methods import SHARED, WALKING
from calibration.nuts import AGREED
from hybrid_land.data.files import atomic_path
from hybrid_land.errors import InputError
from hybrid_land.variables import VARIABLES

INTERVAL = 0.9
_DIMS = {0: (), 1: ("column",), 2: ("chain", "draw"), 3: ("chain", "draw", "column")}
_MIXED = 1.05  # R-hat from which draws are no posterior: that of short, sound chains is below
_LISTED = 5  # columns that are named of many
_LESS_SURE = "a --discrepancy that leaves the model less sure"
_SHORT = "not all of the likelihood was used", f"give {_LESS_SURE}"
# What it means of a method that its statistic `converged` is false, and what to do.
_ENDS = {
    "laplace": (
        "no maximum of the posterior was found",
        "give more starts and max_iterations by --options, or take --method nuts",
    ),
    "grid": ("the grid did not resolve the posterior", "give more points by --options"),
    "svi": ("the bound had not settled", "give more steps by --options"),
    "smc": _SHORT,
    "eki": _SHORT,
}


def make_posterior(
    draws: Mapping[str, np.ndarray],
    statistics: Mapping[str, np.ndarray],
    prior: Mapping[str, np.ndarray],
    data: xr.Dataset,
    *,
    facts: Mapping[str, Any],
) -> az.InferenceData:
    """InferenceData with the groups posterior, sample_stats and prior.

    Args:
        draws: name to `[chain, draw, column]`, or `[chain, draw]` of what columns share.
        statistics: of the method, the same or `[column]`.
        prior: name to `[draw, column]`.
        data: whose columns they belong to.
        facts: attributes of the posterior group.
    """
    groups = {
        "posterior": dict(draws),
        "sample_stats": dict(statistics),
        "prior": {name: values[None] for name, values in prior.items()},
    }
    made = {}
    for group, arrays in groups.items():
        dataset = xr.Dataset(
            {name: (_DIMS[np.ndim(values)], values) for name, values in arrays.items()}
        )
        for dim in ("chain", "draw"):
            if dim in dataset.sizes:
                dataset = dataset.assign_coords({dim: np.arange(dataset.sizes[dim])})
        for name in ("column", "lat", "lon"):
            if name in data and data[name].dims == ("column",):
                dataset = dataset.assign_coords({name: ("column", data[name].to_numpy())})
        for name in dataset.data_vars:
            row = VARIABLES.get(f"clim_{name}")
            if row is not None:
                dataset[name].attrs = {"units": row.units, "long_name": row.long_name}
        made[group] = dataset
    made["posterior"].attrs = dict(facts)
    return az.InferenceData(**made)


def save_posterior(posterior: az.InferenceData, path: str | Path) -> None:
    """Write a posterior as ArviZ NetCDF, whole or not at all.

    Raises:
        InputError: if the path cannot be written.
    """
    with atomic_path(path) as partial:
        posterior.to_netcdf(str(partial))


def load_posterior(path: str | Path) -> az.InferenceData:
    """Read a posterior.

    Raises:
        InputError: if there is none at `path`.
    """
    if not Path(path).is_file():
        raise InputError(f"{path}: no such file; give a posterior written by calibrate")
    try:
        posterior = az.from_netcdf(str(path))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not a posterior ({error}); run calibrate again") from error
    if "posterior" not in posterior.groups():
        raise InputError(f"{path}: no group posterior, expected ArviZ's form; run calibrate again")
    return posterior


def summary(posterior: az.InferenceData) -> dict[str, Any]:
    """Mean, spread, interval and convergence of each parameter and column.

    Returns:
        By parameter `mean`, `sd`, `low`, `high` (the central 90%), `rhat` and `ess`, lists over
        columns, or of one number for what columns share, and `own_mean`, of the value with which
        the model is to be run (`calibration.effective`): chains walk in that, and `rhat` and `ess`
        are of it; `divergences`; `unfit`, why the draws
        are no posterior (chains that did not mix, a method that did not converge in a column),
        empty if they may be one, and `remedy`, what to do then; and `words`, which say whether
        the chains agree and what to do if they do not.
    """
    draws = posterior["posterior"]
    tail = (1.0 - INTERVAL) / 2.0
    result: dict[str, Any] = {}
    lines, worst = [], 1.0
    single = draws.sizes["chain"] < 2
    error = draws.attrs.get("parameter_error", "")
    effective = getattr(posterior, "unconstrained_posterior", {})
    for key in draws.data_vars:
        values = draws[key]
        shared = "column" not in values.dims
        whole = values.expand_dims("column") if shared else values
        each = whole.transpose("column", "chain", "draw").to_numpy()
        low, high = np.quantile(each, [tail, 1.0 - tail], axis=(1, 2))
        own = effective[key].transpose("column", "chain", "draw") if key in effective else None
        walked = each if own is None else own.to_numpy()
        with np.errstate(divide="ignore", invalid="ignore"):
            rhat = np.asarray([np.nan if single else az.rhat(column) for column in walked])
        row = {
            "mean": each.mean(axis=(1, 2)),
            "sd": each.std(axis=(1, 2)),
            "low": low,
            "high": high,
            "rhat": rhat,
            "ess": np.asarray([az.ess(column) for column in walked]),
        }
        if own is not None:
            row["own_mean"] = walked.mean(axis=(1, 2))
        result[str(key)] = {name: [float(x) for x in column] for name, column in row.items()}
        # It is NaN where draws are not finite or never move, which is no agreement.
        worst = max(worst, float(np.nan_to_num(rhat, nan=np.inf).max())) if not single else worst
        units = values.attrs.get("units", "")
        named = own is not None and key in error.split()
        labels = draws["column"].to_numpy() if "column" in draws.coords else range(len(low))
        for i, label in enumerate(["all columns"] if shared else labels):
            lines.append(
                f"{label if shared else f'column {label}'}: {key} {row['mean'][i]:.3g} {units}, "
                f"90% in [{low[i]:.3g}, {high[i]:.3g}]"
                + (f"; the model's own {row['own_mean'][i]:.3g}" if named else "")
            )
    statistics = posterior["sample_stats"]
    divergent = int(statistics["diverging"].sum()) if "diverging" in statistics else 0
    method, structure = draws.attrs.get("method", "nuts"), draws.attrs.get("structure", "column")
    if error:
        lines.append(f"counted: the model's own, with which it does best, is off by {error}")
    more = "give more --warmup and --draws"
    if method == "nuts":
        more += ", or --options longer=3"
    walks = method in WALKING or (structure != "column" and method in SHARED)
    if not walks:
        lines.append("the draws are independent: no chain that could fail to mix")
    elif single:
        lines.append("one chain: whether it has converged is not known; run 4")
    elif worst < AGREED:
        lines.append(f"the chains agree (largest R-hat {worst:.3f})")
    else:
        lines.append(
            f"the chains do not agree (largest R-hat {worst:.3f}, expected below {AGREED}): {more}"
        )
    unfit, remedy = _not_converged(posterior)
    if unfit:
        lines.append(f"{unfit}: {remedy}")
    if walks and not single and worst > _MIXED:
        unfit = f"the chains did not mix: largest R-hat {worst:.3f}, expected below {_MIXED}"
        remedy = f"{more}, or {_LESS_SURE}"
    if divergent:
        lines.append(f"{divergent} transitions diverged: the tails are less sure than they look")
    said = {"unfit": unfit, "remedy": remedy, "words": "\n".join(lines)}
    return result | {"divergences": divergent} | said


def _not_converged(posterior: az.InferenceData) -> tuple[str, str]:
    """In which columns the method did not come to its end, and what to do; empty if in none."""
    statistics = posterior["sample_stats"]
    if "converged" not in statistics or bool(statistics["converged"].all()):
        return "", ""
    what, remedy = _ENDS[posterior["posterior"].attrs["method"]]
    converged = statistics["converged"].astype(bool)
    if "column" not in converged.dims:
        return f"{what} for what the columns share", remedy
    failed = np.flatnonzero(~converged.to_numpy())
    labels = converged["column"].to_numpy()[failed[:_LISTED]]
    more = ", ..." if failed.size > _LISTED else ""
    named = ", ".join(str(label) for label in labels)
    return f"{what} in {failed.size} of {converged.size} columns ({named}{more})", remedy
