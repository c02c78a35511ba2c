"""Weak-constraint 4D-Var with the network's weights in the control vector (Farchi et al. 2021).

The states at the starts of all windows and the weights w are estimated together:

    J = 1/2 sum_windows |y - H(M_w^0..L-1(x_i))|^2 / r^2
      + 1/2 sum_windows |x_(i+1) - M_w^L(x_i)|^2 / (d s)^2

The second part is the model's error over a window, of deviation d in units s of each variable. It
is estimated too: at the minimum, twice J has the expectation p, the number of observations
(Talagrand 1999), so d grows while J is above p / 2 and falls while it is below. As the correction
gets better, d falls, and what is left of it is the model error of the next filter.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from assimilation.filters.forecast import starts_step
from assimilation.model_error.hybrid import Hybrid, trainable
from assimilation.model_error.windows import tiled, windows_of
from assimilation.observations import Observations
from assimilation.operators import Context, operator_of
from hybrid_land.compiled import run_compiled
from hybrid_land.errors import InputError
from hybrid_land.rollout import rollout

_SLOWEST, _FASTEST = -0.05, 0.03  # changes of log d in a sweep
_GAIN = 4.0  # of log d for a unit of J / p


@dataclass(frozen=True)
class Online:
    """How to minimise.

    Attributes:
        steps: L, of a window.
        sweeps: over all windows.
        batch: windows in an update, which follow one another.
        state_rate: Adam's rate of the states at the start, in units of `scale`.
        weight_rate: of the weights; both fall to a twentieth by a cosine.
        deviation: d at the start and at most, in units of `scale`.
        least: the smallest d.
    """

    steps: int = 5
    sweeps: int = 150
    batch: int = 100
    state_rate: float = 0.02
    weight_rate: float = 5e-3
    deviation: float = 0.3
    least: float = 0.005


@dataclass(frozen=True)
class Estimate:
    """What the minimisation found.

    Attributes:
        hybrid: with the weights.
        starts: states at the starts of the windows, leaves `[window, column]`.
        records: of those starts.
        deviation: d, the model's error over a window in units of `scale`.
        history: by update `cost` (J / p) and `deviation`.
    """

    hybrid: Hybrid
    starts: dict[str, Array]
    records: np.ndarray
    deviation: float
    history: dict[str, list[float]]


def fit_online(
    hybrid: Hybrid,
    parameters: Mapping[str, Float[Array, " column"]],
    states: Mapping[str, Float[Array, "record column"]],
    forcing: Mapping[str, Float[Array, "step column"]],
    observations: Observations,
    *,
    scale: Mapping[str, float] | None = None,
    options: Online | None = None,
    key: Array,
) -> Estimate:
    """Estimate states and the correction's weights together, from observations.

    Windows follow one another without overlap; the observations of a window are those at its
    first L records (records of the steps, for fluxes). The last records that fill no window are
    left out.

    Args:
        hybrid: the model and its correction, whose weights are where the minimisation starts.
        parameters: leaves `[column]`.
        states: first guess of all prognostic variables at each record, such as a filter's means.
        forcing: leaves `[step, column]`.
        observations: leaves `[record, column]`, on the same records.
        scale: s of each variable, one by default.
        options: how to minimise.
        key: of the order of the windows.

    Raises:
        InputError: for fewer than two windows, no observation in them, or a first guess that is
            not finite.
    """
    options = options or Online()
    steps = min(x.shape[0] for x in (*forcing.values(), *states.values()))
    windows = steps // options.steps
    if windows < 2:
        raise InputError(
            f"{steps} steps make {windows} windows of {options.steps}, expected two or more; give "
            "a longer period or shorter windows"
        )
    records = np.arange(windows) * options.steps
    names = tuple(hybrid.prognostic)
    first = jnp.stack([states[name][records] for name in names], axis=1)
    broken = [n for k, n in enumerate(names) if not bool(jnp.all(jnp.isfinite(first[:, k])))]
    if broken:
        raise InputError(f"the first guess of {broken[0]} is not finite; give states that are")
    seen = tuple(
        jnp.stack(list(getattr(observations, part).values()), axis=1)
        for part in ("values", "errors", "mask")
    )
    if not bool(jnp.any(seen[2][:steps] > 0)):
        raise InputError("no observation lies in the windows, expected some; give others")
    batch = min(options.batch, windows)
    weights, rebuilt = trainable(hybrid)
    units = jnp.asarray([(scale or {}).get(n, 1.0) for n in names], first.dtype)[None, :, None]
    given = {"forcing": dict(forcing), "seen": seen, "parameters": dict(parameters), "units": units}
    limits = {"least": options.least, "most": options.deviation}
    given |= {name: jnp.asarray(x, first.dtype) for name, x in limits.items()}
    updates = options.sweeps * max(1, round(windows / batch))
    settings = {
        "observed": tuple(observations.values),
        "steps": options.steps,
        "batch": batch,
        "updates": updates,
        "rates": (options.state_rate, options.weight_rate),
    }
    for_states, for_weights = _optimisers(settings["rates"], updates)

    carry: Any = (first, for_states.init(first), weights, for_weights.init(weights))
    carry = (*carry, jnp.asarray(options.deviation, first.dtype))
    draws = jax.random.randint(key, (updates,), 0, windows - batch + 1)
    history: dict[str, list[Any]] = {"cost": [], "deviation": []}
    for begin in draws:
        carry, value = run_compiled(_updated, hybrid, carry, given, begin, **settings)
        history["cost"].append(value)
        history["deviation"].append(carry[-1])
    return Estimate(
        hybrid=rebuilt(carry[2]),
        starts={name: carry[0][:, k] for k, name in enumerate(names)},
        records=records,
        deviation=float(carry[-1]),
        history={name: [float(x) for x in values] for name, values in history.items()},
    )


def _optimisers(
    rates: tuple[float, float], updates: int
) -> tuple[optax.GradientTransformation, optax.GradientTransformation]:
    """Adam for the states and for the weights."""
    schedules = [optax.cosine_decay_schedule(rate, updates, 0.05) for rate in rates]
    for_states, for_weights = (optax.adam(schedule, b1=0.9, b2=0.99) for schedule in schedules)
    return for_states, for_weights


def _updated(
    hybrid: Hybrid,
    carry: tuple,
    given: dict[str, Any],
    begin: Array,
    *,
    observed: tuple[str, ...],
    steps: int,
    batch: int,
    updates: int,
    rates: tuple[float, float],
) -> tuple:
    """States, weights and d after an update from the windows `begin` and on; and J / p of these.

    Args:
        hybrid: whose structure counts, and not its weights.
        carry: states, their moments, weights, theirs, and d.
        given: observations, forcing, parameters, units and the bounds of d.
        begin: number of the first window.
        observed: observables.
        steps: of a window.
        batch: windows.
        updates: in all.
        rates: of the states and of the weights.
    """
    control, own, weights, shared, deviation = carry
    for_states, for_weights = _optimisers(rates, updates)
    cost = _Cost(trainable(hybrid)[1], tuple(hybrid.prognostic), observed, steps, batch)
    cut = partial(jax.lax.dynamic_slice_in_dim, start_index=begin, slice_size=batch)
    part, moments = _by_window(cut, (control, own))
    value, slope = jax.value_and_grad(cost, argnums=(0, 1))(part, weights, deviation, given, begin)
    step, moments = for_states.update(slope[0], moments)
    put = partial(jax.lax.dynamic_update_slice_in_dim, start_index=begin, axis=0)
    control, own = _by_window(put, (control, own), (part + step * given["units"], moments))
    step, shared = for_weights.update(slope[1], shared)
    change = jnp.clip(_GAIN * (value - 0.5), _SLOWEST, _FASTEST) * batch / control.shape[0]
    wider = jnp.clip(deviation * jnp.exp(change), given["least"], given["most"])
    return (control, own, optax.apply_updates(weights, step), shared, wider), value


@dataclass(frozen=True)
class _Cost:
    """J / p of some windows that follow one another.

    Attributes:
        rebuilt: from weights to the hybrid.
        names: of the variables.
        observed: of the observables.
        steps: of a window.
        batch: how many windows.
    """

    rebuilt: Callable[[Any], Hybrid]
    names: tuple[str, ...]
    observed: tuple[str, ...]
    steps: int
    batch: int

    def __call__(
        self,
        states: Float[Array, "window variable column"],
        weights: Any,
        deviation: Array,
        given: dict[str, Any],
        begin: Array,
    ) -> Array:
        """The cost of windows `begin` and on, of which `states` are the starts."""
        model = self.rebuilt(weights)
        columns = states.shape[-1]
        places = (begin + jnp.arange(self.batch)) * self.steps
        fold = partial(windows_of, starts=places, length=self.steps)
        rows = jnp.moveaxis(states, 1, 0).reshape(len(self.names), -1)
        start = dict(zip(self.names, rows, strict=True))
        fixed, weather = tiled(given["parameters"], self.batch), fold(given["forcing"])
        after, diagnostics = rollout(model, fixed, start, weather, keep_products=False)
        series = {n: jnp.concatenate([start[n][None], x[:-1]]) for n, x in after.items()}
        for name, x in diagnostics.items():
            of_step = starts_step(name, tuple(model.diagnostic))
            series[name] = x if of_step else jnp.concatenate([x[:1], x[:-1]])
        context = Context(model.time_step, fixed, weather)
        predicted = jnp.stack([operator_of(n)(series, context) for n in self.observed], axis=1)
        index = places[None, :] + jnp.arange(self.steps)[:, None]
        # [length, window, observable, column] to [length, observable, window * column]
        values, errors, mask = (
            jnp.moveaxis(x[index], 1, 2).reshape(predicted.shape) for x in given["seen"]
        )
        misfit = jnp.sum(mask * ((values - predicted) / errors) ** 2)
        ends = jnp.stack([after[name][-1] for name in self.names])
        jumps = (rows[:, columns:] - ends[:, :-columns]) / given["units"][0]
        whole = misfit + jnp.sum(jumps**2) / deviation**2
        return 0.5 * whole / jnp.maximum(jnp.sum(mask), 1.0)


def _by_window(function: Callable[..., Array], *trees: Any) -> Any:
    """A function of the leaves that have a window axis; others are those of the last tree."""
    return jax.tree.map(lambda *x: function(*x) if x[0].ndim else x[-1], *trees)
