"""What is seen at the end of a step: skin and screen-level temperature, dewpoint, sensible heat.

`skt`, `t2m` and `d2m` are instantaneous at the end of the step while its forcing is a mean over it,
so that a step alone does not say how warm the air is when they are taken: the records beside it
do, as ECLand's own interpolation of its forcing does. These four diagnostics feed no state, and
neither does what is said here.
"""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from hybrid_land.columns import BESIDE, KNOWN
from hybrid_land.interface import Forcing
from hybrid_land.models.layer import Layer, activation

SEEN = ("skt", "t2m", "d2m", "sshf")
# Near the spread over 6 hours: K, logarithm of humidity, W m-2, m s-1.
_UNITS = {"tair": 4.0, "humidity": 0.2, "shortwave": 200.0, "longwave": 25.0, "wind": 2.0}
_LIMIT = 8.0  # spreads beyond which a change says no more


def changes(forcing: Forcing) -> Float[Array, "change column"]:
    """How the weather of the records beside the step differs from its own.

    Rows as in `BESIDE` and `KNOWN`; zero, which is unknown, where the forcing does not have them.
    """
    none = jnp.zeros_like(forcing["met_tair"])
    rows = [forcing.get(name, none) / _UNITS[quantity] for name, (quantity, _) in BESIDE.items()]
    known = [forcing.get(name, none) for name in KNOWN]
    return jnp.clip(jnp.stack([*rows, *known]), -_LIMIT, _LIMIT)


class Screen(nnx.Module):
    """A small network from what the emulator sees and computes and from `changes`.

    Attributes:
        layer: to its hidden units.
        head: from them to the four rows of `SEEN`.
        straight: to the four rows without hidden units.
    """

    def __init__(self, inputs: int, width: int, *, rngs: nnx.Rngs) -> None:
        """Untrained: it adds nothing."""
        size = inputs + len(BESIDE) + len(KNOWN)
        self.layer = Layer(size, width, scale=1.4, rngs=rngs)
        self.head = Layer(width, len(SEEN), scale=0.0, rngs=rngs)
        self.straight = Layer(size, len(SEEN), scale=0.0, rngs=rngs)

    def __call__(
        self,
        x_norm: Float[Array, "input column"],
        hidden: Float[Array, "hidden column"],
        forcing: Forcing,
    ) -> Float[Array, "4 column"]:
        """What is added to the network's rows of `SEEN`."""
        x = jnp.concatenate([x_norm, hidden, changes(forcing)])
        return self.head(activation(self.layer(x))) + self.straight(x)
