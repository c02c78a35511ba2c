"""What a filter is to do: its options, checked before anything runs."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import jax
import numpy as np

from assimilation.filters.inflation import Number
from hybrid_land.errors import InputError

METHODS = ("etkf", "enkf", "enkf-n", "denkf")

_NUMBERS = ("inflation", "rtps", "rtpp", "additive", "certainty", "replacement")


@partial(
    jax.tree_util.register_dataclass,
    data_fields=_NUMBERS,
    meta_fields=["method", "every", "variables", "rotate", "adaptive", "lag", "keep_members"],
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
        lag: cycles back to which the smoother takes each analysis; 0 for none.
        keep_members: whether the run keeps each cycle's analysed members.
        inflation: factor of analysed perturbations, a number or one for each column.
        rtps: relaxation to prior spread, 0 to 1.
        rtpp: relaxation to prior perturbations, 0 to 1.
        additive: deviation of the noise added to a forecast in a cycle, by variable.
        certainty: of EnKF-N's hyperprior, see `analyses.enkf_n`.
        replacement: noise of a replaced member, as a part of the sound ones' spread.
    """

    method: str = "etkf"
    every: int = 1
    variables: tuple[str, ...] = ()
    rotate: bool = False
    adaptive: bool = False
    lag: int = 0
    keep_members: bool = False
    inflation: Number = 1.0
    rtps: Number | None = None
    rtpp: Number | None = None
    additive: Mapping[str, Number] | None = None
    certainty: Number = 1.0
    replacement: Number = 0.1


def check(scheme: Scheme) -> None:
    """Raise `InputError` for an option that cannot be."""
    if scheme.method not in METHODS:
        raise InputError(
            f"method is {scheme.method!r}, expected one of {', '.join(METHODS)}; choose one"
        )
    for name, least in (("every", 1), ("lag", 0)):
        if getattr(scheme, name) < least:
            raise InputError(
                f"{name} is {getattr(scheme, name)}, expected {least} or more; correct it"
            )
    _check_number("inflation", scheme.inflation, above=0.0)
    _check_number("certainty", scheme.certainty, above=0.0)
    _check_number("replacement", scheme.replacement, least=0.0)
    for name in ("rtps", "rtpp"):
        if getattr(scheme, name) is not None:
            _check_number(name, getattr(scheme, name), least=0.0)
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
