"""A long series as windows that run side by side: window and column in one, `[window * column]`."""

from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int


def windows_of(
    series: Mapping[str, Float[Array, "record column"]],
    starts: Int[np.ndarray, " window"] | Int[Array, " window"],
    *,
    length: int,
) -> dict[str, Float[Array, "length folded"]]:
    """Records s .. s + length - 1 of each leaf for each start s, `[length, window * column]`."""
    index = jnp.asarray(starts)[None, :] + jnp.arange(length)[:, None]
    return {name: x[index].reshape((length, -1)) for name, x in series.items()}


def records_of(
    series: Mapping[str, Float[Array, "record column"]],
    records: Int[np.ndarray, " window"] | Int[Array, " window"],
) -> dict[str, Float[Array, " folded"]]:
    """The leaves at some records, `[window * column]`."""
    return {name: x[jnp.asarray(records)].reshape(-1) for name, x in series.items()}


def tiled(
    parameters: Mapping[str, Float[Array, " column"]], windows: int
) -> dict[str, Float[Array, " folded"]]:
    """Parameters `[column]` for each of so many windows, `[window * column]`."""
    return {name: jnp.tile(x, windows) for name, x in parameters.items()}
