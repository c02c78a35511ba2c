"""Two posteriors side by side: how far apart they are, and whether a classifier tells them."""

from collections.abc import Sequence

import numpy as np
import scipy.stats
import xarray as xr
from jaxtyping import Float
from scipy.spatial.distance import cdist, pdist
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

_FOLDS = 5


def energy_distance(
    first: Float[np.ndarray, "draw parameter"],
    second: Float[np.ndarray, "other_draw parameter"],
) -> float:
    """2 E|X - Y| - E|X - X'| - E|Y - Y'| (Szekely and Rizzo 2013), from independent draws.

    Zero for equal distributions, and about zero, of either sign, for two samples of one: pairs of
    a draw with itself are left out.

    Args:
        first: draws of X.
        second: draws of Y.
    """
    return float(2.0 * cdist(first, second).mean() - pdist(first).mean() - pdist(second).mean())


def classifier_accuracy(
    first: Float[np.ndarray, "draw parameter"],
    second: Float[np.ndarray, "draw parameter"],
    *,
    seed: int = 0,
) -> tuple[float, float]:
    """Classifier two-sample test, C2ST (Lopez-Paz and Oquab 2017), by nearest neighbours.

    Args:
        first: draws of one posterior.
        second: draws of another, as many.
        seed: of the folds.

    Returns:
        Share of held-out draws whose posterior is told rightly: 0.5 if the posteriors are alike, 1
        if they are apart; and the p-value of being alike.
    """
    draws = np.concatenate([first, second])
    label = np.repeat([0, 1], [len(first), len(second)])
    nearest = max(1, round(np.sqrt(len(draws))))
    classifier = make_pipeline(StandardScaler(), KNeighborsClassifier(nearest))
    folds = StratifiedKFold(_FOLDS, shuffle=True, random_state=seed)
    accuracy = float(cross_val_score(classifier, draws, label, cv=folds).mean())
    right = round(accuracy * len(draws))
    return accuracy, float(scipy.stats.binomtest(right, len(draws), alternative="greater").pvalue)


def compare(
    first: Float[np.ndarray, "draw parameter column"],
    second: Float[np.ndarray, "other_draw parameter column"],
    *,
    names: Sequence[str] = ("the first", "the second"),
    seed: int = 0,
) -> tuple[xr.Dataset, str]:
    """Compare two posteriors of each column.

    Args:
        first: independent draws of z, or physical parameters.
        second: of the same; as many as both have are compared.
        names: of the two, for the words.
        seed: of the classifier's folds.

    Returns:
        By column `energy` in standard deviations of the second, `accuracy` and `p_value` of the
        classifier, `shift` `[parameter, column]` of the mean in standard deviations of the second
        and `ratio` of the standard deviations; and the finding in words.
    """
    spread = np.maximum(second.std(axis=0), 1e-12)
    count = min(len(first), len(second))
    rows = []
    for column in range(first.shape[2]):
        a, b = (x[:count, :, column] / spread[None, :, column] for x in (first, second))
        rows.append((energy_distance(a, b), *classifier_accuracy(a, b, seed=seed)))
    energy, accuracy, p_value = np.asarray(rows).T
    result = xr.Dataset(
        {
            "energy": ("column", energy),
            "accuracy": ("column", accuracy),
            "p_value": ("column", p_value),
            "shift": (("parameter", "column"), (first.mean(0) - second.mean(0)) / spread),
            "ratio": (("parameter", "column"), first.std(axis=0) / spread),
        }
    )
    told = int((p_value < 0.05 / len(p_value)).sum())
    return result, (
        f"{names[0]} beside {names[1]}: a classifier is right in {100 * accuracy.mean():.0f}% of "
        f"draws (50% if alike) and tells the two in {told} of {len(p_value)} columns; the mean is "
        f"off by {float(np.abs(result['shift']).mean()):.2f} standard deviations, the spread "
        f"{float(np.median(result['ratio'])):.2f} times as large"
    )
