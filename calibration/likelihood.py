"""How probable the observations are for given parameters, the model's own error included."""

from collections.abc import Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jaxtyping import Array, Float

from assimilation.observations import Observations
from assimilation.operators import OPERATORS, Context, Series

ERROR_MEMORY_DAYS = 30.0  # over which the model's own error keeps its value


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Evidence:
    """Observations as Gaussians, on the records that are observed in any column.

    The departure y - H(x) of a column is Gaussian with covariance R + F F^T: R diagonal from the
    observation errors, F F^T the model's own error, constant over periods of
    `ERROR_MEMORY_DAYS` and independent between them. Where nothing was observed, value and row of
    F are zero and the variance is one, so that the term is a constant.

    Attributes:
        record: index of the records, `[seen, column]`, the same in all columns.
        values: name to `[seen, column]`.
        mask: name to `[seen, column]`, one or zero.
        variance: name to `[seen, column]`.
        factor: F, name to `[seen, period, column]`.
    """

    # Annotated without a shape: JAX rebuilds the object with tracers of any rank.
    record: Array
    values: dict[str, Array]
    mask: dict[str, Array]
    variance: dict[str, Array]
    factor: dict[str, Array]


def evidence_from(
    observations: Observations,
    *,
    time_step: float,
    model_error: Mapping[str, float],
    memory_days: float = ERROR_MEMORY_DAYS,
) -> Evidence:
    """Gather the observed records of all columns.

    Args:
        observations: on the records of the data, leaves `[record, column]`.
        time_step: of the records, s.
        model_error: standard deviation of the model's own error by observable, in its unit;
            nothing means a perfect model.
        memory_days: how long that error keeps its value.
    """
    seen = sum(np.asarray(mask).sum(axis=1) for mask in observations.mask.values())
    records = np.flatnonzero(np.asarray(seen) > 0)
    period = (records * (time_step / 86400.0) // memory_days).astype(int)
    period -= period[0]
    member = np.asarray(period[:, None] == np.arange(period[-1] + 1)[None, :], np.float32)
    values, masks, variance, factor = {}, {}, {}, {}
    for name in observations.values:
        mask = jnp.asarray(observations.mask[name])[records]
        masks[name] = mask
        values[name] = jnp.asarray(observations.values[name])[records] * mask
        error = jnp.asarray(observations.errors[name])[records]
        variance[name] = jnp.where(mask > 0, error**2, 1.0)
        factor[name] = mask[:, None, :] * member[:, :, None] * model_error.get(name, 0.0)
    columns = next(iter(values.values())).shape[1]
    record = jnp.asarray(np.repeat(records[:, None], columns, axis=1), jnp.float32)
    return Evidence(record, values, masks, variance, factor)


def log_likelihood(series: Series, evidence: Evidence, context: Context) -> Float[Array, " column"]:
    """Logarithm of the probability density of each column's observations.

    Args:
        series: trajectories on the data's records, leaves `[record, column]`.
        evidence: of the same columns.
        context: of the same columns and records.
    """
    total = jnp.zeros(())
    records = evidence.record[:, 0].astype(int)
    for name, values in evidence.values.items():
        expected = OPERATORS[name](series, context)[records] * evidence.mask[name]
        density = dist.LowRankMultivariateNormal(
            expected.T, jnp.moveaxis(evidence.factor[name], -1, 0), evidence.variance[name].T
        )
        total = total + density.log_prob(values.T)
    return total
