"""An analysis against what it was not given: the truth of a twin, or withheld observations."""

from collections.abc import Sequence
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
import scipy.stats
import xarray as xr
from jaxtyping import Float

from assimilation.form import ROOT_ZONE
from assimilation.observations import Observations
from assimilation.operators import root_zone_soil_moisture
from hybrid_land.errors import InputError
from hybrid_land.gaussian_crps import gaussian_crps
from hybrid_land.variables import SOIL_WATER

RUNS = ("open_loop", "background", "analysis")


@dataclass(frozen=True)
class TruthRank:
    """Where a truth lies in the distribution that an analysis states.

    Attributes:
        shares: of the truth's values in each rank, from below all members to above all: equal for
            an analysis that is as sure as it says, in the outer ranks for one too sure.
        bias: middle of (truth - analysis) / stated error, 0 for a good analysis.
        dispersion: half the width of the middle 68% of the same, 1 for a good analysis, more for
            one too sure. Unlike mean and standard deviation, not of the few values at a bound,
            where almost no error is stated.
        count: of the values.
    """

    shares: Float[np.ndarray, " rank"]
    bias: float
    dispersion: float
    count: int


def with_root_zone(truth: xr.Dataset) -> xr.Dataset:
    """A truth with the soil moisture of its top metre beside its layers."""
    if ROOT_ZONE in truth or not set(SOIL_WATER) <= set(truth.data_vars):
        return truth
    dims = ("time", "column")
    layers = {name: jnp.asarray(truth[name].transpose(*dims).to_numpy()) for name in SOIL_WATER}
    root = np.asarray(root_zone_soil_moisture(layers))
    return truth.assign({ROOT_ZONE: (dims, root, {"units": "m3 m-3"})})


def rank_of_truth(
    analysis: xr.Dataset, truth: xr.Dataset, name: str, *, members: int = 19
) -> TruthRank:
    """Rank of the truth among members of an analysis' own distribution.

    The analysis states a normal distribution, so that no member has to be drawn: with z the truth's
    distance from the analysis over the stated error, the truth's rank among N members is the part
    floor((N + 1) Phi(z)) of the line (rank histogram: Hamill 2001, Mon. Wea. Rev. 129, 550; bias
    and dispersion after the reduced centred variable of Candille et al. 2007, Mon. Wea. Rev. 135,
    2688, by quantiles).

    Args:
        analysis: in the Analysis form, with `<name>_analysis_error`.
        truth: at the same times and columns.
        name: of the variable.
        members: N.

    Raises:
        InputError: if analysis or truth do not have the variable.
    """
    mean, stated, actual = _stated(analysis, truth, name)
    with np.errstate(divide="ignore", invalid="ignore"):
        z = (actual - mean) / stated
    z = z[np.isfinite(z)]
    rank = np.minimum((scipy.stats.norm.cdf(z) * (members + 1)).astype(int), members)
    shares = np.bincount(rank, minlength=members + 1) / max(len(z), 1)
    low, middle, high = np.quantile(z, scipy.stats.norm.cdf([-1, 0, 1])) if len(z) else [np.nan] * 3
    return TruthRank(shares, float(middle), float(high - low) / 2.0, len(z))


@dataclass(frozen=True)
class SpreadError:
    """Is the stated error as large as the error, where it is small and where it is large?

    Attributes:
        stated: root mean square of the stated error in each of some equal parts of the values, in
            order of it.
        rmse: of the analysis in each part.
        ratio: of the two over all values, 1 for a good analysis, less for one too sure.
        crps: continuous ranked probability score of the normal distributions stated, their mean
            over all values; in the variable's unit, as the others.
    """

    stated: Float[np.ndarray, " part"]
    rmse: Float[np.ndarray, " part"]
    ratio: float
    crps: float


def spread_and_error(
    analysis: xr.Dataset, truth: xr.Dataset, name: str, *, parts: int = 8
) -> SpreadError:
    """The stated error against the error (Whitaker and Loughe 1998), and both in one score.

    Args:
        analysis: in the Analysis form, with `<name>_analysis_error`.
        truth: at the same times and columns.
        name: of the variable.
        parts: as many, each with as many values.

    Raises:
        InputError: if analysis or truth do not have the variable.
    """
    mean, stated, actual = _stated(analysis, truth, name)
    sound = np.isfinite(mean) & np.isfinite(stated) & np.isfinite(actual)
    mean, stated, actual = mean[sound], stated[sound], actual[sound]
    groups = np.array_split(np.argsort(stated), min(parts, max(len(stated), 1)))
    error = mean - actual

    def size(x: np.ndarray) -> float:
        return float(np.sqrt(np.mean(x**2))) if len(x) else float("nan")

    whole = size(error)
    return SpreadError(
        stated=np.array([size(stated[part]) for part in groups]),
        rmse=np.array([size(error[part]) for part in groups]),
        ratio=size(stated) / whole if whole > 0 else float("nan"),
        crps=gaussian_crps(mean, stated, actual) if len(mean) else float("nan"),
    )


def _stated(analysis: xr.Dataset, truth: xr.Dataset, name: str) -> tuple[np.ndarray, ...]:
    """Analysis, stated error and truth, `[time, column]` in double precision."""
    for source, wanted in ((analysis, f"{name}_analysis_error"), (truth, name)):
        if wanted not in source:
            what = "the analysis" if source is analysis else "the truth"
            raise InputError(f"{what} has no {wanted}, expected it for a rank; name another")
    series = analysis[name], analysis[f"{name}_analysis_error"], truth[name]
    mean, stated, actual = (
        x.transpose("time", "column").to_numpy().astype(np.float64) for x in series
    )
    return mean, stated, actual


def withhold(
    observations: Observations, share: float, *, seed: int = 0
) -> tuple[Observations, Observations]:
    """Observations to assimilate, and a share of them to verify with, drawn one by one.

    Args:
        observations: all.
        share: to withhold.
        seed: of the draw.

    Raises:
        InputError: unless the share is between 0 and 1.
    """
    if not 0.0 < share < 1.0:
        raise InputError(
            f"share of {share:g} to withhold, expected one between 0 and 1; correct it"
        )
    generator = np.random.default_rng(seed)
    kept, left = {}, {}
    for name, mask in observations.mask.items():
        drawn = jnp.asarray(generator.uniform(size=mask.shape) < share, mask.dtype)
        kept[name], left[name] = mask * (1.0 - drawn), mask * drawn
    parts = [Observations(observations.values, observations.errors, mask) for mask in (kept, left)]
    return parts[0], parts[1]


def withheld_skill(
    analysis: xr.Dataset, withheld: Observations, name: str
) -> dict[str, dict[str, float | int]]:
    """How near open loop, background and analysis are to observations that none of them saw.

    The background is a forecast from the window's start. The observations' own error is part of
    every number; their bias goes out of `ubrmse` alone.

    Args:
        analysis: in the Analysis form.
        withheld: on the analysis' records.
        name: of the observable.

    Returns:
        For each of `RUNS`: `rmse`, `bias` (run less observation), `ubrmse` in the variable's unit,
        `correlation`, and `skill`: 1 - MSE / MSE of the open loop; and under each the `count`.

    Raises:
        InputError: if nothing of the observable was withheld, or the analysis does not hold it.
    """
    seen = np.asarray(withheld.mask.get(name, jnp.zeros(()))) > 0
    if not seen.any():
        raise InputError(f"no observation of {name} was withheld, expected some; withhold more")
    observed = np.asarray(withheld.values[name], np.float64)[seen]
    result: dict[str, dict[str, float | int]] = {}
    for run in RUNS:
        series = run_of(analysis, name, run)[seen]
        error = series - observed
        mse = float(np.mean(error**2))
        varies = len(error) > 2 and series.std() > 0.0 and observed.std() > 0.0
        result[run] = {
            "count": len(error),
            "rmse": mse**0.5,
            "bias": float(error.mean()),
            "ubrmse": float(error.std()),
            "correlation": float(np.corrcoef(series, observed)[0, 1]) if varies else float("nan"),
            "skill": 1.0
            - mse / max(result.get("open_loop", {"rmse": mse**0.5})["rmse"] ** 2, 1e-30),
        }
    return result


def run_of(analysis: xr.Dataset, name: str, run: str) -> Float[np.ndarray, "time column"]:
    """A variable's series of one of `RUNS`.

    Raises:
        InputError: if the analysis does not hold it.
    """
    key = name if run == "analysis" else f"{name}_{run}"
    if key not in analysis:
        raise InputError(f"no {key} in the analysis, expected one of its variables; name another")
    return analysis[key].transpose("time", "column").to_numpy().astype(np.float64)


def shown_layers(analysis: xr.Dataset) -> Sequence[str]:
    """Soil water layers and the root zone, as far as the analysis has them."""
    return [name for name in (*SOIL_WATER, ROOT_ZONE) if name in analysis]
