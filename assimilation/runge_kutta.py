"""The classical Runge-Kutta method."""

from collections.abc import Callable

from jaxtyping import Array, Float


def runge_kutta(
    rate: Callable[[Array], Array], x: Float[Array, "*axes"], *, dt: float
) -> Float[Array, "*axes"]:
    """One step of order four of dx/dt = rate(x).

        x + dt (k1 + 2 k2 + 2 k3 + k4) / 6

    Args:
        rate: gives dx/dt, in the shape of x.
        x: at the step's start.
        dt: length of the step, in the rate's unit of time.
    """
    k1 = rate(x)
    k2 = rate(x + 0.5 * dt * k1)
    k3 = rate(x + 0.5 * dt * k2)
    k4 = rate(x + dt * k3)
    return x + dt / 6.0 * (k1 + 2.0 * k2 + 2.0 * k3 + k4)
