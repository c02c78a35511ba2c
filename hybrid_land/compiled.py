"""Functions of a model, compiled once however often they are called.

A function that is compiled where it is defined with its model inside (a closure) is traced and
compiled anew by each caller. Here the model is an argument, and JAX's own cache finds the program
again by the function, the structure of its arguments and its settings.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial, wraps
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental.xla_metadata import set_xla_metadata

from hybrid_land.interface import Model


def is_pytree(model: Model) -> bool:
    """Whether a model is made of arrays that can be arguments; else it is part of the program."""
    return all(hasattr(leaf, "dtype") for leaf in jax.tree.leaves(model))


def run_compiled(function: Callable[..., Any], model: Model, *given: Any, **settings: Any) -> Any:
    """`function(model, *given, **settings)`, compiled.

    Args:
        function: defined at the top of a module, so that it is the same at each call.
        model: anything with the `step` interface.
        given: pytrees of arrays.
        settings: hashable; another value is another program.
    """
    named = tuple(sorted(settings.items()))
    if is_pytree(model):
        return _with_argument(function, named, model, *given)
    return _with_constant(function, named, model, *given)


@partial(jax.jit, static_argnums=(0, 1))
def _with_argument(function: Any, settings: Any, model: Model, *given: Any) -> Any:
    return function(model, *given, **dict(settings))


@partial(jax.jit, static_argnums=(0, 1, 2))
def _with_constant(function: Any, settings: Any, model: Model, *given: Any) -> Any:
    return function(model, *given, **dict(settings))


_BORDERS: ContextVar[bool] = ContextVar("borders", default=True)
_FEW = 32  # columns: with fewer, starting a program's many small parts is what takes the time


@contextmanager
def without_borders() -> Iterator[None]:
    """Pieces traced in here (`apart`) are joined to the program around them.

    For a linearised step: each of its values is kept already and none is computed again.
    """
    token = _BORDERS.set(False)
    try:
        yield
    finally:
        _BORDERS.reset(token)


def apart(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` as a piece of the compiled program, across whose border XLA fuses nothing.

    On CPU, XLA draws a chain of cheap operations into each of its consumers and computes a value
    again for each slice of it that is read, one number at a time: before its parts were apart,
    half of a step's derivative went there. What enters and leaves a piece is an array in memory.
    There is no border on other devices, nor with fewer than 32 columns.

    Args:
        function: of pytrees of arrays by position, whose last axis is the column, and of hashable
            settings by keyword. At the top of a module it is traced once for each shape and
            setting however often it is called.
    """

    @partial(jax.jit, static_argnums=0)
    def inside(settings: tuple[tuple[str, Any], ...], *given: Any) -> Any:
        with set_xla_metadata(inlineable="true"):
            return function(*given, **dict(settings))

    @wraps(function)
    def called(*given: Any, **settings: Any) -> Any:
        widths = [jnp.shape(leaf)[-1] for leaf in jax.tree.leaves(given) if jnp.ndim(leaf)]
        few = max(widths, default=0) < _FEW
        if few or not _BORDERS.get() or jax.default_backend() != "cpu":
            return function(*given, **settings)
        with set_xla_metadata(inlineable="false"):
            return inside(tuple(sorted(settings.items())), *given)

    return called
