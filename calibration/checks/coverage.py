"""How often intervals hold the truth: central ones by parameter, and regions of all parameters."""

from collections.abc import Sequence

import numpy as np
import scipy.stats
import xarray as xr

from calibration.checks.trials import Trials, positions, uniformity

LEVELS = (0.5, 0.8, 0.9, 0.95)


def coverage(
    trials: Trials, *, levels: Sequence[float] = LEVELS, seed: int = 0
) -> tuple[xr.Dataset, str]:
    """Share of simulated experiments whose central interval holds the truth.

    Args:
        trials: of a method.
        levels: probabilities of the intervals.
        seed: by which ties are broken.

    Returns:
        `coverage`, `low` and `high` `[quantity, level]`, the latter the 95% interval of the share
        for as many experiments (Clopper and Pearson); and the finding in words.
    """
    names = trials.names[: trials.parameters]
    place = trials.positions(seed=seed)[: trials.parameters]
    tails = (1.0 - np.asarray(levels)) / 2.0
    held = (place[:, None] >= tails[:, None]) & (place[:, None] <= 1.0 - tails[:, None])
    limits = [
        [scipy.stats.binomtest(int(n), place.shape[1]).proportion_ci() for n in row]
        for row in held.sum(axis=2)
    ]
    shape = ("quantity", "level")
    found = xr.Dataset(
        {
            "coverage": (shape, held.mean(axis=2)),
            "low": (shape, [[limit.low for limit in row] for row in limits]),
            "high": (shape, [[limit.high for limit in row] for row in limits]),
        },
        coords={"quantity": list(names), "level": list(levels)},
    )
    parts = []
    for name in names:
        row = found.sel(quantity=name)
        wrong = (row["level"] < row["low"]) | (row["level"] > row["high"])
        shares = ", ".join(
            f"{100 * level:.0f}% intervals hold {100 * share:.0f}%"
            for level, share in zip(levels, row["coverage"].to_numpy(), strict=True)
        )
        parts.append(f"{name}: {shares}" + (" (more than chance explains)" if wrong.any() else ""))
    return found, "coverage: " + "; ".join(parts)


def expected_coverage(trials: Trials, *, seed: int = 0) -> tuple[xr.Dataset, str]:
    """Coverage of regions about random points, of all parameters at once (TARP).

    For each experiment a point r is drawn from the prior, and f is the share of draws that are
    nearer to it than the truth is. If the posteriors are right, f is uniform: a region of
    probability alpha about r holds the truth in a share alpha of the experiments (Lemos et al.
    2023). Distances are taken where the prior is uniform, u = Phi(z). The library tarp is not
    used: its version 0.1.1 does not import without a package that it does not ask for, and
    bins f between its least and largest value.

    Points that do not know of the observations do not show a posterior equal to the prior to be
    wrong; the ranks of `log_likelihood` do.

    Args:
        trials: of a method.
        seed: of the points.

    Returns:
        `level`, `coverage`, `low` and `high` `[point]`, the simultaneous 95% band of right
        posteriors; attributes `kolmogorov`, the p-value, and `inside`; and the finding in words.
    """
    generator = np.random.default_rng(seed)
    truth = scipy.stats.norm.cdf(trials.truth[: trials.parameters])
    draws = scipy.stats.norm.cdf(trials.draws[:, : trials.parameters])
    point = generator.random(truth.shape)
    share = positions(
        np.linalg.norm(truth - point, axis=0),
        np.linalg.norm(draws - point, axis=1),
        seed=seed + 1,
    )
    test = uniformity(share)
    found = xr.Dataset(
        {
            name: ("point", values)
            for name, values in (
                ("level", test.at),
                ("coverage", test.found),
                ("low", test.low),
                ("high", test.high),
            )
        },
        attrs={"kolmogorov": test.kolmogorov, "inside": int(test.inside)},
    )
    worst = float(np.abs(test.found - test.at).max())
    said = "as it should be" if test.inside else "outside the 95% band"
    return found, (
        f"expected coverage (TARP) of {share.size} simulated experiments: {said}, at most "
        f"{100 * worst:.0f} points from right (p {test.kolmogorov:.2g})"
    )
