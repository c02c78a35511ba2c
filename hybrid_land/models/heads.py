"""The rows of the network's output: what is made of each, and the bias that it starts with."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from hybrid_land.compiled import apart

# Rows of the network's output by what is made of them, and the bias that each starts with. The
# scales below are spreads of the quantities over a step in the training columns, so that the
# network's own numbers are near one.
_SHARES = {  # sigmoid
    "interception": 0.0,
    "skin_loss": 2.0,
    "density_rate": -4.0,
    "snow_warming_rate": -1.0,
    "albedo_rate": -3.0,
    "density_target": 0.0,
    "snow_warming_target": 0.0,
    "albedo_target": 0.0,
}
_AMOUNTS = {  # softplus
    "dew": -3.0,
    "melt": -3.0,
    "condensation": -3.0,
    "gpp": -3.0,
}
_FACTORS = {  # near one
    **{f"demand_{kind}": 0.0 for kind in ("high", "low", "bare")},
    **{f"drag_{kind}": 0.0 for kind in ("high", "low", "bare")},
    **{f"conductivity_{k}": 0.0 for k in (1, 2, 3, 4)},
    **{f"diffusivity_{k}": 0.0 for k in (1, 2, 3)},
    **{f"conduction_{k}": 0.0 for k in (1, 2, 3)},
}
_PLAIN = {
    "sublimation": 0.0,
    "runoff": 0.0,
    "heating": 0.0,
    "warmth": 0.0,
    "infiltration_1": 3.0,
    "infiltration_2": 0.0,
    "infiltration_3": -2.0,
    "skt": 0.0,
    "t2m": 0.0,
    "d2m": 0.0,
    "sshf": 0.0,
}
HEADS: dict[str, float] = _SHARES | _AMOUNTS | _FACTORS | _PLAIN
_FACTOR_LIMIT = 3.0  # a conductance is at most exp(3) times ECLand's at the start of the step
# Rows of the output that are one quantity of several kinds or layers.
_ROWS = {
    **dict.fromkeys(("rate", "target", "demand", "drag"), 3),
    "conductivity": 4,
    "diffusivity": 3,
    "conduction": 3,
    "infiltration": 3,
    "screen": 4,
}


@apart
def meaning(out: Float[Array, "head column"]) -> dict[str, Float[Array, "*kind column"]]:
    """Shares, amounts, factors and plain numbers by name; those of one kind as one array.

    Each function is applied to all its rows at once: there are few operations to compile.
    """
    sizes = tuple(len(group) for group in (_SHARES, _AMOUNTS, _FACTORS, _PLAIN))
    shares, amounts, factors, plain = jax.lax.split(out, sizes, axis=0)
    factors = jnp.exp(_FACTOR_LIMIT * jnp.tanh(factors / _FACTOR_LIMIT))
    found: dict[str, Float[Array, "*kind column"]] = {}
    for rows, names in (
        (jax.nn.sigmoid(shares), ("interception", "skin_loss", "rate", "target")),
        (jax.nn.softplus(amounts), tuple(_AMOUNTS)),
        (factors, ("demand", "drag", "conductivity", "diffusivity", "conduction")),
        (plain, ("sublimation", "runoff", "heating", "warmth", "infiltration", "screen")),
    ):
        parts = jax.lax.split(rows, tuple(_ROWS.get(name, 1) for name in names), axis=0)
        for name, part in zip(names, parts, strict=True):
            found[name] = part if name in _ROWS else part[0]
    return found
