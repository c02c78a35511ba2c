"""A model and its learnt correction: again a model with the `step` interface."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from assimilation.model_error.networks import Correction
from assimilation.runge_kutta import runge_kutta
from hybrid_land.errors import InputError
from hybrid_land.interface import Diagnostics, Forcing, Model, Parameters, State

FORMS = ("resolvent", "tendency", "inside", "parameters")
# How increments enter a state after the step: (parameters, state before them, increments) to the
# state after them and the diagnostics they make. Named, because a saved hybrid says which.
Applied = Callable[[Parameters, State, State], tuple[State, Diagnostics]]


def add(parameters: Parameters, state: State, increments: State) -> tuple[State, Diagnostics]:
    """The increments added, for variables without bounds or budgets."""
    return {
        name: x + increments[name] if name in increments else x for name, x in state.items()
    }, {}


APPLIED: dict[str, tuple[Applied, tuple[str, ...]]] = {"add": (add, ())}


@runtime_checkable
class Differential(Protocol):
    """A model whose step integrates a rate: what a correction of the tendency needs.

    Attributes:
        dt: length of a step in the unit of time of the rate.
    """

    dt: float

    def rates(
        self, parameters: Parameters, x: Float[Array, "variable column"], forcing: Forcing
    ) -> Float[Array, "variable column"]:
        """dx/dt of the prognostic variables, in their order, as one array."""
        ...


@runtime_checkable
class Correctable(Protocol):
    """A model with a network inside, to whose output another's can be added.

    Attributes:
        inputs: names of the network's inputs.
        heads: names of its outputs.
    """

    inputs: tuple[str, ...]
    heads: Mapping[str, float]

    def corrected(
        self,
        parameters: Parameters,
        state: State,
        forcing: Forcing,
        more: Callable[[Array], Array | float],
    ) -> tuple[State, Diagnostics]:
        """The step with `more` of the normalised inputs `[input, column]` added to the outputs."""
        ...


@jax.tree_util.register_dataclass
@dataclass
class Hybrid:
    """A model plus a network that corrects it (Farchi et al. 2021, section 2.3).

    In the resolvent's form, x(k) = M(x(k-1)) + n(x(k-1)): any model, the correction of a step is
    added after it. In the tendency's form, dx/dt = m(x) + n(x), which the classical Runge-Kutta
    method integrates over the model's own step: for a model with `rates`. Inside, the correction
    is added to the output of the model's own network, so that what the model does with it (moves
    water, keeps bounds, closes budgets) holds for the hybrid as well: for a model with
    `corrected`. In the form of parameters, these are multiplied by exp(n(parameters)) before the
    step, so that budgets close, too; nothing keeps them below or above one another. Data fields
    are a pytree; the form is static.

    Attributes:
        base: the model that is corrected.
        correction: the network; called as `correction(parameters, state, forcing)`.
        form: one of `FORMS`.
        applied: how increments enter the state, a name in `APPLIED`; for the resolvent's form.
        time_step: length of a step, s.
        prognostic: names in the state.
        diagnostic: names in the diagnostics: the model's and those that the increments make.
    """

    base: Any
    correction: Any
    form: str = field(metadata={"static": True})
    applied: str = field(metadata={"static": True})
    time_step: float = field(metadata={"static": True})
    prognostic: tuple[str, ...] = field(metadata={"static": True})
    diagnostic: tuple[str, ...] = field(metadata={"static": True})

    @property
    def required(self) -> tuple[str, ...]:
        """Names that a Dataset must have to be run: the model's."""
        return self.base.required

    def step(
        self, parameters: Parameters, state: State, forcing: Forcing
    ) -> tuple[State, Diagnostics]:
        """State after a step. See `hybrid_land.interface.Model`."""
        if self.form == "tendency":
            return self._integrated(parameters, state, forcing), {}
        if self.form == "inside":
            return self.base.corrected(parameters, state, forcing, self.correction.of_rows)
        if self.form == "parameters":
            factors = self.correction(parameters, {}, {})
            given = {name: parameters[name] * jnp.exp(x) for name, x in factors.items()}
            return self.base.step({**parameters, **given}, state, forcing)
        after, diagnostics = self.base.step(parameters, state, forcing)
        increments = self.correction(parameters, state, forcing)
        corrected, own = APPLIED[self.applied][0](parameters, after, increments)
        return corrected, diagnostics | own

    def _integrated(self, parameters: Parameters, state: State, forcing: Forcing) -> State:
        """The Runge-Kutta step, on one array: a ring by name has many small operations."""
        x = jnp.stack([state[name] for name in self.prognostic])

        def rate(y: Array) -> Array:
            return self.base.rates(parameters, y, forcing) + self.correction.of_points(y)

        after = runge_kutta(rate, x, dt=self.base.dt)
        return dict(zip(self.prognostic, after, strict=True))


def make_hybrid(
    base: Model, correction: Correction, *, form: str = "resolvent", applied: str = "add"
) -> Hybrid:
    """A model and a correction, checked.

    Raises:
        InputError: for a form that is not known or that the model cannot have, and a correction
            of variables that the model does not have.
    """
    if form not in FORMS:
        raise InputError(f"form {form!r} of a correction, expected {', '.join(FORMS)}; choose")
    if form == "tendency" and not isinstance(base, Differential):
        raise InputError(
            f"a correction of the tendency needs a model with rates, and {type(base).__name__} "
            "has none; use the form resolvent"
        )
    if form == "tendency" and getattr(correction, "names", ()) != tuple(base.prognostic):
        raise InputError(
            "a correction of the tendency must be of all the model's variables in their order; "
            "use the form resolvent"
        )
    if applied not in APPLIED:
        raise InputError(
            f"increments applied by {applied!r}, expected one of {', '.join(APPLIED)}; choose one"
        )
    corrected = tuple(base.prognostic)
    if form == "inside":
        inside = require_correctable(base)
        if getattr(correction, "inputs", ()) != tuple(inside.inputs):
            raise InputError(
                "a correction inside must have the inputs of the model's network; give those"
            )
        corrected = tuple(inside.heads)
    if form == "parameters":
        corrected = tuple(correction.names)
    strange = [name for name in correction.names if name not in corrected]
    if strange or (form == "inside" and correction.names != corrected):
        raise InputError(
            f"the correction is of {(strange or ['too little'])[0]!r}, expected variables of the "
            f"model ({', '.join(corrected[:5])}, ...); name those"
        )
    return Hybrid(
        base=base,
        correction=correction,
        form=form,
        applied=applied,
        time_step=base.time_step,
        prognostic=tuple(base.prognostic),
        diagnostic=(*base.diagnostic, *APPLIED[applied][1]),
    )


def require_correctable(model: Model) -> Correctable:
    """The model, once it is known that a correction can act inside it.

    Raises:
        InputError: if it has no network inside.
    """
    if isinstance(model, Correctable):
        return model
    raise InputError(
        f"a correction inside needs a model with a network, and {type(model).__name__} has none; "
        "give an emulator"
    )


def trainable(hybrid: Hybrid) -> tuple[Any, Callable[[Any], Hybrid]]:
    """The network's weights, and what makes the hybrid of other ones.

    Args:
        hybrid: a model with a correction.

    Returns:
        The weights as a pytree, and a function from such a pytree to a hybrid.
    """
    definition, weights, rest = nnx.split(hybrid.correction, nnx.Param, ...)

    def rebuilt(new: Any) -> Hybrid:
        return replace(hybrid, correction=nnx.merge(definition, new, rest))

    return nnx.to_pure_dict(weights), lambda pure: rebuilt(_filled(weights, pure))


def as_dtype(hybrid: Hybrid, dtype: Any) -> Hybrid:
    """The hybrid with its network's numbers in another precision."""
    definition, state = nnx.split(hybrid.correction)
    cast = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), nnx.to_pure_dict(state))
    return replace(hybrid, correction=nnx.merge(definition, _filled(state, cast)))


def _filled(state: Any, pure: Any) -> Any:
    copy = jax.tree.map(lambda leaf: leaf, state)
    nnx.replace_by_pure_dict(copy, pure)
    return copy
