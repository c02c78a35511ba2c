"""What a sensitivity is asked of: a model, its inputs, and the numbers that answer."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

import numpy as np
import xarray as xr
from jaxtyping import Array, Float

from hybrid_land.columns import (
    ALBEDO,
    BESIDE,
    KNOWN,
    SOLAR,
    forcing_from,
    parameters_from,
    require_model_fits,
    state_from,
    time_step_of,
)
from hybrid_land.errors import InputError
from hybrid_land.interface import ForcingSeries, Model, Parameters, State
from hybrid_land.rollout import rollout
from hybrid_land.variables import SOIL_WATER, VARIABLES

TARGETS = (*SOIL_WATER, "slhf", "e", "sro", "ssro")
CLASSES = ("tvh", "tvl", "sotype", "ctype")  # numbers that name a class
At = Literal["mean", "end"]
_YEAR = 365.2422 * 86400.0


@dataclass(frozen=True)
class Problem:
    """A rollout and what is asked of it.

    Attributes:
        model: anything with the `step` interface.
        parameters: all parameters of the columns, leaves `[column]`.
        state: the first state, leaves `[column]`.
        forcing: leaves `[time, column]`.
        varied: the parameters in question.
        targets: prognostic variables or diagnostics.
        at: the mean over the run (amounts: per year), or the value after the last step (fluxes:
            over it).
    """

    model: Model
    parameters: Parameters
    state: State
    forcing: ForcingSeries
    varied: tuple[str, ...]
    targets: tuple[str, ...]
    at: At = "mean"

    def answer(
        self,
        parameters: Parameters,
        state: State,
        forcing: ForcingSeries,
        *,
        checkpoint_segments: int | None = None,
    ) -> dict[str, Float[Array, " column"]]:
        """The targets as a function of all that goes into the rollout."""
        states, diagnostics = rollout(
            self.model, parameters, state, forcing, checkpoint_segments=checkpoint_segments
        )
        series = states | diagnostics
        if self.at == "end":
            return {name: series[name][-1] for name in self.targets}
        return {name: self.factor(name) * series[name].mean(axis=0) for name in self.targets}

    def factor(self, name: str) -> float:
        """What a mean over steps is multiplied with: amounts are given per year."""
        kind = VARIABLES[name].kind if name in VARIABLES else "mean"
        return _YEAR / self.model.time_step if kind == "amount" and self.at == "mean" else 1.0

    @property
    def columns(self) -> int:
        """Number of columns."""
        return next(iter(self.state.values())).shape[0]

    @property
    def steps(self) -> int:
        """Number of steps."""
        return next(iter(self.forcing.values())).shape[0]

    @property
    def weather(self) -> tuple[str, ...]:
        """Forcing that can be varied: all but what follows from time and place."""
        return tuple(name for name in self.forcing if name not in (*SOLAR, ALBEDO, *BESIDE, *KNOWN))


def problem_of(
    model: Model,
    data: xr.Dataset,
    *,
    parameters: Sequence[str],
    targets: Sequence[str] | None = None,
    at: str = "mean",
) -> Problem:
    """The problem that a Dataset poses.

    Args:
        model: anything with the `step` interface.
        data: forcing, first state and parameters with dims `(time, column)`.
        parameters: names without `clim_`.
        targets: prognostic variables or diagnostics of the model; by default those of `TARGETS`
            that the model has.
        at: `mean` or `end`.

    Raises:
        InputError: for a parameter that is not in the data or names a class, a target that the
            model has not, or data that do not fit the model.
    """
    require_model_fits(model, data)
    fixed = parameters_from(data)
    for name in parameters:
        if name not in fixed or name in CLASSES:
            known = ", ".join(key for key in fixed if key not in CLASSES)
            raise InputError(
                f"parameter {name!r} cannot be varied, expected one of {known}; correct "
                "--parameters"
            )
    has = (*model.prognostic, *model.diagnostic)
    for name in targets or ():
        if name not in has:
            raise InputError(
                f"target {name!r} is not of the model, expected one of {', '.join(has)}; correct "
                "--targets"
            )
    if at not in get_args(At):
        raise InputError(f"'{at}' is not a time of the target, expected mean or end; correct --at")
    return Problem(
        model=model,
        parameters=fixed,
        state=state_from(data, variables=model.prognostic),
        forcing=forcing_from(data),
        varied=tuple(parameters),
        targets=tuple(targets or (name for name in TARGETS if name in has)),
        at=cast(At, at),
    )


def empty_result(data: xr.Dataset, *, title: str, **coordinates: Any) -> xr.Dataset:
    """A Dataset with the columns of `data` and nothing in it yet."""
    result = xr.Dataset(coords=coordinates, attrs={"title": title, "Conventions": "CF-1.8"})
    for name in ("column", "lat", "lon", "climate_index"):
        if name in data.coords or name in data:
            given = ("column", data[name].to_numpy(), data[name].attrs)
            result = result.assign_coords({name: given})
    result.attrs["time_step"] = time_step_of(data)
    return result


def words_of(name: str, *, at: str = "mean") -> tuple[str, str]:
    """Units and long name of a target."""
    row = VARIABLES[name]
    long_name = row.long_name.replace(" over the step", "")
    if at == "end":
        return row.units, f"{row.long_name} at the end"
    units = f"{row.units} a-1" if row.kind == "amount" else row.units
    return units, f"mean over time of {long_name}"


def per(units: str, other: str) -> str:
    """The units of a derivative: `units` divided by `other`, such as `K` by `kg m-2`: `K kg-1 m2`.

    Nothing is cancelled, so that a reader still sees both.
    """
    words = [] if units == "1" else units.split()
    for word in [] if other == "1" else other.split():
        found = re.fullmatch(r"([A-Za-z_]+)(-?\d+)?", word)
        if found is None:
            raise ValueError(f"units {other!r}, expected words such as m-3")
        power = -int(found[2] or 1)
        words.append(found[1] if power == 1 else f"{found[1]}{power}")
    return " ".join(words) or "1"


def spread_over(values: np.ndarray, *, axis: int = -1) -> tuple[np.ndarray, np.ndarray]:
    """The 10 and 90% quantiles over columns, columns without a value left out."""
    with np.errstate(invalid="ignore"):
        low, high = np.nanquantile(values, [0.1, 0.9], axis=axis)
    return low, high
