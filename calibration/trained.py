"""The ranges of parameters that a model was trained on, as priors and as what to warn of.

Ranges are by parameter and soil type, as a model's description has them: `{"theta_cap": {"1":
[0.15, 0.37], ...}, ...}`.
"""

from collections.abc import Mapping, Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from calibration.priors import Prior

Ranges = Mapping[str, Mapping[str, Sequence[float]]]
_ROUNDING = 1e-3  # of a range, by which a prior may pass it in silence


def ranges_by_column(
    ranges: Mapping[str, Sequence[float]], soil_type: Float[np.ndarray, " column"] | None
) -> tuple[Float[np.ndarray, "*column"], Float[np.ndarray, "*column"]]:
    """Lowest and highest trained value for each column's soil type, over all types if not known.

    Args:
        ranges: of one parameter, by soil type.
        soil_type: of the columns, if the data have it.
    """
    whole = (min(low for low, _ in ranges.values()), max(high for _, high in ranges.values()))
    if soil_type is None:
        return np.asarray(whole[0]), np.asarray(whole[1])
    ends = np.array([ranges.get(str(round(float(kind))), whole) for kind in soil_type])
    return ends[:, 0], ends[:, 1]


def trained_priors(
    names: Sequence[str],
    ranges: Ranges,
    soil_type: Float[np.ndarray, " column"] | None,
    *,
    columns: int,
) -> dict[str, Prior]:
    """Uniform over what the model was trained on; of what spans factors, in the logarithm.

    Args:
        names: parameters, of which those with ranges get a prior.
        ranges: of the model.
        soil_type: of the columns, if the data have it.
        columns: their number.
    """
    priors = {}
    for name in names:
        if name in ranges:
            ends = (
                jnp.broadcast_to(jnp.asarray(end, jnp.float32), (columns,))
                for end in ranges_by_column(ranges[name], soil_type)
            )
            scaled = name == "ksat" or name.startswith("veg_rsmin")
            priors[name] = Prior("loguniform" if scaled else "uniform", *ends)
    return priors


def beyond_training(
    priors: Mapping[str, Prior], ranges: Ranges, soil_type: Float[np.ndarray, " column"] | None
) -> list[str]:
    """What to say of priors that reach beyond what the model was trained on, a line each.

    Args:
        priors: by name.
        ranges: of the model.
        soil_type: of the columns, if the data have it.
    """
    lines = []
    for name, prior in priors.items():
        if name not in ranges:
            continue
        low, high = prior.extent()
        trained_low, trained_high = ranges_by_column(ranges[name], soil_type)
        slack = _ROUNDING * (trained_high - trained_low)
        beyond = (low < trained_low - slack) | (high > trained_high + slack)
        if np.any(beyond):
            where = f" in {int(np.sum(beyond))} columns" if np.ndim(beyond) else ""
            lines.append(
                f"prior of {name} reaches from {np.min(low):.3g} to {np.max(high):.3g}, beyond "
                f"what the model was trained on{where} ({np.min(trained_low):.3g} to "
                f"{np.max(trained_high):.3g} there): the posterior outside is an extrapolation"
            )
    return lines
