"""Networks that correct a model: convolutions on a ring, and one network for all columns.

A correction is called as `correction(parameters, state, forcing)` and gives numbers by name, in
the unit of the variables (or of their rates). Inputs are normalised by statistics that are kept
with the weights. The last layer starts at zero, so that an untrained correction changes nothing.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from hybrid_land.interface import Forcing, Parameters, State

COURSE_LAYERS = ((40, 7), (20, 5), (20, 1))  # channels and width of each layer: 4,781 weights
_LIMIT = 8.0  # spreads from the mean beyond which a column's input says no more


class Statistic(nnx.Variable):
    """A number that normalises inputs or scales outputs: kept with the weights, not trained."""


class RingLayer(nnx.Module):
    """Convolution over the points of a ring: kernel `[out, width * in]`, bias `[out]`."""

    def __init__(
        self, inputs: int, outputs: int, *, width: int, scale: float, rngs: nnx.Rngs
    ) -> None:
        """Draw the kernel from a normal of spread `scale / sqrt(width * inputs)`."""
        self.width = int(width)
        spread = scale / np.sqrt(width * inputs)
        self.kernel = nnx.Param(spread * rngs.params.normal((outputs, width * inputs)))
        self.bias = nnx.Param(jnp.zeros(outputs))

    def __call__(self, x: Float[Array, "in point column"]) -> Float[Array, "out point column"]:
        """Kernel x + bias, each point seeing `width` points about it."""
        points, half = x.shape[1], self.width // 2
        if self.width > 1:
            around = jnp.concatenate([x[:, points - half :], x, x[:, :half]], axis=1)
            x = jnp.concatenate([around[:, j : j + points] for j in range(self.width)], axis=0)
        flat = self.kernel[...] @ x.reshape(x.shape[0], -1)
        return flat.reshape(-1, *x.shape[1:]) + self.bias[...][:, None, None]


class RingNetwork(nnx.Module):
    """Convolutional network on a ring with periodic padding, the same at each point.

    With tanh between the layers it is the network of Bocquet and Brajard's course. With
    `products` there is one convolution into three groups of channels a, b, c, and the output is
    linear in a, a b and a b c: a polynomial of degree three of the points about each point, whose
    coefficients have the rank of the number of channels. The bilinear layer of Bocquet et al.
    (2019, section 3.2) is its part of degree two.

    Attributes:
        names: of the points, in order round the ring.
        layers: channels and width of each hidden layer.
        products: whether the nonlinearity is a product of channels.
        mean: of the points.
        spread: of the points.
        scale: of the output: the network's own numbers are near one.
    """

    kind = "ring"

    def __init__(
        self,
        *,
        names: Sequence[str],
        layers: Sequence[Sequence[int]] = COURSE_LAYERS,
        products: bool = False,
        mean: float = 0.0,
        spread: float = 1.0,
        scale: float = 1.0,
        rngs: nnx.Rngs,
    ) -> None:
        """Untrained network; raises `ValueError` for a width that is even or several products."""
        if products and len(layers) != 1:
            raise ValueError(f"products of channels need one layer, found {len(layers)}")
        if any(width % 2 == 0 for _, width in layers):
            raise ValueError("the width of a convolution must be odd")
        self.names = tuple(names)
        self.sizes = tuple((int(channels), int(width)) for channels, width in layers)
        self.products = bool(products)
        self.mean, self.spread = Statistic(jnp.asarray(mean)), Statistic(jnp.asarray(spread))
        self.scale = Statistic(jnp.asarray(scale))
        groups = 3 if products else 1
        inputs = [1, *(groups * channels for channels, _ in self.sizes)]
        self.layers = nnx.List(
            [
                RingLayer(a, b, width=width, scale=1.0, rngs=rngs)
                for (a, b), (_, width) in zip(pairwise(inputs), self.sizes, strict=True)
            ]
        )
        self.head = RingLayer(inputs[-1], 1, width=1, scale=0.0, rngs=rngs)

    def __call__(self, parameters: Parameters, state: State, forcing: Forcing) -> State:
        """The correction of each point."""
        out = self.of_points(jnp.stack([state[name] for name in self.names]))
        return dict(zip(self.names, out, strict=True))

    def of_points(self, points: Float[Array, "point column"]) -> Float[Array, "point column"]:
        """The same of the points as one array."""
        x = ((points - self.mean[...]) / self.spread[...])[None]
        for layer in self.layers:
            x = layer(x)
            x = _products(x) if self.products else jnp.tanh(x)
        return self.scale[...] * self.head(x)[0]

    @property
    def description(self) -> dict[str, Any]:
        """What `from_description` needs beside the weights."""
        return {
            "kind": self.kind,
            "names": list(self.names),
            "layers": [list(size) for size in self.sizes],
            "products": self.products,
        }


class ColumnNetwork(nnx.Module):
    """One network for all columns of a land model, from the state, the forcing and parameters.

    Attributes:
        inputs: names looked up in the state, then the forcing, then the parameters.
        names: of the variables corrected.
        hidden: widths.
        mean: of the inputs.
        spread: of the inputs.
        scale: of the outputs: the network's own numbers are near one.
    """

    kind = "column"

    def __init__(
        self,
        *,
        inputs: Sequence[str],
        names: Sequence[str],
        hidden: Sequence[int] = (32, 32),
        mean: Any = None,
        spread: Any = None,
        scale: Any = None,
        rngs: nnx.Rngs,
    ) -> None:
        """Untrained network; statistics are `[input]` and `[name]`, zero and one by default."""
        self.inputs, self.names = tuple(inputs), tuple(names)
        self.hidden = tuple(int(width) for width in hidden)

        def rows(values: Any, size: int, otherwise: float) -> Statistic:
            given = np.full(size, otherwise) if values is None else np.asarray(values)
            return Statistic(jnp.asarray(given)[:, None])

        self.mean = rows(mean, len(self.inputs), 0.0)
        self.spread = rows(spread, len(self.inputs), 1.0)
        self.scale = rows(scale, len(self.names), 1.0)
        widths = [len(self.inputs), *self.hidden]
        self.layers = nnx.List(
            [RingLayer(a, b, width=1, scale=1.4, rngs=rngs) for a, b in pairwise(widths)]
        )
        self.head = RingLayer(widths[-1], len(self.names), width=1, scale=0.0, rngs=rngs)

    def __call__(self, parameters: Parameters, state: State, forcing: Forcing) -> State:
        """The correction of each variable; raises `KeyError` for an input that nothing has."""
        known = {**parameters, **forcing, **state}
        out = self.of_rows(jnp.stack([known[name] for name in self.inputs]))
        return dict(zip(self.names, out, strict=True))

    def of_rows(self, rows: Float[Array, "input column"]) -> Float[Array, "name column"]:
        """The same of the inputs as one array."""
        x = jnp.clip((rows - self.mean[...]) / self.spread[...], -_LIMIT, _LIMIT)[:, None]
        for layer in self.layers:
            x = jnp.tanh(layer(x))
        return self.scale[...] * self.head(x)[:, 0]

    @property
    def description(self) -> dict[str, Any]:
        """What `from_description` needs beside the weights."""
        return {
            "kind": self.kind,
            "inputs": list(self.inputs),
            "names": list(self.names),
            "hidden": list(self.hidden),
        }


Correction = RingNetwork | ColumnNetwork
KINDS: dict[str, type[Any]] = {kind.kind: kind for kind in (RingNetwork, ColumnNetwork)}


def from_description(description: Mapping[str, Any]) -> Correction:
    """A network of the described architecture, with weights that mean nothing yet.

    Raises:
        KeyError: for a kind that is not known.
    """
    options = {key: value for key, value in description.items() if key != "kind"}
    return KINDS[description["kind"]](**options, rngs=nnx.Rngs(params=0))


def weights_in(correction: Correction) -> int:
    """Weights that are trained."""
    state = nnx.to_pure_dict(nnx.state(correction, nnx.Param))
    return sum(int(np.size(leaf)) for leaf in jax.tree.leaves(state))


def _products(x: Float[Array, "in point column"]) -> Float[Array, "in point column"]:
    a, b, c = jnp.split(x, 3, axis=0)
    return jnp.concatenate([a, a * b, a * b * c], axis=0)
