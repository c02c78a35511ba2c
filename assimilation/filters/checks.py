"""What a filter refuses before it runs, and what it says of a run that was lost."""

from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from assimilation.filters.scheme import Scheme
from assimilation.observations import Observations
from hybrid_land.errors import InputError
from hybrid_land.interface import Model

_ROUNDINGS = 4.0  # of a mean: a spread below so many is none


def check_inputs(
    model: Model,
    ensemble: Mapping[str, Array],
    forcing: Mapping[str, Array],
    observations: Observations,
    scheme: Scheme,
) -> int:
    """Columns, or `InputError` for what a filter cannot work with."""
    absent = [name for name in model.prognostic if name not in ensemble]
    if absent:
        raise InputError(
            f"the ensemble lacks {', '.join(absent)}, expected all that the model predicts; add it"
        )
    variables = scheme.variables or tuple(model.prognostic)
    unknown = [name for name in variables if name not in ensemble]
    if unknown:
        raise InputError(
            f"the analysis is to correct {', '.join(unknown)}, expected variables of the ensemble "
            f"({', '.join(ensemble)}); name some of them"
        )
    local = scheme.localisation
    if local is not None:
        pairs = (
            ("variables analysed", tuple(variables), local.variables, False),
            ("observables", tuple(observations.values), local.observables, True),
        )
        for what, found, expected, any_order in pairs:
            if found != expected and not (any_order and sorted(found) == sorted(expected)):
                raise InputError(
                    f"the {what} are {', '.join(found[:6])}, expected those of the localisation "
                    f"({', '.join(expected[:6])}); make the localisation with the same names"
                )
    strange = [name for name in scheme.additive or {} if name not in variables]
    if strange:
        raise InputError(
            f"there is additive noise of {', '.join(strange)}, expected it of variables that the "
            f"analysis corrects ({', '.join(variables)}); name some of them"
        )
    if scheme.rotate and set(variables) != set(ensemble):
        raise InputError(
            f"rotation with {len(variables)} of {len(ensemble)} variables analysed would tear "
            "members apart, expected all; analyse all variables or leave rotation out"
        )
    members, columns = next(iter(ensemble.values())).shape
    if members < 2:
        raise InputError(
            f"the ensemble has {members} member, expected at least 2; draw more members"
        )
    collapsed = [n for n in variables if float(np.ptp(np.asarray(ensemble[n]), axis=0).max()) == 0]
    if len(collapsed) == len(variables):
        raise InputError(
            f"all {members} members are the same in {', '.join(collapsed[:3])}, expected a spread; "
            "perturb the first ensemble"
        )
    steps = next(iter(forcing.values())).shape[0]
    if steps < scheme.every:
        raise InputError(
            f"the forcing has {steps} records, expected at least one cycle of {scheme.every}; give "
            "more or a shorter cycle"
        )
    for name, values in observations.values.items():
        if values.shape[1] != columns or values.shape[0] not in (steps, steps + 1):
            raise InputError(
                f"observations of {name} have {values.shape[0]} records of {values.shape[1]} "
                f"columns, expected {steps} of {columns} as in the forcing; match them"
            )
        errors, mask = np.asarray(observations.errors[name]), np.asarray(observations.mask[name])
        bad = (mask > 0) & ~(np.isfinite(errors) & (errors > 0))
        if bad.any():
            i, j = np.argwhere(bad)[0]
            raise InputError(
                f"the observation error of {name} is {errors[i, j]:g} at record {i}, column {j}, "
                "expected a positive standard deviation; give one or mask the observation"
            )
        lost = (mask > 0) & ~np.isfinite(np.asarray(values))
        if lost.any():
            i, j = np.argwhere(lost)[0]
            raise InputError(
                f"the observation of {name} at record {i}, column {j} is not finite, expected a "
                "number; mask it"
            )
    return columns


def check_outcome(found: Mapping[str, Array], analysed: int) -> None:
    """Raise `InputError` if a column lost all members, or a column that was observed all spread.

    An ensemble is a point if each variable analysed has a spread within the rounding of its mean;
    one of which nothing is there, such as snow in summer, may have none.

    Args:
        found: what the cycles gave.
        analysed: variables analysed, so many from the first.
    """
    lost = np.asarray(found["lost"])
    if lost.any():
        first = int(np.argmax(lost))
        column = int(np.argmax(np.asarray(found["failures"])[first]))
        raise InputError(
            f"all members failed (not finite) in cycle {first}, column {column}, expected at least "
            "one that runs; inflate less, correct the first ensemble or the model"
        )
    mean, spread = (found[f"forecast_{kind}"][:, :analysed] for kind in ("mean", "spread"))
    rounding = _ROUNDINGS * jnp.finfo(mean.dtype).eps * jnp.abs(mean)
    seen = jnp.any(jnp.isfinite(found["innovation"]), axis=1)
    point = np.asarray(seen & jnp.all(spread < rounding, axis=1))
    if point.any():
        first, column = np.argwhere(point)[0]
        raise InputError(
            f"the ensemble of column {column} collapsed to a point before the analysis of cycle "
            f"{first}, expected a spread; inflate, give the model an error of its own or more "
            "members"
        )
