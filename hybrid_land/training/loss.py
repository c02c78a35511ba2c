"""The loss: squared error of a free rollout in units of persistence's error at the same lead."""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from hybrid_land.columns import ALBEDO, BESIDE, KNOWN, MISSING_ALBEDO, STEP_FORCING
from hybrid_land.interface import Model
from hybrid_land.rollout import rollout
from hybrid_land.training.windows import Windows
from hybrid_land.variables import (
    DIAGNOSTIC,
    PROGNOSTIC,
    SNOW_INNER,
    SNOW_PRESENT,
    SOIL_WATER,
    VARIABLES,
)

_OUTLIER = 4.0  # scaled errors beyond this count linearly, so that one storm does not rule a batch
_AT_END = tuple(name for name in DIAGNOSTIC if VARIABLES[name].kind == "instantaneous")


@dataclass(frozen=True)
class Scales:
    """What an error is measured in.

    Attributes:
        state: name to `[lead]`, root mean square change over 1, 2, ... steps in the training
            columns, not falling with the lead.
        diagnostic: name to the spread of the diagnostic.
    """

    state: dict[str, Float[Array, " lead"]]
    diagnostic: dict[str, float]


def measure_scales(windows: Windows, *, leads: int, samples: int = 20000, seed: int = 0) -> Scales:
    """Measure the scales on a sample of windows; snow's inner variables where there is snow."""
    generator = np.random.default_rng(seed)
    starts = np.flatnonzero(windows.room >= leads)
    chosen = generator.choice(starts, size=min(samples, len(starts)), replace=False)
    column = {name: windows.variables.index(name) for name in windows.variables}
    known = np.unique(np.round(np.geomspace(1, leads, 24)).astype(int))
    state = {}
    for name in PROGNOSTIC:
        first = windows.rows[chosen, column[name]].astype(np.float64)
        weight = np.ones(len(chosen), bool)
        values = []
        for lead in known:
            if name in SNOW_INNER:
                snow = windows.rows[chosen + lead, column["sd"]]
                weight = (windows.rows[chosen, column["sd"]] > SNOW_PRESENT) & (snow > SNOW_PRESENT)
            change = windows.rows[chosen + lead, column[name]] - first
            values.append(np.sqrt(np.mean(np.square(change[weight]))) if weight.any() else 1.0)
        rising = np.maximum.accumulate(np.maximum(values, 1e-6))
        state[name] = jnp.asarray(np.interp(np.arange(1, leads + 1), known, rising), jnp.float32)
    spread = {
        name: float(np.std(windows.rows[chosen, column[name]]) + 1e-12) for name in DIAGNOSTIC
    }
    return Scales(state=state, diagnostic=spread)


def _robust(x: Array) -> Array:
    """x^2 near zero, linear far from it (pseudo-Huber)."""
    return 2.0 * _OUTLIER**2 * (jnp.sqrt(1.0 + (x / _OUTLIER) ** 2) - 1.0)


def rollout_loss(
    model: Model,
    parameters: dict[str, Float[Array, " window"]],
    rows: dict[str, Float[Array, "record window"]],
    scales: Scales,
    *,
    drift_weight: float,
    noise: dict[str, Float[Array, " window"]] | None = None,
    albedo_known: Bool[Array, " window"] | None = None,
    beside_known: Bool[Array, "2 window"] | None = None,
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """Loss of a free rollout over windows.

        J = mean over state variables of [ mean_k r(err_k / s_k) + w r(mean_k err_k / s_n) ]
          + mean over diagnostics of mean_k r(err_k / spread)

    with r quadratic near zero, s_k persistence's error at lead k, n the window's length. The
    second term is the drift: an error that keeps its sign over the window.

    Args:
        model: the emulator.
        parameters: leaves `[window]`.
        rows: leaves `[length + 1, window]`, forcing, state and diagnostics.
        scales: from `measure_scales`, at least as long as the window.
        drift_weight: w.
        noise: added to the first state, leaves `[window]`.
        albedo_known: false where the background albedo is to be withheld.
        beside_known: false where the records before and those after a step are to be withheld.

    Returns:
        J, and the root mean square scaled error of each variable.
    """
    forcing = {name: rows[name][:-1] for name in STEP_FORCING}
    if albedo_known is not None:
        forcing[ALBEDO] = jnp.where(albedo_known[None, :], forcing[ALBEDO], MISSING_ALBEDO)
    if beside_known is not None:
        shifts = {name: shift for name, (_, shift) in BESIDE.items()} | KNOWN
        for name, shift in shifts.items():
            forcing[name] = jnp.where(beside_known[int(shift > 0)][None, :], forcing[name], 0.0)
    first = {name: rows[name][0] for name in PROGNOSTIC}
    if noise is not None:
        first = first | {name: first[name] + value for name, value in noise.items()}
        for name in SOIL_WATER:
            first[name] = jnp.clip(first[name], 0.0, parameters["theta_max"])
    states, diagnostics = rollout(model, parameters, first, forcing)
    length = next(iter(forcing.values())).shape[0]
    snow = (rows["sd"][1:] > SNOW_PRESENT) & (rows["sd"][:-1] > SNOW_PRESENT)
    total, parts = jnp.zeros(()), {}
    for name in PROGNOSTIC:
        error = states[name] - rows[name][1:]
        scale = scales.state[name][:length]
        if name in SNOW_INNER:
            error = jnp.where(snow, error, 0.0)
            share = jnp.maximum(jnp.mean(snow), 1e-3)
        else:
            share = 1.0
        scaled = jnp.mean(_robust(error / scale[:, None])) / share
        drift = jnp.mean(_robust(jnp.mean(error, axis=0) / scale[-1])) / share
        total = total + (scaled + drift_weight * drift) / len(PROGNOSTIC)
        parts[name] = jnp.sqrt(scaled)
    for name in DIAGNOSTIC:
        truth = rows[name][1:] if name in _AT_END else rows[name][:-1]
        scaled = jnp.mean(_robust((diagnostics[name] - truth) / scales.diagnostic[name]))
        total = total + scaled / len(DIAGNOSTIC)
        parts[name] = jnp.sqrt(scaled)
    return total, parts
