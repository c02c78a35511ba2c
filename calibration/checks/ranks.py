"""Simulation-based calibration: are the ranks of the truth among posterior draws uniform?"""

import xarray as xr

from calibration.checks.trials import LIKELIHOOD, Trials, Uniformity, uniformity

# Positions of the truth's likelihood among those of the draws.
_OF_LIKELIHOOD = {
    "not uniform: the posteriors lie too high": (
        "not uniform: the posteriors fit the observations closer than right ones do"
    ),
    "not uniform: the posteriors lie too low": (
        "not uniform: the posteriors use less of the observations than right ones do"
    ),
}


def ranks(trials: Trials, *, seed: int = 0, bins: int = 16) -> tuple[xr.Dataset, str]:
    """Test the ranks of each quantity (Talts et al. 2018).

    Args:
        trials: of a method.
        seed: by which ties are broken.
        bins: of the chi-squared test.

    Returns:
        `position` `[quantity, trial]`, the rank on [0, 1]; by quantity the p-values `chi_squared`
        and `kolmogorov`, and `inside`, whether the cumulative distribution keeps within the
        simultaneous 95% band; and the finding in words.
    """
    values = trials.positions(seed=seed)
    tests = [uniformity(row, bins=bins) for row in values]
    found = xr.Dataset(
        {
            "position": (("quantity", "trial"), values),
            "chi_squared": ("quantity", [test.chi_squared for test in tests]),
            "kolmogorov": ("quantity", [test.kolmogorov for test in tests]),
            "inside": ("quantity", [test.inside for test in tests]),
        },
        coords={"quantity": list(trials.names)},
        attrs={"bins": bins, "draws": len(trials.draws)},
    )
    return found, f"ranks of {values.shape[1]} simulated experiments: " + "; ".join(
        _words(name, test) for name, test in zip(trials.names, tests, strict=True)
    )


def _words(name: str, test: Uniformity) -> str:
    said = _OF_LIKELIHOOD.get(test.words, test.words) if name == LIKELIHOOD else test.words
    return f"{name} {said} (p {min(test.chi_squared, test.kolmogorov):.2g})"
