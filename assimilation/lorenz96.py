"""The model of Lorenz (1996): a ring of points on which assimilation methods are compared."""

from collections.abc import Mapping
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from assimilation.runge_kutta import runge_kutta
from hybrid_land.interface import Diagnostics, Forcing, Parameters, State

POINTS = 40
FORCING = 8.0  # F; chaotic, 13 positive Lyapunov exponents at 40 points
TIME_STEP = 0.05  # model time units; six hours by the usual scale of five days a unit
UNIT = 432000.0  # s, of a unit of model time (Lorenz and Emanuel 1998, section 2)


def names(points: int = POINTS) -> tuple[str, ...]:
    """Names of the points, `x_0` and on."""
    return tuple(f"x_{k}" for k in range(points))


def tendency(
    x: Float[Array, "point ..."], *, forcing: float | Float[Array, "..."] = FORCING
) -> Float[Array, "point ..."]:
    """dx_i/dt = (x_(i+1) - x_(i-2)) x_(i-1) - x_i + F on a ring (Lorenz 1996, eq. 1).

    Args:
        x: points on the first axis, four or more, replicas behind.
        forcing: F.
    """
    # The ring's ends apart: XLA does not vectorise what goes through the copies of `jnp.roll`, and
    # takes seven times as long for it.
    first = (x[1:3] - x[-2:]) * jnp.concatenate([x[-1:], x[:1]]) - x[:2]
    inner = (x[3:] - x[:-3]) * x[1:-2] - x[2:-1]
    last = (x[:1] - x[-3:-2]) * x[-2:-1] - x[-1:]
    return jnp.concatenate([first, inner, last]) + jnp.broadcast_to(forcing, x.shape)


def lorenz96_step(
    x: Float[Array, "point ..."],
    *,
    dt: float = TIME_STEP,
    forcing: float | Float[Array, "..."] = FORCING,
) -> Float[Array, "point ..."]:
    """One step of the classical Runge-Kutta method of order four.

    Args:
        x: points on the first axis, replicas behind.
        dt: length of the step, model time units.
        forcing: F.
    """
    return runge_kutta(partial(tendency, forcing=forcing), x, dt=dt)


@jax.tree_util.register_static
class Lorenz96:
    """Lorenz's ring on the `step` interface: each point a variable, each replica a column.

    The rollout's forcing says no more than how many steps there are (see `no_weather`).

    Attributes:
        points: of the ring.
        dt: length of a step, model time units.
        forcing: F of every replica, unless the parameters hold `forcing`, a value for each.
        time_step: length of a step, s.
        prognostic: names of the points.
        diagnostic: none.
    """

    def __init__(
        self, *, points: int = POINTS, dt: float = TIME_STEP, forcing: float = FORCING
    ) -> None:
        self.points, self.dt, self.forcing = points, dt, forcing
        self.time_step = dt * UNIT
        self.prognostic = names(points)
        self.diagnostic: tuple[str, ...] = ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Lorenz96) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash(tuple(vars(self).values()))

    def step(
        self, parameters: Parameters, state: State, forcing: Forcing
    ) -> tuple[State, Diagnostics]:
        """One Runge-Kutta step of `rates`. See `hybrid_land.interface.Model`."""

        def rate(x: Array) -> Array:
            return self.rates(parameters, x, forcing)

        return apart(runge_kutta(rate, together(state), dt=self.dt)), {}

    def rates(
        self,
        parameters: Parameters,
        x: Float[Array, "point column"],
        forcing: Forcing,
    ) -> Float[Array, "point column"]:
        """dx/dt for a unit of model time, of the points as one array."""
        return tendency(x, forcing=parameters.get("forcing", self.forcing))


def together(state: Mapping[str, Float[Array, "..."]]) -> Float[Array, "point ..."]:
    """The points as one array."""
    return jnp.stack([state[name] for name in names(len(state))])


def apart(x: Float[Array, "point ..."]) -> dict[str, Float[Array, "..."]]:
    """The points by name."""
    return dict(zip(names(x.shape[0]), x, strict=True))


def no_weather(steps: int, columns: int) -> dict[str, Float[Array, "time column"]]:
    """The forcing of a rollout of so many steps: a leaf that says nothing."""
    return {"none": jnp.zeros((steps, columns))}
