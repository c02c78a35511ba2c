"""The emulator: an MLP inside a step that keeps soil water, snow and the water budget physical."""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from hybrid_land.errors import InputError
from hybrid_land.interface import Diagnostics, Forcing, Parameters, State
from hybrid_land.models import soil, water
from hybrid_land.models.air import dewpoint
from hybrid_land.models.canopy import bare_conductance
from hybrid_land.models.heads import HEADS, meaning
from hybrid_land.models.inputs import Land, features, snow_cover, survey
from hybrid_land.models.layer import Layer, activation
from hybrid_land.models.rows import rows_of, total
from hybrid_land.models.screen import Screen
from hybrid_land.variables import (
    FORCING,
    FREEZING,
    LATENT_HEAT_SUBLIMATION,
    LATENT_HEAT_VAPORISATION,
    PROGNOSTIC,
    SNOW_INNER,
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
_INPUT_LIMIT = 8.0  # spreads from the mean beyond which an input says no more

# ECLand's bounds inside the snow and its values for none.
_DENSITY = (50.0, 500.0, 100.0)  # kg m-3
_SNOW_TEMPERATURE = (200.0, FREEZING, FREEZING)  # K
_ALBEDO = (0.5, 0.85, 0.85)


class Normalisation(nnx.Variable):
    """Mean and spread of the inputs: travels with the model and is not trained."""


class Emulator(nnx.Module):
    """One step of ECLand for each column by a multilayer perceptron.

    The network gives what ECLand's equations leave open at 6 hours: the air's demand for vapour,
    what the skin keeps, melt, the heat of the first layer, targets for snow, the diagnostics, and
    factors on conductances. ECLand's own equations for the canopy, the flow of water and of heat
    in the soil and surface runoff (`canopy`, `soil`) do the rest, and `water.balance` keeps the
    state physical whatever the weights. Snow cover follows from snow mass and density by ECLand's
    formula; latent heat follows from evaporation.

    Attributes:
        time_step: length of a step, s.
        prognostic: names in the state.
        diagnostic: names in the diagnostics.
        required: names that a Dataset must have to be run.
        inputs: names of the network's inputs in order.
        hidden: widths of the hidden layers.
        screen_width: hidden units of `screen`, which says what is seen at the end of a step from
            the records beside it; 0 for none.
        expected_error: pairs of a variable's name and the RMSE of the free run over the columns
            withheld from training; empty where it is not known.
        kind: of the network's outputs, as the description on disk says it.
        heads: the network's outputs in order, and the bias that each starts with.
    """

    kind = "emulator"
    heads: Mapping[str, float] = HEADS

    def __init__(
        self,
        *,
        inputs: Sequence[str],
        mean: np.ndarray,
        spread: np.ndarray,
        hidden: Sequence[int] = (112, 112),
        screen_width: int = 0,
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
        self.head = Layer(widths[-1], len(self.heads), scale=0.1, rngs=rngs)
        self.head.bias[...] = jnp.asarray(list(self.heads.values()))[:, None]
        self.add_screen(screen_width, rngs=rngs)

    def add_screen(self, width: int, *, rngs: nnx.Rngs) -> None:
        """A new `screen` of so many hidden units, which adds nothing until it is trained."""
        self.screen_width = int(width)
        inside = len(self.inputs) + self.hidden[-1]
        screen = Screen(inside, self.screen_width, rngs=rngs) if width else None
        self.screen: Screen | None = nnx.data(screen)

    def network(self, x_norm: Float[Array, "input column"]) -> Float[Array, "head column"]:
        """The multilayer perceptron alone, from normalised inputs to the rows of `heads`."""
        return self.head(self._hidden(x_norm))

    def _hidden(self, x_norm: Float[Array, "input column"]) -> Float[Array, "hidden column"]:
        x = x_norm
        for layer in self.layers:
            x = activation(layer(x))
        return x

    def normalised_inputs(
        self, parameters: Parameters, state: State, forcing: Forcing
    ) -> Float[Array, "input column"]:
        """The network's inputs, normalised and limited to a few spreads from the mean."""
        land = survey(parameters, state, forcing, time_step=self.time_step)
        return self._normalised(land, parameters, state, forcing)

    def _normalised(
        self, land: Land, parameters: Parameters, state: State, forcing: Forcing
    ) -> Float[Array, "input column"]:
        found = features(land, parameters, state, forcing, time_step=self.time_step)
        if found.names != self.inputs:
            strange = [name for name in self.inputs if name not in found.names]
            what = f"an input {strange[0]!r}" if strange else f"{len(self.inputs)} inputs"
            raise InputError(
                f"the model has {what}, expected the {len(found.names)} inputs "
                f"{', '.join(found.names)}, in that order; use the version of hybrid_land that "
                "wrote the model"
            )
        x = (found.rows - self.mean[...]) / self.spread[...]
        return jax.lax.clamp(-_INPUT_LIMIT, x, _INPUT_LIMIT)

    def step(
        self, parameters: Parameters, state: State, forcing: Forcing
    ) -> tuple[State, Diagnostics]:
        """State at t + 6 h and diagnostics of the step. See `hybrid_land.interface.Model`."""
        return self.corrected(parameters, state, forcing, lambda x_norm: 0.0)

    def corrected(
        self,
        parameters: Parameters,
        state: State,
        forcing: Forcing,
        more: Callable[[Array], Array | float],
    ) -> tuple[State, Diagnostics]:
        """The step with `more(x_norm)` added to the rows of `heads`.

        Water moves and closes and stays within bounds whatever is added, as for any weights.
        """
        land = survey(parameters, state, forcing, time_step=self.time_step)
        x_norm = self._normalised(land, parameters, state, forcing)
        hidden = self._hidden(x_norm)
        out = self.head(hidden) + more(x_norm)
        seen = 0.0 if self.screen is None else self.screen(x_norm, hidden, forcing)
        return decode(out, land, parameters, state, forcing, seen=seen, time_step=self.time_step)


def decode(
    out: Float[Array, "head column"],
    land: Land,
    parameters: Parameters,
    state: State,
    forcing: Forcing,
    *,
    seen: Float[Array, "4 column"] | float = 0.0,
    time_step: float,
) -> tuple[State, Diagnostics]:
    """From the rows of `heads` to a physical state and its diagnostics.

    Args:
        out: the network's output, rows as in `Emulator.heads`.
        land: of `survey`, at the start of the step.
        parameters: leaves `[column]`.
        state: at the start of the step.
        forcing: over the step.
        seen: what `Screen` adds to the rows of skin, screen and sensible heat.
        time_step: s.

    Returns:
        State at the end of the step, and the diagnostics of the step.
    """
    z = meaning(out)
    cover = land.snow_cover
    capacity = WATER_DENSITY * soil.thickness(land.swvl)  # kg m-2 per m3 m-3
    entering = jax.nn.softmax(z["infiltration"], axis=0)

    def runoff(surface: Float[Array, " column"]) -> Float[Array, " column"]:
        share = soil.runoff_share(surface, land.swvl, land.liquid, parameters)
        share = jnp.clip(share, 1e-3, 1.0 - 1e-3)
        return jax.nn.sigmoid(jnp.log(share / (1.0 - share)) + z["runoff"])

    def flow(amount: Float[Array, "4 column"]) -> Float[Array, "4 column"]:
        return soil.flow(
            amount / capacity,
            land.liquid,
            parameters,
            faster=z["conductivity"],
            wetter=z["diffusivity"],
            time_step=time_step,
        )

    proposal = water.Proposal(
        interception=z["interception"],
        skin_loss=z["skin_loss"],
        dew=0.05 * z["dew"],
        sublimation=0.1 * z["sublimation"] * cover,
        melt=3.0 * z["melt"],
        infiltration=jnp.concatenate([entering, jnp.zeros_like(entering[:1])]),
        uptake=_uptake(z, land),
    )
    before = water.Reservoirs(
        soil=capacity * land.swvl,
        snow=state["sd"],
        skin=state["src"],
    )
    after, flux = water.balance(
        before,
        proposal,
        rain=forcing["met_rainf"] * time_step,
        snowfall=forcing["met_snowf"] * time_step,
        cover=cover,
        soil_capacity=capacity * parameters["theta_max"][None],
        skin_capacity=land.skin_capacity,
        runoff=runoff,
        flow=flow,
    )
    new: State = dict(zip(SOIL_WATER, rows_of(after.soil / capacity), strict=True))
    new |= _soil_heat(z, land, parameters, time_step)
    new["sd"], new["src"] = after.snow, after.skin
    new |= _snow_inside(z, state, after.snow)
    new["snowc"] = snow_cover(new["sd"], new["rsn"])

    vapour_heat = (
        LATENT_HEAT_VAPORISATION * (flux.e - flux.sublimation)
        + LATENT_HEAT_SUBLIMATION * flux.sublimation
    )
    skin, warm, moist, heat = rows_of(z["screen"] + seen)
    diagnostics: Diagnostics = {
        "skt": forcing["met_tair"] + 6.0 * skin,
        "t2m": forcing["met_tair"] + 3.0 * warm,
        "d2m": dewpoint(forcing["met_qair"], forcing["met_psurf"]) + 3.0 * moist,
        "sshf": 60.0 * heat,
        "slhf": vapour_heat / time_step,
        "aco2gpp": 1e-7 * z["gpp"],
        "e": flux.e,
        "sro": flux.sro,
        "ssro": flux.ssro,
    }
    return new, diagnostics


def _uptake(
    z: dict[str, Float[Array, "*kind column"]],
    land: Land,
) -> Float[Array, "4 column"]:
    """Vapour to and from each layer, positive downwards, kg m-2.

    With g the conductance by ECLand's formula, a cover gives demand g / (1 + drag g) from its
    roots' layers. The network gives a factor on the air's demand, and the drag: what the air
    resists beside the leaves. Snow closes bare ground and low plants off.
    """
    plants = land.plants
    ground = bare_conductance(land.bare_stress)
    conductance = jnp.concatenate([plants.conductance, ground[None]])
    bare = jax.nn.relu(land.bare)
    open_ground = 1.0 - land.snow_cover
    fraction = jnp.stack([plants.fraction[0], plants.fraction[1] * open_ground, bare * open_ground])
    given = fraction * z["demand"] * land.demand[None] * conductance
    given = given / (1.0 + z["drag"] * conductance)
    top = 0.05 * z["condensation"] - given[2]
    uptake = -total(jnp.moveaxis(given[None, :2] * plants.uptake, 1, 0))
    return uptake + jnp.concatenate([top[None], jnp.zeros_like(uptake[1:])])


def _soil_heat(
    z: dict[str, Float[Array, "*kind column"]],
    land: Land,
    parameters: Parameters,
    time_step: float,
) -> State:
    """Soil temperature: the network heats layer 1, conduction by ECLand's formulas the others.

    The network gives the heat of layer 1, its mean temperature over the step and a factor on each
    conductance. Heat that layers 2 to 4 gain another loses; freezing and thawing take their share.
    """
    layered = {name: value[None] for name, value in parameters.items()}
    surface = 5.0 * z["heating"] * soil.heat_capacity(parameters)
    first = soil.warmed(land.temperature[0], surface, parameters)
    below = soil.conduction(
        land.temperature,
        0.5 * (land.temperature[0] + first) + 2.0 * z["warmth"],
        land.swvl,
        land.liquid,
        parameters,
        faster=z["conduction"],
        time_step=time_step,
    )
    deep = rows_of(soil.warmed(land.temperature[1:], below, layered))
    return dict(zip(SOIL_TEMPERATURE, (first, *deep), strict=True))


def _snow_inside(
    z: dict[str, Float[Array, "*kind column"]], state: State, snow: Float[Array, " column"]
) -> State:
    """Density, temperature and albedo of the pack: each relaxes to a target within its bounds.

    Without snow they hold ECLand's values for none: 100 kg m-3, the freezing point and 0.85.
    """
    low, high, empty = (
        jnp.asarray(bound, snow.dtype)[:, None]
        for bound in zip(_DENSITY, _SNOW_TEMPERATURE, _ALBEDO, strict=True)
    )
    old = jnp.clip(jnp.stack([state[name] for name in SNOW_INNER]), low, high)
    target = low + (high - low) * z["target"]
    relaxed = jnp.where(snow[None] > 0.0, old + z["rate"] * (target - old), empty)
    return dict(zip(SNOW_INNER, rows_of(relaxed), strict=True))


def create(
    parameters: Parameters,
    states: State,
    forcing: Forcing,
    *,
    hidden: Sequence[int] = (112, 112),
    screen_width: int = 0,
    time_step: float = 21600.0,
    kind: type[Emulator] = Emulator,
    key: Array,
) -> Emulator:
    """An untrained emulator whose normalisation comes from a sample of training columns.

    Args:
        parameters: leaves `[sample]`.
        states: leaves `[sample]`.
        forcing: leaves `[sample]`.
        hidden: widths of the hidden layers.
        screen_width: hidden units of the emulator's `screen`; 0 for none.
        time_step: s.
        kind: the emulator or another with its inputs.
        key: for the initial weights.
    """
    land = survey(parameters, states, forcing, time_step=time_step)
    found = features(land, parameters, states, forcing, time_step=time_step)
    x = np.asarray(found.rows, np.float64)
    mean, spread = x.mean(axis=1), x.std(axis=1)
    binary = np.array([name.split("_type_")[0] in ("low", "high") for name in found.names])
    mean = np.where(binary, 0.0, mean)
    spread = np.where(binary, 1.0, np.maximum(spread, 1e-3 * np.maximum(np.abs(mean), 1e-3)))
    return kind(
        inputs=found.names,
        mean=mean,
        spread=spread,
        hidden=hidden,
        screen_width=screen_width,
        time_step=time_step,
        rngs=nnx.Rngs(params=key),
    )
