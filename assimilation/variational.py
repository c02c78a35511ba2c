"""The cost of 4D-Var over one window, strong or weak, for independent columns."""

from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from assimilation.control import ControlVector, moved, repeated_over
from assimilation.forced import PREFIX, forced
from assimilation.observations import Observations
from assimilation.operators import Context, Series, operator_of
from assimilation.trajectory import trajectory
from hybrid_land.interface import ForcingSeries, Model, Parameters, State


@dataclass(frozen=True)
class Problem:
    """4D-Var over one window, for any number of columns.

        J(v) = Jb + Jq + Jbias + Jo = v . v / 2 + sum_i [(y_i - H_i(x(v)) - b(v)) / sigma_i]^2 / 2

    v is the control vector whitened by the square root of its prior covariance, so that its prior
    is a standard normal: Jb, Jq and Jbias are the parts of v . v / 2 that belong to the state and
    parameters at the window's start (B = U U^T), to the model error (Q) and to the observations'
    bias. Bounded variables stay in bounds by a bijection that is the identity away from them.
    Strong constraint: Courtier et al. (1994); weak, with a model error constant over sub-windows:
    Tremolet (2006); bias: Dee (2005).

    Attributes:
        model: anything with the `step` interface.
        parameters: the background's parameters, leaves `[column]`.
        background: the background's state at the window's start, leaves `[column]`.
        forcing: leaves `[record, column]`.
        observations: leaves `[record, column]`.
        root: U of each column, `[control, whitened, column]`: square, or an ensemble's
            perturbations over the root of their number less one.
        control: what the control vector holds.
    """

    model: Model
    parameters: Parameters
    background: State
    forcing: ForcingSeries
    observations: Observations
    root: Float[Array, "control whitened column"]
    control: ControlVector

    def increments(self, v: Float[Array, "whitened column"]) -> dict[str, Array]:
        """U v by term, in the units of the control vector."""
        return self.control.apart(jnp.einsum("ijc,jc->ic", self.root, v))

    def start(self, v: Float[Array, "whitened column"]) -> tuple[Parameters, State]:
        """Parameters and initial state for a whitened control vector."""
        step = self.increments(v)["background"]
        parameters, state = dict(self.parameters), dict(self.background)
        for k, name in enumerate(self.control.start):
            group = state if name in state else parameters
            group[name] = moved(name, group[name], step[k], self.parameters)
        return parameters, state

    def trajectory(self, v: Float[Array, "whitened column"]) -> tuple[Series, State]:
        """The window on the data's records, leaves `[record, column]`, and the state after it."""
        parameters, state = self.start(v)
        model, forcing = self.model, self.forcing
        if self.control.model_error:
            steps = next(iter(forcing.values())).shape[0]
            parts = self.increments(v)["model_error"]
            error = repeated_over(parts, steps, self.control.model_error)
            forcing = forcing | {PREFIX + name: x for name, x in error.items()}
            model = forced(model, self.control.model_error)
        return trajectory(model, parameters, state, forcing)

    def onwards(
        self, v: Float[Array, "whitened column"], series: Series, last: State, keep: Int[Array, ""]
    ) -> Float[Array, "start column"]:
        """The elements of the control vector's start where the next window starts.

        Args:
            v: whitened control vector.
            series: its trajectory.
            last: the state after it.
            keep: records to the next window's start, at most those of the window.
        """
        parameters, _ = self.start(v)
        state = {name: jnp.concatenate([series[name], x[None]])[keep] for name, x in last.items()}
        return jnp.stack([(parameters | state)[name] for name in self.control.start])

    def context(self, v: Float[Array, "whitened column"]) -> Context:
        """What the operators need besides the trajectory."""
        return Context(self.model.time_step, self.start(v)[0], self.forcing)

    def departures(
        self, v: Float[Array, "whitened column"], series: Series
    ) -> Float[Array, "observation column"]:
        """(y - H(x) - b) / sigma of a trajectory, zero where nothing was observed."""
        seen, context = self.observations, self.context(v)
        bias = dict(zip(self.control.bias, self.increments(v)["bias"], strict=True))
        parts = []
        for name, value in seen.values.items():
            lacking = value - operator_of(name)(series, context)
            if name in bias:
                lacking = lacking - bias[name][None]
            parts.append(seen.mask[name] * lacking / seen.errors[name])
        return jnp.concatenate(parts)

    def innovations(
        self, departures: Float[Array, "observation column"]
    ) -> dict[str, Float[Array, "record column"]]:
        """Departures by observable in its own unit, NaN where nothing was observed."""
        seen = self.observations
        rows = jnp.split(departures, len(seen.values))
        return {
            name: jnp.where(seen.mask[name] > 0, row * seen.errors[name], jnp.nan)
            for name, row in zip(seen.values, rows, strict=True)
        }

    def residuals(self, v: Float[Array, "whitened column"]) -> Float[Array, "residual column"]:
        """What J is half the squared norm of: v itself, then the departures."""
        return jnp.concatenate([v, self.departures(v, self.trajectory(v)[0])])

    def terms(
        self,
        v: Float[Array, "whitened column"],
        departures: Float[Array, "observation column"] | None = None,
    ) -> dict[str, Float[Array, " column"]]:
        """The terms of J: `background`, `model_error`, `bias` and `observation`.

        Args:
            v: where.
            departures: there, if they are known already.
        """
        if departures is None:
            departures = self.departures(v, self.trajectory(v)[0])
        if self.root.shape[0] == self.root.shape[1]:
            parts = self.control.apart(0.5 * v**2)
        else:  # an ensemble's weights belong to all of the control vector together
            parts = {"background": 0.5 * v**2}
        terms = {name: x.sum(axis=tuple(range(x.ndim - 1))) for name, x in parts.items()}
        return terms | {"observation": 0.5 * jnp.sum(departures**2, axis=0)}

    def cost(self, v: Float[Array, "whitened column"]) -> Float[Array, " column"]:
        """J."""
        return 0.5 * jnp.sum(self.residuals(v) ** 2, axis=0)

    def values(self, v: Float[Array, "whitened column"]) -> Float[Array, "control column"]:
        """The elements of the control vector in their own units and bounds."""
        parameters, state = self.start(v)
        steps = self.increments(v)
        begin = [(state | parameters)[name][None] for name in self.control.start]
        errors = steps["model_error"].reshape((-1, v.shape[-1]))
        return jnp.concatenate([*begin, errors, steps["bias"]])

    def only(self, columns: Any) -> "Problem":
        """The problem of some columns, by an index or a slice of them."""

        def cut(tree: Any) -> Any:
            return jax.tree.map(lambda leaf: leaf[..., columns], tree)

        return replace(
            self,
            parameters=cut(self.parameters),
            background=cut(self.background),
            forcing=cut(self.forcing),
            observations=cut(self.observations),
            root=self.root[..., columns],
        )
