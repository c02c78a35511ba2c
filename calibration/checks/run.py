"""Checks of a posterior by name: numbers, words and a figure of each."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float
from matplotlib.figure import Figure

from calibration.checks import plots
from calibration.checks.comparison import compare
from calibration.checks.coverage import coverage, expected_coverage
from calibration.checks.identifiability import identifiability
from calibration.checks.loo import loo
from calibration.checks.predictive import predictive
from calibration.checks.ranks import ranks
from calibration.checks.trials import Trials, run_trials, thinned
from calibration.methods import METHODS
from calibration.problem import Problem
from hybrid_land.data.files import make_folder
from hybrid_land.errors import InputError
from hybrid_land.figures import paper_style, save_figure

_DRAWS = 200  # of which predictions are made
_COMPARED = 400  # draws of each of two posteriors
_TRIALS = 200  # simulated experiments, at the least

Found = tuple[dict[str, Any], str, Figure]


@dataclass(frozen=True)
class Posterior:
    """What the checks are of.

    Attributes:
        problem: with the observations.
        z: draws of the posterior.
        method: that drew them, called with a problem and `key`.
        key: for the random numbers.
        labels: of the columns, for figures.
        times: of the records of the observations, `[record]`, for figures.
        against: method that `comparison` compares with, a name in `METHODS`.
    """

    problem: Problem
    z: Float[np.ndarray, "chain draw parameter column"]
    method: Callable[..., Any]
    key: Array
    labels: Sequence[str] | None = None
    times: np.ndarray | None = None
    against: str = "laplace"

    @cached_property
    def trials(self) -> Trials:
        """Simulated experiments, one a column and 200 at the least, made when first asked for."""
        count = max(_TRIALS, self.problem.count)
        return run_trials(self.problem, self.method, key=self.key, trials=count)


def _predictive(given: Posterior) -> Found:
    after = thinned(given.z, _DRAWS)
    before = np.asarray(jax.random.normal(given.key, after.shape))
    found, said = {}, {}
    for name, z in (("prior", before), ("posterior", after)):
        found[name], said[name] = predictive(given.problem, z, key=given.key)
    numbers = {
        name: {key: result[key].to_numpy().tolist() for key in ("coverage", "chi_squared")}
        for name, result in found.items()
    }
    words = f"prior predictive: {said['prior']}; posterior predictive: {said['posterior']}"
    return numbers, words, plots.predictive_figure(found, labels=given.labels, times=given.times)


def _loo(given: Posterior) -> Found:
    found, words = loo(given.problem, given.z)
    numbers = {key: found[key].to_numpy().tolist() for key in ("elpd", "se", "p_loo")}
    return numbers | {"unsure": found.attrs["unsure"]}, words, plots.loo_figure(found)


def _identifiability(given: Posterior) -> Found:
    found, words = identifiability(given.problem, key=given.key)
    numbers = {
        key: found[key].to_numpy().tolist() for key in ("eigenvalue", "spread_left", "direction_of")
    }
    return numbers, words, plots.identifiability_figure(found)


def _comparison(given: Posterior) -> Found:
    if given.against not in METHODS:
        raise InputError(
            f"method {given.against!r} is not known, expected {', '.join(METHODS)}; name one"
        )
    other = np.asarray(METHODS[given.against](given.problem, key=given.key)[0])
    found, words = compare(
        thinned(given.z, _COMPARED), thinned(other, _COMPARED), names=("posterior", given.against)
    )
    found = found.assign_coords(parameter=list(given.problem.names))
    numbers = {str(key): found[key].to_numpy().tolist() for key in found.data_vars}
    return numbers | {"against": given.against}, words, plots.comparison_figure(found)


def _sbc(given: Posterior) -> Found:
    found, words = ranks(given.trials)
    numbers = {
        str(name): {key: found[key].sel(quantity=name).item() for key in _TESTS}
        for name in found["quantity"].to_numpy()
    }
    return numbers, words, plots.ranks_figure(found)


def _coverage(given: Posterior) -> Found:
    found, words = coverage(given.trials)
    numbers = {
        str(name): found["coverage"].sel(quantity=name).to_numpy().tolist()
        for name in found["quantity"].to_numpy()
    }
    levels = found["level"].to_numpy().tolist()
    return {"level": levels, "coverage": numbers}, words, plots.coverage_figure(found)


def _tarp(given: Posterior) -> Found:
    found, words = expected_coverage(given.trials)
    numbers = {key: found[key].to_numpy().tolist() for key in ("level", "coverage")}
    return numbers | dict(found.attrs), words, plots.expected_coverage_figure(found)


_TESTS = ("chi_squared", "kolmogorov", "inside")

CHECKS: dict[str, Callable[[Posterior], Found]] = {
    "predictive": _predictive,
    "loo": _loo,
    "identifiability": _identifiability,
    "comparison": _comparison,
    "sbc": _sbc,
    "coverage": _coverage,
    "tarp": _tarp,
}
# Those that run a method again, on one column or many.
OF_METHOD = ("comparison", "sbc", "coverage", "tarp")


def require_checks(names: Sequence[str], *, structure: str = "column") -> None:
    """Check that each check is known and can be made.

    Args:
        names: of checks.
        structure: of the posterior, see `calibration.calibrate`.

    Raises:
        InputError: for an unknown name, or one that needs columns that share nothing.
    """
    for name in names:
        if name not in CHECKS:
            raise InputError(
                f"check {name!r} is not known, expected {', '.join(CHECKS)}; correct --checks"
            )
        if name in OF_METHOD and structure != "column":
            raise InputError(
                f"check {name} of columns that share parameters, expected each for itself; leave "
                "it out"
            )


def run_checks(
    given: Posterior,
    names: Sequence[str],
    *,
    figures: Path | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Run checks of a posterior.

    `predictive`, `loo` and `identifiability` are of the observations at hand. `comparison` runs
    another method. `sbc`, `coverage` and `tarp` share simulated experiments, for which the method
    is run again on at least 200 columns.

    Args:
        given: the posterior and what it came from.
        names: in `CHECKS`.
        figures: folder for `check_<name>.png`; made if absent.
        say: told which check goes on.

    Returns:
        By name the numbers of the check, for JSON, and `words`.

    Raises:
        InputError: for an unknown name, or if the folder cannot be written.
    """
    require_checks(names)
    if figures is not None:
        make_folder(figures)
    results: dict[str, Any] = {}
    for name in names:
        say(name)
        with paper_style():
            numbers, words, figure = CHECKS[name](given)
            if figures is not None:
                save_figure(figure, figures / f"check_{name}.png")
        results[name] = numbers | {"words": words}
    return results
