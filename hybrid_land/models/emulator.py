"""The emulator: an MLP inside a step that keeps soil water, snow and the water budget physical."""

from collections.abc import Sequence
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from hybrid_land.errors import InputError
from hybrid_land.interface import Diagnostics, Forcing, Parameters, State
from hybrid_land.models import water
from hybrid_land.models.inputs import (
    dewpoint,
    features,
    freezing_inertia,
    skin_capacity,
    snow_cover,
)
from hybrid_land.variables import (
    FORCING,
    FREEZING,
    LATENT_HEAT_SUBLIMATION,
    LATENT_HEAT_VAPORISATION,
    LAYER_THICKNESS,
    PROGNOSTIC,
    SOIL_TEMPERATURE,
    SOIL_WATER,
    WATER_DENSITY,
)

PARAMETERS = (
    *("cvh", "cvl", "tvh", "tvl", "veg_covh", "veg_covl", "veg_z0mh", "veg_z0ml"),
    *("veg_rsminh", "veg_rsminl", "ctype", "sdor"),
    *("theta_cap", "theta_pwp", "theta_sat", "theta_res", "theta_max"),
    *("vg_alpha", "vg_n", "vg_l", "ksat"),
)
_DIAGNOSTIC = ("skt", "t2m", "d2m", "sshf", "slhf", "aco2gpp", "e", "sro", "ssro")
_CAPACITY = tuple(WATER_DENSITY * depth for depth in LAYER_THICKNESS)  # kg m-2 per m3 m-3
_INPUT_LIMIT = 8.0  # spreads from the mean beyond which an input says no more

# Row of the network's output -> (bias it starts with). The scales below are spreads of the
# quantities over a step in the training columns, so that the network's own numbers are near one.
_HEADS: dict[str, float] = {
    "interception": 0.0,
    "skin_loss": 2.0,
    "dew": -3.0,
    "sublimation": 0.0,
    "melt": -3.0,
    "runoff": -4.0,
    **{f"infiltration_{k}": b for k, b in enumerate((3.0, 0.0, -2.0, -4.0, -4.0), start=1)},
    **{f"uptake_{k}": 0.0 for k in (1, 2, 3, 4)},
    **{f"exchange_{k}": 0.0 for k in (1, 2, 3)},
    "drainage": -3.0,
    **{f"heating_{k}": 0.0 for k in (1, 2, 3)},
    **{f"conduction_{k}": 0.0 for k in (3, 4)},
    "density_rate": -4.0,
    "density_target": 0.0,
    "snow_warming_rate": -1.0,
    "snow_warming_target": 0.0,
    "albedo_rate": -3.0,
    "albedo_target": 0.0,
    "skt": 0.0,
    "t2m": 0.0,
    "d2m": 0.0,
    "sshf": 0.0,
    "gpp": -3.0,
}
HEADS = tuple(_HEADS)
_UPTAKE = (0.5, 0.4, 0.3, 0.1)  # kg m-2
_EXCHANGE = (2.0, 0.5, 0.2)  # kg m-2
_HEATING = (5.0, 0.7, 0.02)  # K
# Most of the temperature difference to the layer above that a step can close. Conduction through
# wet soil closes 0.02 to 0.04 in layer 3 and 0.004 to 0.010 in layer 4; freezing slows it.
_CONDUCTION = (0.08, 0.015)
_DENSITY_RANGE = (50.0, 500.0)  # kg m-3, ECLand's bounds of snow density
_ALBEDO_RANGE = (0.5, 0.85)  # ECLand's bounds of snow albedo
_COLDEST_SNOW = 200.0  # K


class Normalisation(nnx.Variable):
    """Mean and spread of the inputs: travels with the model and is not trained."""


class Layer(nnx.Module):
    """Affine map of rows: kernel `[out, in]`, bias `[out, 1]`; columns are the last axis.

    Columns last keeps each row contiguous, so that features are stacked without a transpose.
    """

    def __init__(self, inputs: int, outputs: int, *, scale: float, rngs: nnx.Rngs) -> None:
        """Draw the kernel from a normal of spread `scale / sqrt(inputs)`."""
        spread = scale / np.sqrt(inputs)
        self.kernel = nnx.Param(spread * rngs.params.normal((outputs, inputs)))
        self.bias = nnx.Param(jnp.zeros((outputs, 1)))

    def __call__(self, x: Float[Array, "in column"]) -> Float[Array, "out column"]:
        """Kernel x + bias."""
        return self.kernel[...] @ x + self.bias[...]


def activation(x: Array) -> Array:
    """X (1 + x / sqrt(x^2 + 4)) / 2: smooth, close to SiLU, and without an exponential."""
    return 0.5 * x * (1.0 + x * jax.lax.rsqrt(x * x + 4.0))


class Emulator(nnx.Module):
    """One step of ECLand for each column by a multilayer perceptron.

    The network gives proposals for the fluxes between reservoirs, rates and targets for snow,
    increments of soil temperature and the diagnostics; `water.balance` and bounded forms turn
    them into a state that is physical whatever the weights. Snow cover follows from snow mass
    and density by ECLand's own formula; latent heat follows from evaporation.

    Attributes:
        time_step: length of a step, s.
        prognostic: names in the state.
        diagnostic: names in the diagnostics.
        required: names that a Dataset must have to be run.
        inputs: names of the network's inputs in order.
        hidden: widths of the hidden layers.
        expected_error: pairs of a variable's name and the RMSE of the free run over the columns
            withheld from training; empty where it is not known.
    """

    def __init__(
        self,
        *,
        inputs: Sequence[str],
        mean: np.ndarray,
        spread: np.ndarray,
        hidden: Sequence[int] = (172, 172, 172),
        time_step: float = 21600.0,
        expected_error: Sequence[tuple[str, float]] = (),
        rngs: nnx.Rngs,
    ) -> None:
        """Untrained network over the named inputs with their mean and spread `[input]`."""
        self.expected_error = tuple((str(name), float(value)) for name, value in expected_error)
        self.time_step = float(time_step)
        self.prognostic: tuple[str, ...] = PROGNOSTIC
        self.diagnostic: tuple[str, ...] = _DIAGNOSTIC
        self.required = (
            *PROGNOSTIC,
            *FORCING,
            *(f"clim_{name}" for name in PARAMETERS if name != "theta_max"),
            "lat",
            "lon",
        )
        self.inputs = tuple(inputs)
        self.hidden = tuple(int(width) for width in hidden)
        self.mean = Normalisation(jnp.asarray(mean, jnp.float32)[:, None])
        self.spread = Normalisation(jnp.asarray(spread, jnp.float32)[:, None])
        widths = (len(self.inputs), *self.hidden)
        self.layers = nnx.List([Layer(a, b, scale=1.4, rngs=rngs) for a, b in pairwise(widths)])
        self.head = Layer(widths[-1], len(HEADS), scale=0.1, rngs=rngs)
        self.head.bias[...] = jnp.asarray(list(_HEADS.values()))[:, None]

    def network(self, x_norm: Float[Array, "input column"]) -> Float[Array, "head column"]:
        """The multilayer perceptron alone, from normalised inputs to the rows of `HEADS`."""
        x = x_norm
        for layer in self.layers:
            x = activation(layer(x))
        return self.head(x)

    def normalised_inputs(
        self, parameters: Parameters, state: State, forcing: Forcing
    ) -> Float[Array, "input column"]:
        """The network's inputs, normalised and limited to a few spreads from the mean."""
        rows = features(parameters, state, forcing, time_step=self.time_step)
        for name in self.inputs:
            if name not in rows:
                raise InputError(
                    f"the model has an input {name!r}, expected one of {', '.join(rows)}; use the "
                    "version of hybrid_land that wrote the model"
                )
        x = jnp.stack([rows[name] for name in self.inputs])
        x = (x - self.mean[...]) / self.spread[...]
        return jnp.clip(x, -_INPUT_LIMIT, _INPUT_LIMIT)

    def step(
        self, parameters: Parameters, state: State, forcing: Forcing
    ) -> tuple[State, Diagnostics]:
        """State at t + 6 h and diagnostics of the step. See `hybrid_land.interface.Model`."""
        x = self.normalised_inputs(parameters, state, forcing)
        z = dict(zip(HEADS, _rows(self.network(x)), strict=True))
        return decode(z, parameters, state, forcing, time_step=self.time_step)


def _rows(x: Float[Array, "row column"]) -> list[Float[Array, " column"]]:
    """The rows of an array; by `split`, whose transpose is one concatenation."""
    return [row[0] for row in jax.lax.split(x, (1,) * x.shape[0], axis=0)]


def decode(
    z: dict[str, Float[Array, " column"]],
    parameters: Parameters,
    state: State,
    forcing: Forcing,
    *,
    time_step: float,
) -> tuple[State, Diagnostics]:
    """From the rows of `HEADS` to a physical state and its diagnostics.

    Args:
        z: the network's output, name to `[column]`.
        parameters: leaves `[column]`.
        state: at the start of the step.
        forcing: over the step.
        time_step: s.

    Returns:
        State at the end of the step, and the diagnostics of the step.
    """
    softplus, sigmoid = jax.nn.softplus, jax.nn.sigmoid
    rain = forcing["met_rainf"] * time_step
    snowfall = forcing["met_snowf"] * time_step
    cover = snow_cover(state["sd"], state["rsn"])
    shares = _rows(jax.nn.softmax(jnp.stack([z[f"infiltration_{k}"] for k in range(1, 6)]), axis=0))
    proposal = water.Proposal(
        interception=sigmoid(z["interception"]),
        skin_loss=sigmoid(z["skin_loss"]),
        dew=0.05 * softplus(z["dew"]),
        sublimation=0.1 * z["sublimation"] * cover,
        melt=3.0 * softplus(z["melt"]),
        runoff=sigmoid(z["runoff"]),
        infiltration=(shares[0], shares[1], shares[2], shares[3], shares[4]),
        uptake=tuple(s * z[f"uptake_{k}"] for k, s in enumerate(_UPTAKE, start=1)),
        exchange=tuple(s * z[f"exchange_{k}"] for k, s in enumerate(_EXCHANGE, start=1)),
        drainage=0.3 * softplus(z["drainage"]),
    )
    full = parameters["theta_max"]
    before = water.Reservoirs(
        soil=tuple(c * state[name] for c, name in zip(_CAPACITY, SOIL_WATER, strict=True)),
        snow=state["sd"],
        skin=state["src"],
    )
    after, flux = water.balance(
        before,
        proposal,
        rain=rain,
        snowfall=snowfall,
        cover=cover,
        soil_capacity=tuple(c * full for c in _CAPACITY),
        skin_capacity=skin_capacity(parameters, forcing),
    )
    new: State = {
        name: soil / c for name, soil, c in zip(SOIL_WATER, after.soil, _CAPACITY, strict=True)
    }
    new |= _soil_heat(z, parameters, state)
    new["sd"], new["src"] = after.snow, after.skin
    new |= _snow_inside(z, state, after.snow)
    new["snowc"] = snow_cover(new["sd"], new["rsn"])

    vapour_heat = (
        LATENT_HEAT_VAPORISATION * (flux.e - flux.sublimation)
        + LATENT_HEAT_SUBLIMATION * flux.sublimation
    )
    diagnostics: Diagnostics = {
        "skt": new["stl1"] + 6.0 * z["skt"],
        "t2m": forcing["met_tair"] + 3.0 * z["t2m"],
        "d2m": dewpoint(forcing["met_qair"], forcing["met_psurf"]) + 3.0 * z["d2m"],
        "sshf": 60.0 * z["sshf"],
        "slhf": vapour_heat / time_step,
        "aco2gpp": 1e-7 * softplus(z["gpp"]),
        "e": flux.e,
        "sro": flux.sro,
        "ssro": flux.ssro,
    }
    return new, diagnostics


def _soil_heat(
    z: dict[str, Float[Array, " column"]], parameters: Parameters, state: State
) -> State:
    """Soil temperature. The two deep layers relax to the layer above, so that they cannot drift.

    The network gives the conductance: layer 4 has no other source of heat, as in ECLand, whose
    lower boundary is closed, and what it gains layer 3 loses, in proportion to their thickness.
    Below the first layer, whose temperature crosses the range of freezing within a step, water
    that freezes or thaws slows the change.
    """
    first, second, third, fourth = (state[name] for name in SOIL_TEMPERATURE)
    slow = [
        1.0 / (1.0 + freezing_inertia(state[t], state[w], parameters))
        for t, w in zip(SOIL_TEMPERATURE[1:], SOIL_WATER[1:], strict=True)
    ]
    warming = [scale * z[f"heating_{k}"] for k, scale in enumerate(_HEATING, start=1)]
    new_second = second + slow[0] * warming[1]
    above = 0.5 * (second + new_second)
    into_3 = _CONDUCTION[0] * jax.nn.sigmoid(z["conduction_3"]) * (above - third)
    into_4 = _CONDUCTION[1] * jax.nn.sigmoid(z["conduction_4"]) * (third - fourth)
    out_of_3 = into_4 * (LAYER_THICKNESS[3] / LAYER_THICKNESS[2])
    values = (
        first + warming[0],
        new_second,
        third + slow[1] * (warming[2] + into_3 - out_of_3),
        fourth + slow[2] * into_4,
    )
    return dict(zip(SOIL_TEMPERATURE, values, strict=True))


def _snow_inside(
    z: dict[str, Float[Array, " column"]], state: State, snow: Float[Array, " column"]
) -> State:
    """Density, temperature and albedo of the pack: each relaxes to a target within its bounds.

    Without snow they hold ECLand's values for none: 100 kg m-3, the freezing point and 0.85.
    """
    sigmoid = jax.nn.sigmoid
    new: State = {}
    for name, row, (low, high), empty in (
        ("rsn", "density", _DENSITY_RANGE, 100.0),
        ("tsn", "snow_warming", (_COLDEST_SNOW, FREEZING), FREEZING),
        ("asn", "albedo", _ALBEDO_RANGE, _ALBEDO_RANGE[1]),
    ):
        rate = sigmoid(z[f"{row}_rate"])
        target = low + (high - low) * sigmoid(z[f"{row}_target"])
        old = jnp.clip(state[name], low, high)
        new[name] = jnp.where(snow > 0.0, old + rate * (target - old), empty)
    return new


def create(
    parameters: Parameters,
    states: State,
    forcing: Forcing,
    *,
    hidden: Sequence[int] = (172, 172, 172),
    time_step: float = 21600.0,
    key: Array,
) -> Emulator:
    """An untrained emulator whose normalisation comes from a sample of training columns.

    Args:
        parameters: leaves `[sample]`.
        states: leaves `[sample]`.
        forcing: leaves `[sample]`.
        hidden: widths of the hidden layers.
        time_step: s.
        key: for the initial weights.
    """
    rows = features(parameters, states, forcing, time_step=time_step)
    inputs = tuple(rows)
    x = np.stack([np.asarray(rows[name], np.float64) for name in inputs])
    mean, spread = x.mean(axis=1), x.std(axis=1)
    binary = np.array([name.split("_type_")[0] in ("low", "high") for name in inputs])
    mean = np.where(binary, 0.0, mean)
    spread = np.where(binary, 1.0, np.maximum(spread, 1e-3 * np.maximum(np.abs(mean), 1e-3)))
    return Emulator(
        inputs=inputs,
        mean=mean,
        spread=spread,
        hidden=hidden,
        time_step=time_step,
        rngs=nnx.Rngs(params=key),
    )
