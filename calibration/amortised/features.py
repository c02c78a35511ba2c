"""What a learnt posterior sees of a column's observations: the fit of a few parameter values.

Observations of two columns have nothing in common but their likelihood. Its values at a few fixed
points of the parameters, probes, are what an amortised posterior is given, so that one network
serves every column, weather and number of observations. A probe is a run of the column.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.interpolate import RBFInterpolator
from scipy.stats import norm, qmc

from calibration.problem import Problem

_POINTS = 1024  # of the prior, at which the interpolated likelihood is summed
_LEAST = 1e-3  # standard deviation of the interpolated posterior
_WIDEST = 2.0  # standard deviations of the prior to the outermost probes


@dataclass(frozen=True)
class Probes:
    """Points of the parameters, and how what the model expects is interpolated between them.

    Attributes:
        at: the probes, standard normal.
        points: of the prior, of equal weight.
        weights: expected observations at `points` as sums over the probes (cubic radial basis).
    """

    at: Float[np.ndarray, "probe parameter"]
    points: Float[np.ndarray, "point parameter"]
    weights: Float[np.ndarray, "point probe"]


def make_probes(size: int, number: int) -> Probes:
    """Probes of `size` parameters: evenly spaced for one, else a Sobol sequence and the centre.

    Args:
        size: number of parameters.
        number: of probes, at least `size` + 2.
    """
    points = _normal(_POINTS, size)
    if size == 1:
        at = np.linspace(-_WIDEST, _WIDEST, number)[:, None]
    else:
        at = np.concatenate([np.zeros((1, size)), _normal(number - 1, size)])
    weights = RBFInterpolator(at, np.eye(number), kernel="cubic", degree=1)(points)
    return Probes(at, points, weights)


def _normal(number: int, size: int) -> Float[np.ndarray, "point parameter"]:
    """The first points of a Sobol sequence, moved off zero, as standard normal numbers."""
    power = int(np.ceil(np.log2(max(number, 2))))
    share = qmc.Sobol(size, scramble=False).random_base2(power)
    return norm.ppf(share[:number] + 0.5**power / 2)


def probed(problem: Problem, probes: Probes) -> Float[np.ndarray, "probe observation column"]:
    """Whitened expected observations of each column at the probes: a run of each.

    Args:
        problem: of all columns.
        probes: where.
    """
    shape = (*probes.at.shape, problem.count)
    return problem.evaluate(np.broadcast_to(probes.at[:, :, None], shape))


@jax.jit
def fit_of_probes(
    observed: Float[Array, "observation column"],
    expected: Float[Array, "probe observation column"],
    points: Float[Array, "point parameter"],
    weights: Float[Array, "point probe"],
) -> Float[Array, "column feature"]:
    """Features of each column: the posterior by interpolation, and the probes' misfits.

        G(z) = sum_k w_k(z) G(z_k),   p(z) ~ exp(-|y - G(z)|^2 / 2)

    Mean and skewness of each parameter under p and the logarithm of its spread; then
    log(1 + sqrt(|y - G(z_k)|^2 - least)). All zero information gives the prior's.

    Args:
        observed: whitened, zero where nothing was observed.
        expected: at the probes, zero there too.
        points: of the prior, of equal weight.
        weights: of the interpolation.
    """
    departure = observed[None] - expected
    squares = jnp.sum(departure**2, axis=1)
    # The weights of a point sum to one, so that the misfit there needs the probes' products only.
    products = jnp.einsum("kic,lic->klc", departure, departure)
    between = jnp.einsum("pk,klc,pl->pc", weights, products, weights)
    share = jax.nn.softmax(-0.5 * between, axis=0)
    mean = jnp.einsum("pc,pd->dc", share, points)
    apart = points[:, :, None] - mean[None]
    spread = jnp.sqrt(jnp.einsum("pc,pdc->dc", share, apart**2) + _LEAST**2)
    skew = jnp.einsum("pc,pdc->dc", share, (apart / spread[None]) ** 3)
    above = jnp.maximum(squares - jnp.min(squares, axis=0, keepdims=True), 0.0)
    rest = jnp.log1p(jnp.sqrt(above))
    return jnp.concatenate([mean, jnp.log(spread), jnp.tanh(skew / 3.0), rest]).T
