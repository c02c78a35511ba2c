"""What a filter is to do: its options, checked before anything runs."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import jax
import numpy as np

from assimilation.filters.inflation import Number
from assimilation.filters.localisation import Localisation
from hybrid_land.errors import InputError

METHODS = ("etkf", "enkf", "enkf-n", "denkf", "letkf", "ienks", "pf")

_NUMBERS = (
    "inflation",
    "rtps",
    "rtpp",
    "additive",
    "certainty",
    "regularisation",
    "replacement",
    "localisation",
)
_CHOICES = (
    "method",
    "every",
    "variables",
    "rotate",
    "adaptive",
    "lag",
    "iterations",
    "keep_members",
    "drawn",
)


@partial(
    jax.tree_util.register_dataclass,
    data_fields=_NUMBERS,
    meta_fields=_CHOICES,
)
@dataclass(frozen=True)
class Scheme:
    """Options of a filter. Numbers may change without a new compilation.

    Attributes:
        method: one of `METHODS`.
        every: steps of the model in a cycle.
        variables: what the analysis corrects, parameters of the columns among them if the
            ensemble holds them; all that the model predicts if empty.
        rotate: whether analysed perturbations are turned at random (`analyses.rotation`); only
            where the analysis corrects all of the state, since it exchanges members.
        adaptive: whether the forecast's spread is inflated as innovations ask for
            (`inflation.adapted`).
        lag: cycles back to which the smoother takes each analysis, 0 for none (EnKS); of `ienks`
            the window's length.
        iterations: of `ienks`.
        keep_members: whether the run keeps each cycle's analysed members.
        inflation: factor of analysed perturbations, a number or one for each column.
        rtps: relaxation to prior spread, 0 to 1.
        rtpp: relaxation to prior perturbations, 0 to 1.
        additive: deviation of the noise that members get at a cycle's start, by variable.
        drawn: whether that noise is drawn; else the square root of the covariance has it
            (`inflation.additive_root`), which samples nothing.
        certainty: of EnKF-N's hyperprior, see `analyses.enkf_n`.
        regularisation: of the particle filter, a factor of the best width of its kernels.
        localisation: of `letkf`, from `filters.localisation`.
        replacement: noise of a replaced member, as a part of the sound ones' spread.
    """

    method: str = "etkf"
    every: int = 1
    variables: tuple[str, ...] = ()
    rotate: bool = False
    adaptive: bool = False
    lag: int = 0
    iterations: int = 3
    keep_members: bool = False
    drawn: bool = True
    inflation: Number = 1.0
    rtps: Number | None = None
    rtpp: Number | None = None
    additive: Mapping[str, Number] | None = None
    certainty: Number = 1.0
    regularisation: Number = 1.0
    localisation: Localisation | None = None
    replacement: Number = 0.1

    @property
    def any_root(self) -> bool:
        """Whether any root of the analysis will do, so that the cheapest is taken.

        Members that are turned at random lose what tells one root from another (`ienks` runs
        them in between: mean and covariance are the same there, not what lies beyond). Relaxation
        blends them with those before, and needs the symmetric one.
        """
        return self.rotate and self.rtps is None and self.rtpp is None


def check(scheme: Scheme) -> None:
    """Raise `InputError` for an option that cannot be."""
    if scheme.method not in METHODS:
        raise InputError(
            f"method is {scheme.method!r}, expected one of {', '.join(METHODS)}; choose one"
        )
    least_lag = 1 if scheme.method == "ienks" else 0
    for name, least in (("every", 1), ("lag", least_lag), ("iterations", 1)):
        if getattr(scheme, name) < least:
            raise InputError(
                f"{name} is {getattr(scheme, name)}, expected {least} or more; correct it"
            )
    if (scheme.method == "letkf") != (scheme.localisation is not None):
        raise InputError(
            f"method {scheme.method} has {'a' if scheme.localisation else 'no'} localisation, "
            "expected one with letkf and none without; make one with on_ring, in_depth and "
            "over_columns, or choose another method"
        )
    for name in ("rotate", "adaptive"):
        if scheme.method in ("pf", "letkf") and getattr(scheme, name):
            allowed = scheme.method == "letkf" and name == "rotate"
            if not allowed:
                raise InputError(
                    f"{name} with method {scheme.method}, expected none; leave it out or choose "
                    "another method"
                )
    _check_number("inflation", scheme.inflation, above=0.0)
    _check_number("certainty", scheme.certainty, above=0.0)
    _check_number("regularisation", scheme.regularisation, least=0.0)
    _check_number("replacement", scheme.replacement, least=0.0)
    for name in ("rtps", "rtpp"):
        if getattr(scheme, name) is not None:
            _check_number(name, getattr(scheme, name), least=0.0)
    if scheme.rtpp is not None and np.any(np.asarray(scheme.rtpp) > 1.0):
        raise InputError(f"rtpp is {np.max(scheme.rtpp):g}, expected 0 to 1; correct it")
    for name, deviation in (scheme.additive or {}).items():
        _check_number(f"additive noise of {name}", deviation, least=0.0)


def _check_number(
    name: str, value: Number, *, above: float | None = None, least: float | None = None
) -> None:
    values = np.asarray(value, float)
    bound, words = (above, "above") if above is not None else (least, "not below")
    sound = values > bound if above is not None else values >= bound
    if not (np.all(np.isfinite(values)) and np.all(sound)):
        found = values[~(np.isfinite(values) & sound)].flat[0]
        raise InputError(f"{name} is {found:g}, expected a number {words} {bound:g}; correct it")
