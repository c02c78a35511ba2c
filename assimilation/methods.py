"""What a method's name stands for: the control vector, its prior and the minimiser."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import jax.numpy as jnp
from jaxtyping import Array, Float

from assimilation.control import CONTROL, ControlVector, block_root
from assimilation.covariance import background_root
from assimilation.minimise import MINIMISERS
from assimilation.operators import OPERATORS
from hybrid_land.errors import InputError
from hybrid_land.interface import Model, Parameters

METHODS = ("4dvar", "weak-4dvar", "4denvar", "hybrid-gain", "sekf")
# Of soil water, m3 m-3 a day: what the emulator's error grows by in its first days at the surface
# and less below.
MODEL_ERROR = {"swvl1": 0.004, "swvl2": 0.002, "swvl3": 0.0005, "swvl4": 0.0002}
# m3 m-3 in a day: what the emulator, with rain wrong by 30%, adds in 20 days, over their root, at
# places withheld from training.
GROWTH = {"swvl1": 0.0032, "swvl2": 0.0020, "swvl3": 0.0009, "swvl4": 0.0002}
_SEKF_PERTURBATION = 0.15  # prior standard deviations: about 0.01 m3 m-3, as ECMWF's


@dataclass(frozen=True)
class Options:
    """Choices of a variational analysis that have a default.

    Attributes:
        control: prognostic variables at the window's start, and `theta_cap`.
        background_error: standard deviations by name in place of `covariance.DEVIATION`.
        root: U of the control variables, from a function of `covariance`; in place of the above.
        model_error: standard deviations in the variable's unit a day, for `weak-4dvar`.
        parts: sub-windows with a model error of their own, for `weak-4dvar`.
        bias: standard deviations of the bias of observables, in their unit; none by default.
        minimiser: one of `minimise.MINIMISERS`.
        max_iterations: of the minimiser.
        members: of the ensemble of `4denvar` and `hybrid-gain`.
        ensemble_weight: of the ensemble's covariance against the static one, or of its analysis
            for `hybrid-gain`; below 1.
        inflation: of the ensemble's spread from window to window.
        seed: of the ensemble.
        propagate: whether a window's background error is the last one's analysis error, carried
            along by the tangent model; the same B in every window if not.
        growth: standard deviations by which the error of the model moves prognostic variables in a
            day, as a random walk; strong methods count it in the error they state.
    """

    control: tuple[str, ...] = CONTROL
    background_error: Mapping[str, float] = field(default_factory=dict)
    root: Float[Array, "control control"] | None = None
    model_error: Mapping[str, float] = field(default_factory=lambda: MODEL_ERROR)
    parts: int = 3
    bias: Mapping[str, float] = field(default_factory=dict)
    minimiser: str = "levenberg-marquardt"
    max_iterations: int = 40
    members: int = 12
    ensemble_weight: float = 0.5
    inflation: float = 1.05
    seed: int = 0
    propagate: bool = False
    growth: Mapping[str, float] = field(default_factory=lambda: GROWTH)


@dataclass(frozen=True)
class Scheme:
    """A method as the analysis of a window takes it.

    Attributes:
        control: what the control vector holds.
        root: U of its static prior, `[control, control]`.
        minimiser: one of `minimise.MINIMISERS`.
        max_iterations: of the minimiser.
        amplitude: of the runs of the minimiser `secant`.
        members: of an ensemble that goes along, none for 0.
        hybrid_gain: whether the ensemble's analysis comes first and that of `root` from there.
        growth: standard deviations of the model's error in a day that is not estimated.
        propagate: whether U of the elements at the window's start goes along.
    """

    control: ControlVector
    root: Float[Array, "control control"]
    minimiser: str
    max_iterations: int
    amplitude: float = 0.1
    members: int = 0
    hybrid_gain: bool = False
    growth: Mapping[str, float] = field(default_factory=dict)
    propagate: bool = False


def scheme_of(method: str, options: Options, model: Model, parameters: Parameters) -> Scheme:
    """Check a method and its options against a model, and put them together.

    Raises:
        InputError: for an unknown method, minimiser, control variable or observable, one named
            twice, a standard deviation that is not positive, or a number out of range.
    """
    if method not in METHODS:
        raise InputError(f"method {method!r} is not known, expected {', '.join(METHODS)}; use that")
    if options.minimiser not in MINIMISERS:
        raise InputError(
            f"minimiser {options.minimiser!r} is not known, expected {', '.join(MINIMISERS)}; use "
            "one of them"
        )
    check_names(options.control, model, parameters)
    weak = method == "weak-4dvar"
    errors = {n: x for n, x in options.model_error.items() if n in model.prognostic} if weak else {}
    for kind, given in (("model error", errors), ("bias", options.bias)):
        for name, value in given.items():
            if not value > 0:
                raise InputError(
                    f"{kind}: standard deviation of {name} is {value:g}, expected a positive "
                    "number; correct it"
                )
    for name in options.bias:
        if name not in OPERATORS:
            raise InputError(f"bias of {name!r}: not an observable; name one that is observed")
    if weak and (options.parts < 1 or not errors):
        raise InputError(
            f"weak-4dvar with {options.parts} sub-windows and model error of "
            f"{', '.join(errors) or 'nothing'}, expected at least one of each; add them"
        )
    if options.members < 2 or not 0.0 < options.ensemble_weight < 1.0:
        raise InputError(
            f"{options.members} members with weight {options.ensemble_weight:g}, expected at least "
            "2 and a weight between 0 and 1; correct it"
        )
    if options.propagate and method not in ("4dvar", "weak-4dvar"):
        raise InputError(
            f"{method} with a propagated background error, expected 4dvar or weak-4dvar; use one "
            "of them or leave it out"
        )
    check_growth(options.growth, model, own=GROWTH)
    if options.bias and method in ("4denvar", "hybrid-gain"):
        raise InputError(
            f"{method} with a bias of {', '.join(options.bias)}, expected none: its ensemble holds "
            "the state and parameters only; use 4dvar or weak-4dvar"
        )
    control = ControlVector(
        start=options.control,
        model_error=tuple(errors),
        parts=options.parts if weak else 1,
        bias=tuple(options.bias),
    )
    background = options.root
    if background is None:
        background = background_root(options.control, deviation=options.background_error)
    blocks = [background]
    if errors:
        each = background_root(tuple(errors), deviation=errors)
        blocks += [each] * options.parts
    if options.bias:
        blocks.append(jnp.diag(jnp.asarray(list(options.bias.values()))))
    root = block_root(blocks)
    growth = {n: x for n, x in options.growth.items() if x > 0 and n in model.prognostic}
    growth = {} if weak else growth
    if method == "sekf":
        amplitude = _SEKF_PERTURBATION
        return Scheme(control, root, "secant", 1, amplitude=amplitude, growth=growth)
    if method == "4denvar":
        members = options.members
        return Scheme(control, root, "secant", 2, amplitude=1.0, members=members, growth=growth)
    own = Scheme(control, root, options.minimiser, options.max_iterations, growth=growth)
    if method == "hybrid-gain":
        return replace(own, members=options.members, hybrid_gain=True)
    return replace(own, propagate=options.propagate)


def with_start(
    root: Float[Array, "control control"], start: Float[Array, "start start column"]
) -> Float[Array, "control control column"]:
    """U of all of the control vector, with that of the elements at the start in each column."""
    size, columns = start.shape[0], start.shape[-1]
    wide = jnp.repeat(root[..., None], columns, axis=2)
    return wide.at[:size, :size].set(start)


def check_growth(growth: Mapping[str, float], model: Model, *, own: Mapping[str, float]) -> None:
    """Raise `InputError` for the error of no prognostic variable, or a negative one.

    Args:
        growth: by name.
        model: that is in error.
        own: the default, which may name what a model does not have.
    """
    for name, value in growth.items():
        if name not in model.prognostic and growth is not own:
            raise InputError(
                f"growth of the error of {name!r}, which is no prognostic variable; expected one "
                f"such as {model.prognostic[0]}; correct it"
            )
        if not value >= 0:
            raise InputError(
                f"growth of the error of {name} is {value:g}, expected zero or more; correct it"
            )


def check_names(control: Sequence[str], model: Model, parameters: Parameters) -> None:
    """Raise `InputError` for a control variable that is not known or is named twice."""
    for place, name in enumerate(control):
        if name in control[:place]:
            raise InputError(
                f"control variable {name!r} is named twice, expected once; remove one of them"
            )
        if name not in model.prognostic and name not in parameters:
            raise InputError(
                f"control variable {name!r} is not known, expected a prognostic variable or a "
                f"parameter such as {', '.join(CONTROL)} or theta_cap; correct it"
            )
