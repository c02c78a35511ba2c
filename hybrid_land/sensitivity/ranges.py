"""Which values a parameter may take beside a column's others."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float

from hybrid_land.errors import InputError
from hybrid_land.interface import Parameters
from hybrid_land.variables import VARIABLES

Row = Float[np.ndarray, " column"]
Range = tuple[Row, Row]
SCALE = (0.8, 1.2)
# Lower, upper and the least room between them, m3 m-3. ECLand divides by the room between
# wilting point and field capacity; the runs that varied it kept the same room to saturation.
_ORDER = (
    ("theta_res", "theta_pwp", 0.0),
    ("theta_pwp", "theta_cap", 0.02),
    ("theta_cap", "theta_sat", 0.005),
)
_COVERS = ("cvh", "cvl")


def in_order(name: str, value: Row, fixed: Parameters) -> Bool[np.ndarray, " column"]:
    """Where a value of one parameter keeps theta_res <= theta_pwp < theta_cap < theta_sat."""
    value = np.asarray(value)
    possible = np.ones(value.shape, bool)
    for low, high, room in _ORDER:
        if name == high and low in fixed:
            possible &= value >= np.asarray(fixed[low]) + room
        if name == low and high in fixed:
            possible &= value <= np.asarray(fixed[high]) - room
    return possible


def ranges_of(
    fixed: Parameters,
    names: Sequence[str],
    *,
    given: Mapping[str, tuple[float, float]] | None = None,
    scale: tuple[float, float] = SCALE,
) -> dict[str, Range]:
    """Lowest and highest value of each parameter in each column.

    Cut so that every combination within the ranges is a soil: theta_res <= theta_pwp < theta_cap
    < theta_sat, covers that add up to one at most, and the bounds of the table of variables.

    Args:
        fixed: all parameters of the columns, leaves `[column]`.
        names: the parameters that vary together.
        given: ranges in the parameter's unit, the same for all columns.
        scale: factors on the column's own value where no range is given.

    Returns:
        Name to `(low, high)`, `[column]`; `low > high` where no value is possible.

    Raises:
        InputError: for a range of a parameter that is not varied or that is upside down, or one
            in which no column has a possible value.
    """
    given = dict(given or {})
    for name, (low, high) in given.items():
        if name not in names:
            raise InputError(
                f"range of {name!r}, expected one of the parameters varied, {', '.join(names)}; "
                "correct --ranges or --parameters"
            )
        if not low < high:
            raise InputError(
                f"range of {name} is {low:g} to {high:g}, expected the lower end first; correct "
                "--ranges"
            )
    own = {name: np.asarray(value, float) for name, value in fixed.items()}
    ranges: dict[str, Range] = {}
    for name in names:
        if name in given:
            ends = [np.full_like(own[name], end) for end in given[name]]
        else:
            ends = sorted_ends(scale[0] * own[name], scale[1] * own[name])
        row = VARIABLES.get(f"clim_{name}")
        if row is not None:
            ends = [np.clip(end, row.lower, row.upper) for end in ends]
        ranges[name] = (ends[0], ends[1])
    for low, high, room in _ORDER:
        _keep_apart(ranges, low, high, room, own)
    _keep_covers(ranges, own)
    for name, (low, high) in ranges.items():
        if not (low <= high).any():
            raise InputError(
                f"range of {name}: no column has a possible value, expected theta_res <= "
                "theta_pwp < theta_cap < theta_sat; widen --ranges"
            )
    return ranges


def sorted_ends(one: Row, other: Row) -> list[Row]:
    """The two ends with the lower first: a scaled negative value turns them over."""
    return [np.minimum(one, other), np.maximum(one, other)]


def _keep_apart(
    ranges: dict[str, Range], lower: str, upper: str, room: float, own: dict[str, np.ndarray]
) -> None:
    if lower in ranges and upper in ranges:
        (a, b), (c, d) = ranges[lower], ranges[upper]
        middle = 0.5 * (b + c)
        near = b + room > c
        ranges[lower] = (a, np.where(near, np.minimum(b, middle - room / 2), b))
        ranges[upper] = (np.where(near, np.maximum(c, middle + room / 2), c), d)
    elif lower in ranges and upper in own:
        a, b = ranges[lower]
        ranges[lower] = (a, np.minimum(b, own[upper] - room))
    elif upper in ranges and lower in own:
        c, d = ranges[upper]
        ranges[upper] = (np.maximum(c, own[lower] + room), d)


def _keep_covers(ranges: dict[str, Range], own: dict[str, np.ndarray]) -> None:
    varied = [name for name in _COVERS if name in ranges]
    if len(varied) == 2:
        total = np.maximum(ranges["cvh"][1] + ranges["cvl"][1], 1.0)
        for name in varied:
            low, high = ranges[name]
            ranges[name] = (np.minimum(low, high / total), high / total)
    elif varied:
        (name,) = varied
        other = own.get("cvl" if name == "cvh" else "cvh")
        if other is not None:
            low, high = ranges[name]
            most = np.maximum(1.0 - other, 0.0)
            ranges[name] = (np.minimum(low, most), np.minimum(high, most))
