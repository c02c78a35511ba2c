"""What an ensemble method's name stands for on land: its options, checked, and its `Scheme`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import sqrt

import xarray as xr
from jaxtyping import Array, Float

from assimilation.control import CONTROL
from assimilation.covariance import background_root
from assimilation.filters import Scheme
from assimilation.filters.forcing_errors import ForcingErrors
from assimilation.filters.localisation import Localisation, in_depth, over_columns
from assimilation.filters.scheme import check
from assimilation.methods import METHODS, Options, check_growth, check_names
from hybrid_land.columns import time_step_of
from hybrid_land.errors import InputError
from hybrid_land.interface import Model, Parameters
from hybrid_land.variables import DAY

# By name: the analysis, the cycle's length in days (none: a step of the model) and the lag in days.
_KINDS: dict[str, tuple[str, float | None, float]] = {
    "enkf": ("enkf", None, 0.0),
    "etkf": ("etkf", None, 0.0),
    "enkf-n": ("enkf-n", None, 0.0),
    "denkf": ("denkf", None, 0.0),
    "letkf": ("letkf", None, 0.0),
    "enks": ("etkf", None, 20.0),
    "ienks": ("ienks", 1.0, 5.0),
    "pf": ("pf", None, 0.0),
}
FILTERS = tuple(_KINDS)
# m3 m-3: the emulator's error after 20 days with the right rain, over their root, at places
# withheld from training (`python benchmarks/filters_twin.py --growth`).
OWN_GROWTH = {"swvl1": 0.0017, "swvl2": 0.0009, "swvl3": 0.0006, "swvl4": 0.0001}
SMOOTHERS = ("enks", "ienks")


@dataclass(frozen=True)
class FilterOptions:
    """Choices of an ensemble method that have a default.

    Attributes:
        control: what the analysis corrects: prognostic variables, and `theta_cap`.
        background_error: standard deviations of the first guess by name, in place of
            `covariance.DEVIATION`.
        root: U of the control variables, from a function of `covariance`; in place of the above.
        members: of the ensemble.
        cycle_days: from an analysis to the next; a step of the model if not given, but a day for
            `ienks`.
        lag_days: of `enks` and `ienks`, how far back an observation corrects; 20 and 5 if not
            given.
        inflation: factor of analysed perturbations.
        relaxation: to the prior spread (Whitaker and Hamill 2012), 0 to 1.
        localisation_km: of `letkf`, the distance over the ground at which an observation counts
            for nothing; a column sees its own alone if not given.
        localisation_depth_m: of `letkf`, the same in depth, between the middles of layers; none if
            not given.
        forcing: errors of the forcing; each member has its own.
        growth: standard deviations of what is added in a day to a member's prognostic variables
            for the model's own error, as a random walk; `ienks` takes the model as perfect.
        seed: of everything random.
    """

    control: tuple[str, ...] = CONTROL
    background_error: Mapping[str, float] = field(default_factory=dict)
    root: Float[Array, "control control"] | None = None
    members: int = 40
    cycle_days: float | None = None
    lag_days: float | None = None
    inflation: float = 1.0
    relaxation: float = 0.0
    localisation_km: float | None = None
    localisation_depth_m: float | None = None
    forcing: ForcingErrors = field(default_factory=lambda: ForcingErrors(precipitation=0.3))
    growth: Mapping[str, float] = field(default_factory=lambda: OWN_GROWTH)
    seed: int = 0


def options_of(method: str, options: Options | FilterOptions | None) -> Options | FilterOptions:
    """A method's own kind of options.

    Raises:
        InputError: for an unknown method, or options of the other kind.
    """
    if method not in (*METHODS, *FILTERS):
        known = ", ".join((*METHODS, *FILTERS))
        raise InputError(f"method {method!r} is not known, expected {known}; use that")
    wanted = FilterOptions if method in FILTERS else Options
    if options is None:
        return wanted()
    if not isinstance(options, wanted):
        raise InputError(
            f"{method} with {type(options).__name__}, expected {wanted.__name__}; give those"
        )
    return options


def first_root(options: FilterOptions) -> Float[Array, "control control"]:
    """U of the first guess' error."""
    if options.root is not None:
        return options.root
    return background_root(options.control, deviation=options.background_error)


def filter_scheme(
    method: str,
    options: FilterOptions,
    model: Model,
    parameters: Parameters,
    data: xr.Dataset,
    observed: tuple[str, ...],
) -> Scheme:
    """Check a method and its options against a model and its data, and put them together.

    Raises:
        InputError: for an unknown control variable or one named twice, one member, a number out of
            range, a localisation that is missing, not of the method, or reaches no column or too
            many.
    """
    kind, own_cycle, own_lag = _KINDS[method]
    check_names(options.control, model, parameters)
    if options.members < 2:
        raise InputError(
            f"the ensemble has {options.members} member, expected at least 2; draw more members"
        )
    if not 0.0 <= options.relaxation <= 1.0:
        raise InputError(
            f"relaxation is {options.relaxation:g}, expected a number from 0 to 1; correct it"
        )
    options.forcing.check()
    check_growth(options.growth, model, own=OWN_GROWTH)
    if options.seed < 0:
        raise InputError(f"seed is {options.seed}, expected zero or more; correct it")
    step = time_step_of(data)
    every = _cycle_steps(options.cycle_days, own_cycle, step, data)
    if options.lag_days is not None and method not in SMOOTHERS:
        raise InputError(
            f"{method} with a lag of {options.lag_days:g} days, expected one with "
            f"{' or '.join(SMOOTHERS)} only; leave it out or choose a smoother"
        )
    lag_days = own_lag if options.lag_days is None else options.lag_days
    lag = round(min(lag_days * DAY / step / every, data.sizes["time"])) if lag_days > 0 else 0
    if method in SMOOTHERS and lag < 1:
        raise InputError(
            f"lag of {lag_days:g} days, expected at least a cycle of {every * step / DAY:g} days; "
            "lengthen it"
        )
    growth = {n: x for n, x in options.growth.items() if x > 0 and n in options.control}
    noise = {name: rate * sqrt(every * step / DAY) for name, rate in growth.items()}
    scheme = Scheme(
        method=kind,
        every=every,
        variables=options.control,
        lag=lag,
        inflation=options.inflation,
        rtps=options.relaxation if options.relaxation > 0 else None,
        additive=noise if noise and method != "ienks" else None,
        localisation=_localisation(method, options, data, observed),
    )
    check(scheme)
    return scheme


def _cycle_steps(cycle_days: float | None, own: float | None, step: float, data: xr.Dataset) -> int:
    days = own if cycle_days is None else cycle_days
    if days is None:
        return 1
    records = days * DAY / step
    if not 0.5 < records < data.sizes["time"] + 0.5:
        raise InputError(
            f"cycle of {days:g} days, expected from a step of {step / DAY:g} days to the data's "
            f"{data.sizes['time'] * step / DAY:g} days; correct it"
        )
    return round(records)


def _localisation(
    method: str, options: FilterOptions, data: xr.Dataset, observed: tuple[str, ...]
) -> Localisation | None:
    radius, depth = options.localisation_km, options.localisation_depth_m
    if method != "letkf":
        for scale, unit in ((radius, "km"), (depth, "m of depth")):
            if scale is not None:
                raise InputError(
                    f"{method} with a localisation of {scale:g} {unit}, expected one with letkf "
                    "only; leave it out or choose letkf"
                )
        return None
    if radius is None and depth is None:
        raise InputError(
            "letkf without a localisation, expected the distance in km, or m of depth, at which an "
            "observation counts for nothing; give it, or filter each column by itself with etkf"
        )
    within = in_depth(options.control, observed, scale=depth)
    if radius is None:
        return within
    if not {"lat", "lon"} <= set(data.variables):
        raise InputError("letkf on data without lat and lon, expected both; give them or use etkf")
    return over_columns(within, data["lat"].to_numpy(), data["lon"].to_numpy(), radius=radius)
