"""The twin experiment of Bocquet and Brajard's course: Lorenz-96 corrects itself to a cubic truth.

M. Bocquet and J. Brajard, "Data assimilation, machine learning and dynamical systems", module of
ECMWF's course on machine learning (2022), parts 1 to 3. The truth has a cubic term, another
friction and another forcing than the model; every other point is observed at each step, even ones
and odd ones in turn.

Known numbers: filter of the plain model, analysis RMSE 0.199 and spread 0.205; forecasts from true
states after one unit of time, RMSE 2.277 (model) and 0.958 (hybrid after one cycle). The RMSE of
forecasts is the root of the mean square over points and starts; the course's own figure divides
that mean by two and takes starts from within the training span, which is not done here.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from assimilation.lorenz96 import Lorenz96, apart, no_weather, tendency, together
from assimilation.observations import Observations
from hybrid_land.interface import Forcing, Model, Parameters
from hybrid_land.rollout import rollout

FRICTION = 1.01
FORCING = 8.5
CUBIC = 0.025
ERROR = 0.2  # standard deviation of an observation
CYCLES = 5000
SPIN_UP = 1000  # steps before the experiment, and cycles of a filter that are not counted
_SPACING = 20  # steps between the starts of forecasts
_LATER = 5000  # steps after the experiment in which forecasts start


def cubic_term(x: Float[Array, "point ..."]) -> Float[Array, "point ..."]:
    """x_(i+1) x_(i-1) (x_(i+2) - x_(i-2)) - x_(i+2) x_i (x_(i+3) - x_(i-1)).

    As the course's text has it, which says that it keeps the energy; its second part does not.
    """
    at = {k: jnp.roll(x, -k, 0) for k in (-2, -1, 1, 2, 3)}
    return at[1] * at[-1] * (at[2] - at[-2]) - at[2] * x * (at[3] - at[-1])


@jax.tree_util.register_static
class CubicLorenz96(Lorenz96):
    """The truth: dx/dt of Lorenz-96 with friction 1.01, F = 8.5, and 0.025 of `cubic_term`."""

    def __init__(self, *, points: int = 40, dt: float = 0.05) -> None:
        super().__init__(points=points, dt=dt, forcing=FORCING)

    def rates(
        self, parameters: Parameters, x: Float[Array, "point column"], forcing: Forcing
    ) -> Float[Array, "point column"]:
        """dx/dt for a unit of model time."""
        plain = tendency(x, forcing=FORCING)
        return plain - (FRICTION - 1.0) * x + CUBIC * cubic_term(x)


@dataclass(frozen=True)
class Twin:
    """A truth, its observations and the members that a filter starts with.

    Attributes:
        truth: at records 0 .. cycles, leaves `[record, column]`.
        later: the truth after them, where forecasts start.
        observations: of half the points at each record.
        members: at record 0, leaves `[member, column]`.
        forcing: says how many steps there are.
    """

    truth: dict[str, Array]
    later: dict[str, Array]
    observations: Observations
    members: dict[str, Array]
    forcing: dict[str, Array]


def make_twin(
    seed: int,
    *,
    truth: Model | None = None,
    cycles: int = CYCLES,
    later: int = _LATER,
    members: int = 40,
    error: float = ERROR,
    every: int = 1,
    fraction: float = 0.5,
    checkerboard: bool = True,
) -> Twin:
    """Draw a truth and its observations.

    Args:
        seed: of the start, the observations and the members.
        truth: the model that makes the truth; the course's by default.
        cycles: observation times.
        later: steps of the truth after them.
        members: of the ensemble.
        error: standard deviation of an observation, and of the members' mean and spread.
        every: steps between observations.
        fraction: of the points that is observed each time, without the checkerboard: points drawn
            anew each time (Brajard et al. 2020, section 4.1).
        checkerboard: whether even and odd points are observed in turn, as in the course.
    """
    model = CubicLorenz96() if truth is None else truth
    draw = np.random.default_rng(seed)
    points = len(model.prognostic)
    steps = cycles * every
    begin = apart(jnp.asarray(3.0 + draw.normal(size=(points, 1)), jnp.float32))
    run, _ = rollout(model, {}, begin, no_weather(SPIN_UP + steps + later, 1))
    after = {name: x[SPIN_UP - 1 :] for name, x in run.items()}
    series = {name: x[: steps + 1] for name, x in after.items()}
    x = np.asarray(together(series))[..., 0]  # [point, record]
    noisy = x + error * draw.normal(size=x.shape)
    mask = np.zeros_like(x)
    if checkerboard:
        for parity in (0, 1):
            mask[parity::2, parity * every :: 2 * every] = 1.0
    else:
        for record in range(0, steps + 1, every):
            mask[draw.permutation(points)[: round(fraction * points)], record] = 1.0

    def leaves(rows: np.ndarray) -> dict[str, Array]:
        return apart(jnp.asarray(rows, jnp.float32)[..., None])

    start = x[:, :1] + error * (draw.normal(size=(points, 1)) + draw.normal(size=(points, members)))
    return Twin(
        truth=series,
        later={name: x[steps + 1 :] for name, x in after.items()},
        observations=Observations(
            values=leaves(noisy * mask),
            errors=leaves(np.full_like(x, error)),
            mask=leaves(mask),
        ),
        members=leaves(start),
        forcing=no_weather(steps, 1),
    )


def forecast_rmse(
    model: Model, later: Mapping[str, Float[Array, "record 1"]], *, steps: int = 20
) -> Float[Array, " step"]:
    """RMSE of forecasts from true states after 1 .. `steps` steps, over points and starts.

    Args:
        model: what makes the forecasts.
        later: the truth after the training span, from which starts are taken.
        steps: of each forecast.
    """
    count = next(iter(later.values())).shape[0]
    starts = np.arange(0, count - steps, _SPACING)
    index = jnp.asarray(starts)[None] + jnp.arange(1, steps + 1)[:, None]
    begin = {name: x[jnp.asarray(starts), 0] for name, x in later.items()}
    ahead, _ = rollout(model, {}, begin, no_weather(steps, len(starts)))
    square = jnp.stack([(x - later[name][index, 0]) ** 2 for name, x in ahead.items()])
    return jnp.sqrt(square.mean(axis=(0, 2)))


def analysis_rmse(
    means: Float[Array, "cycle variable column"],
    truth: Mapping[str, Float[Array, "record column"]],
    records: np.ndarray,
    *,
    spin_up: int = SPIN_UP,
) -> float:
    """Mean over cycles of the RMSE over points, without the first `spin_up` cycles."""
    true = together(truth)[:, jnp.asarray(records)]
    error = jnp.sqrt(jnp.mean((jnp.moveaxis(means, 1, 0) - true) ** 2, axis=0))
    return float(error[spin_up:].mean())
