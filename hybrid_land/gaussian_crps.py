"""CRPS of normal distributions, for ensembles and analyses that state a mean and an error."""

import numpy as np
from jaxtyping import Float
from scipy import stats

Values = Float[np.ndarray, " case"]


def gaussian_crps(mean: Values, deviation: Values, truth: Values) -> float:
    """CRPS of normal distributions, mean over cases (Gneiting et al. 2005, eq. 5).

    z = (o - m) / s,   crps = s (z (2 Phi(z) - 1) + 2 phi(z) - 1 / sqrt(pi));   |o - m| where s = 0
    """
    error = truth - mean
    some = deviation > 0.0
    z = error / np.where(some, deviation, 1.0)
    score = deviation * (
        z * (2.0 * stats.norm.cdf(z) - 1.0) + 2.0 * stats.norm.pdf(z) - 1.0 / np.sqrt(np.pi)
    )
    return float(np.where(some, score, np.abs(error)).mean())
