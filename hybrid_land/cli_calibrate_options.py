"""Options of `hybrid-land calibrate`: their form, and what they stand for."""

import inspect
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hybrid_land.errors import InputError

if TYPE_CHECKING:
    from calibration.covariance import Errors
    from calibration.experiment import FirstState
    from calibration.priors import Prior
    from hybrid_land.interface import Model


def read_priors(text: str) -> "dict[str, Prior]":
    """`--prior`: `theta_cap=uniform:0.2:0.4,ksat=lognormal:1e-6:0.5`.

    Raises:
        InputError: for what is not of this form, or a prior that is none.
    """
    from calibration.priors import Prior, require_sound

    found = {}
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        name, _, rest = part.partition("=")
        kind, *numbers = rest.split(":")
        try:
            first, second = map(float, numbers)
        except ValueError as error:
            raise InputError(
                f"--prior {part!r}, expected name=kind:number:number such as "
                "theta_cap=uniform:0.2:0.4; correct it"
            ) from error
        if name.strip() in found:
            raise InputError(f"--prior: {name.strip()!r} is named twice, expected once; remove one")
        found[name.strip()] = Prior(kind.strip(), first, second)
        require_sound(name.strip(), found[name.strip()])
    return found


def read_first_state(text: str) -> "FirstState":
    """`--first-state`: `data`, `spun-up`, `spun-up:3` (years), `sampled` or `sampled:0.5`.

    Raises:
        InputError: for anything else.
    """
    from calibration.experiment import FirstState

    kind, _, number = text.partition(":")
    if not number:
        return FirstState(kind)
    try:
        if kind == "spun-up":
            return FirstState("spun-up", years=int(number))
        if kind == "sampled":
            return FirstState("sampled", spread=float(number))
    except ValueError:
        pass
    raise InputError(
        f"--first-state {text!r}, expected data, spun-up:YEARS or sampled:SPREAD; correct it"
    )


def errors_of(
    model: "Model",
    name: str,
    *,
    discrepancy: str,
    factor: float,
    parameter_error: str,
    representativeness: Mapping[str, float],
    ar1: Mapping[str, float],
    ar1_days: float,
) -> "Errors":
    """What observations differ by from the model, beside their own error.

    Args:
        model: that may carry its validation's RMSE.
        name: of the model, beside which its errors by lead and lag may stand.
        discrepancy: `model`, `none`, or standard deviations by observable.
        factor: on the model's own.
        parameter_error: `model`, which goes with a discrepancy of that kind, `none`, or shares of
            the range by parameter.
        representativeness: standard deviations by observable.
        ar1: the same, of errors that are correlated in time.
        ar1_days: their memory.
    """
    from calibration.covariance import Errors
    from hybrid_land.any_model import own_errors
    from hybrid_land.cli_assimilate_options import numbers_of

    if factor != 1.0 and discrepancy != "model":
        raise InputError(
            f"--discrepancy-factor {factor:g} with --discrepancy {discrepancy}, expected it with "
            "the model's own error; leave it out"
        )
    if discrepancy == "model":
        found = own_errors(model, name, factor=factor)
    elif discrepancy == "none":
        found = Errors()
    else:
        found = Errors(model=numbers_of(discrepancy, option="--discrepancy"))
    if parameter_error == "none":
        found = replace(found, parameters={})
    elif parameter_error != "model":
        given = numbers_of(parameter_error, option="--parameter-error")
        found = replace(found, parameters=given)
    return replace(
        found, representativeness=representativeness, correlated=ar1, memory_days=ar1_days
    )


def options_for(
    method: str, text: str, *, restart: Path | None, **flags: int | None
) -> dict[str, Any]:
    """Options of a method: those with flags of their own, and `--options name=value,...`.

    Args:
        method: a name in `calibration.methods.METHODS`.
        text: of `--options`; a value has the type of the option's default.
        restart: folder of a method that can go on from one.
        flags: `chains`, `warmup`, `draws`, nothing where the method's default is to hold.

    Raises:
        InputError: for an unknown method, an option that it does not have, or a value of another
            type.
    """
    from calibration.methods import METHODS

    if method not in METHODS:
        raise InputError(f"method {method!r} is not known, expected {', '.join(METHODS)}; use that")
    known = {
        name: parameter.default
        for name, parameter in inspect.signature(METHODS[method]).parameters.items()
        if parameter.default is not inspect.Parameter.empty and name != "progress"
    }
    settable = [name for name in known if name != "restart" and not _is_long(known[name])]
    found: dict[str, Any] = {}
    for name, value in flags.items():
        if value is not None:
            if name not in known:
                raise InputError(
                    f"--{name} with --method {method}, expected one of its options "
                    f"({', '.join(settable)}); leave it out"
                )
            found[name] = value
    if restart is not None:
        if "restart" not in known:
            raise InputError(
                f"--restart with --method {method}, expected a method that keeps its chains, such "
                "as nuts; leave it out"
            )
        found["restart"] = restart
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        name, _, value = part.partition("=")
        if name not in settable:
            raise InputError(
                f"--options: {name!r} is not one of {method}, expected {', '.join(settable)}; "
                "correct it"
            )
        if name in found:
            raise InputError(f"--options: {name!r} is given twice, expected once; remove one")
        found[name] = _typed(name, value, known[name])
    return found


def _is_long(default: Any) -> bool:
    """Whether an option is no single number or word."""
    return not (default is None or isinstance(default, bool | int | float | str))


def _typed(name: str, value: str, default: Any) -> Any:
    if isinstance(default, str):
        return value
    if isinstance(default, bool):
        if value not in ("true", "false"):
            raise InputError(f"--options: {name} is {value!r}, expected true or false; correct it")
        return value == "true"
    whole = default is None or isinstance(default, int)
    try:
        number = int(value) if whole else float(value)
    except ValueError as error:
        kind = "a whole number" if whole else "a number"
        raise InputError(f"--options: {name} is {value!r}, expected {kind}; correct it") from error
    if not 0.0 < number < float("inf"):
        raise InputError(f"--options: {name} is {value}, expected more than 0; correct it")
    return number
