"""The parts of a network: an affine map and the function between two of them."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float


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


@jax.custom_jvp
def activation(x: Array) -> Array:
    """X (1 + x / sqrt(x^2 + 4)) / 2: smooth, close to SiLU, and without an exponential."""
    return 0.5 * x * (1.0 + x * jax.lax.rsqrt(x * x + 4.0))


@activation.defjvp
def _change_of_activation(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    """With r = 1 / sqrt(x^2 + 4) the slope is (1 + x r (1 + 4 r^2)) / 2, without a division."""
    (x,), (dx,) = primals, tangents
    r = jax.lax.rsqrt(x * x + 4.0)
    share = x * r
    return 0.5 * x * (1.0 + share), (0.5 + share * (0.5 + 2.0 * r * r)) * dx
