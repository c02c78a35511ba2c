"""All that tells whether an analysis can be believed, by name: numbers, and a figure of each."""

from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import xarray as xr
from matplotlib.figure import Figure

from assimilation import diagnostic_plots as checks
from assimilation import plots, truth_plots
from assimilation.diagnostics import (
    TaylorTest,
    adjoint_test,
    chi_squared,
    coverage,
    desroziers,
    innovation_statistics,
    taylor_test,
)
from assimilation.observations import Observations
from assimilation.variational import Problem
from assimilation.verification import (
    SpreadError,
    TruthRank,
    rank_of_truth,
    shown_layers,
    spread_and_error,
    with_root_zone,
    withheld_skill,
)
from hybrid_land.data.files import make_folder
from hybrid_land.errors import InputError
from hybrid_land.figures import paper_style, save_figure

GRADIENT = ("taylor-test", "adjoint-test")
STATISTICS = ("chi-squared", "desroziers", "innovations")
DIAGNOSTICS = (*GRADIENT, *STATISTICS, "rank")
_PAIRS = 8  # of random vectors in the dot-product test
_AWAY = 0.1  # how far from the background the gradient is tested, in its standard deviations


def diagnose(
    analysis: xr.Dataset,
    wanted: Sequence[str],
    *,
    problem: Callable[[], Problem] | None = None,
    truth: xr.Dataset | None = None,
    withheld: Observations | None = None,
    folder: str | Path | None = None,
) -> dict[str, float | int]:
    """Diagnostics of an analysis, and their figures.

    Where nothing was observed, only what a truth says is left.

    Args:
        analysis: in the Analysis form.
        wanted: names among `DIAGNOSTICS`.
        problem: makes the window whose gradient is tested, from `gradients.window_problem`; called
            in double precision.
        truth: at the same times and columns, for `rank`.
        withheld: observations that were not assimilated, from `verification.withhold`.
        folder: for the figures, made if absent; none are drawn if not given. Increments, before
            and after, a map and a minimiser's convergence are always among them.

    Returns:
        Numbers by name, such as `taylor_order`, `chi_squared_ratio`, `swvl1_observation_factor`,
        `swvl1_lag_1`, `rank_dispersion_swvl1`, `crps_swvl1`, `withheld_swvl1_background_rmse`.

    Raises:
        InputError: for an unknown name, a rank without a truth or a folder that cannot be written.
    """
    for name in wanted:
        if name not in DIAGNOSTICS:
            raise InputError(f"diagnostic {name!r}, expected one of {', '.join(DIAGNOSTICS)}")
    if "rank" in wanted and truth is None:
        raise InputError("a rank of the truth without a truth, expected one; give it (--truth)")
    found: dict[str, float | int] = {}
    drawn: dict[str, Callable[[], Figure]] = {
        "increments": lambda: plots.increments_figure(analysis),
        "before_after": lambda: plots.before_after_figure(analysis, truth=truth),
    }
    if "iterations" in analysis:
        drawn["convergence"] = lambda: checks.convergence_figure(analysis)
    if {"lat", "lon"} <= set(analysis.variables):
        drawn["map"] = lambda: plots.columns_map(analysis, truth=truth)
    if bool((analysis["observed"] > 0).any()):
        if problem is not None and set(GRADIENT) & set(wanted):
            with jax.enable_x64(True):
                _of_gradient(problem(), wanted, found, drawn)
        _of_statistics(analysis, wanted, found, drawn)
        if withheld is not None:
            _of_withheld(analysis, withheld, found, drawn)
    if "rank" in wanted and truth is not None:
        _of_truth(analysis, with_root_zone(truth), found, drawn)
    if folder is not None:
        place = make_folder(Path(folder))
        with paper_style():
            for name, draw in drawn.items():
                save_figure(draw(), place / f"{name}.png")
    return found


Numbers = dict[str, float | int]
Drawn = dict[str, Callable[[], Figure]]


def _of_gradient(problem: Problem, wanted: Sequence[str], found: Numbers, drawn: Drawn) -> None:
    """Taylor and dot-product tests of one window."""
    shape, dtype = problem.root.shape[1:], problem.root.dtype
    v = _AWAY * jax.random.normal(jax.random.key(0), shape, dtype)
    if "taylor-test" in wanted:
        test: TaylorTest = taylor_test(problem, v, jax.random.normal(jax.random.key(1), shape))
        found["taylor_order"] = test.order
        drawn["taylor_test"] = lambda: checks.taylor_figure(test)
    if "adjoint-test" in wanted:
        pairs = [adjoint_test(problem, v, key=jax.random.key(2 + k)) for k in range(_PAIRS)]
        gaps = [abs(one - other) / max(abs(one), abs(other), 1e-300) for one, other in pairs]
        found["adjoint_difference"] = max(gaps)
        drawn["adjoint_test"] = lambda: checks.adjoint_figure(pairs)


def _of_statistics(
    analysis: xr.Dataset, wanted: Sequence[str], found: Numbers, drawn: Drawn
) -> None:
    """Chi squared of the cost, errors as diagnosed, innovations."""
    names = plots.observed_names(analysis)
    if "chi-squared" in wanted:
        found |= {f"chi_squared_{key}": value for key, value in chi_squared(analysis).items()}
        drawn["chi_squared"] = lambda: checks.chi_squared_figure(analysis)
    if "desroziers" in wanted:
        for name in names:
            found |= {f"{name}_{key}": x for key, x in desroziers(analysis, name).items()}
        drawn["desroziers"] = lambda: checks.desroziers_figure(analysis)
    if "innovations" in wanted:
        for name in names:
            found |= {f"{name}_{k}": x for k, x in innovation_statistics(analysis, name).items()}
        drawn["innovations"] = lambda: checks.innovations_figure(analysis)


def _of_withheld(
    analysis: xr.Dataset, withheld: Observations, found: Numbers, drawn: Drawn
) -> None:
    """Every run against observations that none of them saw."""
    names = [name for name, mask in withheld.mask.items() if bool(mask.any())]
    for name in names:
        for run, scores in withheld_skill(analysis, withheld, name).items():
            found |= {f"withheld_{name}_{run}_{key}": value for key, value in scores.items()}
    if names:
        drawn["withheld"] = lambda: checks.withheld_figure(analysis, withheld)


def _of_truth(analysis: xr.Dataset, truth: xr.Dataset, found: Numbers, drawn: Drawn) -> None:
    """Rank of the truth, how often the stated error covers it, and how well it knows the error."""
    ranks: dict[str, TruthRank] = {}
    spreads: dict[str, SpreadError] = {}
    for name in shown_layers(analysis):
        ranks[name] = rank = rank_of_truth(analysis, truth, name)
        found[f"rank_bias_{name}"] = rank.bias
        found[f"rank_dispersion_{name}"] = rank.dispersion
        for level, share in coverage(analysis, truth, name).items():
            found[f"covered_{100 * level:.0f}_{name}"] = share
        spreads[name] = spread = spread_and_error(analysis, truth, name)
        found[f"stated_over_error_{name}"] = spread.ratio
        found[f"crps_{name}"] = spread.crps
    drawn["rank"] = lambda: truth_plots.rank_figure(ranks)
    drawn["coverage"] = lambda: truth_plots.coverage_figure(analysis, truth)
    drawn["spread"] = lambda: truth_plots.spread_figure(spreads)
