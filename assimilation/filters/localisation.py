"""Localisation: how much an observation counts for a variable of a column."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from scipy.spatial import KDTree

from assimilation.lorenz96 import names
from assimilation.operators import OBSERVABLES
from hybrid_land.errors import InputError
from hybrid_land.variables import EARTH_RADIUS, LAYER_THICKNESS, VARIABLES


def gaspari_cohn(ratio: Any) -> np.ndarray:
    """The compactly supported correlation of Gaspari and Cohn (1999), eq. 4.10.

    Args:
        ratio: distance over the distance at which the function is zero, 2 c.
    """
    z = 2.0 * np.abs(np.asarray(ratio, float))
    near = 1.0 - 5.0 / 3.0 * z**2 + 5.0 / 8.0 * z**3 + 0.5 * z**4 - 0.25 * z**5
    safe = np.maximum(z, 1.0)
    far = 4.0 - 5.0 * z + 5.0 / 3.0 * z**2 + 5.0 / 8.0 * z**3 - 0.5 * z**4 + z**5 / 12.0
    far = far - 2.0 / (3.0 * safe)
    return np.where(z <= 1.0, near, np.where(z < 2.0, np.maximum(far, 0.0), 0.0))


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["group", "within", "neighbours", "taper"],
    meta_fields=["variables", "observables"],
)
@dataclass(frozen=True)
class Localisation:
    """Tapers of the observations' precision, by variable and by column.

    An observation of column b counts for a variable v of column c by
    within(v, observable) times taper(c, b).

    Attributes:
        variables: that are analysed, in this order.
        observables: that are observed, in this order.
        group: the group of each variable; variables of a group are analysed together.
        within: taper of each observable for each group, `[group, observable]`.
        neighbours: columns whose observations a column sees, itself among them, `[column, near]`;
            none if it sees its own alone.
        taper: of each neighbour, zero for those that fill the row, `[column, near]`.
    """

    # Annotated without a shape: JAX rebuilds the object with tracers of any rank.
    variables: tuple[str, ...]
    observables: tuple[str, ...]
    group: Array
    within: Array
    neighbours: Array | None = None
    taper: Array | None = None


def _grouped(
    variables: Sequence[str], observables: Sequence[str], within: np.ndarray
) -> Localisation:
    rows, group = np.unique(within, axis=0, return_inverse=True)
    return Localisation(
        variables=tuple(variables),
        observables=tuple(observables),
        group=jnp.asarray(group.reshape(-1)),
        within=jnp.asarray(rows, jnp.float32),
    )


def on_ring(points: int, *, radius: float, observed: Sequence[int] | None = None) -> Localisation:
    """Distances along a ring of points, each a variable of the same column (`lorenz96.names`).

    Args:
        points: on the ring.
        radius: distance in points at which the taper is zero.
        observed: the points that are observed, under their own names; all if not given.

    Raises:
        InputError: if the radius is not positive or leaves a point without any observation.
    """
    _require_radius(radius, "points")
    places = np.arange(points) if observed is None else np.asarray(observed)
    apart = np.abs(np.arange(points)[:, None] - places[None])
    taper = gaspari_cohn(np.minimum(apart, points - apart) / radius)
    if not np.all(np.any(taper > 0, axis=1)):
        point = int(np.argmin(np.any(taper > 0, axis=1)))
        raise InputError(
            f"a localisation radius of {radius:g} points leaves point {point} without any "
            "observation, expected at least one; widen it"
        )
    every = names(points)
    return _grouped(every, [every[k] for k in places], taper)


def in_depth(
    variables: Sequence[str], observables: Sequence[str], *, scale: float | None = None
) -> Localisation:
    """Distances between the middles of soil layers; what has no layer lies at the surface.

    Args:
        variables: that are analysed.
        observables: that are observed.
        scale: depth in m at which the taper is zero; none for no localisation in depth.

    Raises:
        InputError: if the scale is not positive, or no observation reaches any variable.
    """
    if scale is None:
        return _grouped(variables, observables, np.ones((len(variables), len(observables))))
    _require_radius(scale, "m of depth")
    apart = np.array([_depth(n) for n in variables])[:, None]
    apart = np.abs(apart - np.array([_depth(n) for n in observables])[None])
    taper = gaspari_cohn(apart / scale)
    if not np.any(taper > 0):
        raise InputError(
            f"a localisation radius of {scale:g} m of depth leaves every variable without any "
            f"observation, expected at least {apart.min():g} m; widen it"
        )
    return _grouped(variables, observables, taper)


def by_kind(variables: Sequence[str], observables: Sequence[str]) -> Localisation:
    """Temperatures see temperatures only, and the rest the rest (brightness temperatures, too).

    A model whose skin is wrong would pass its error on to the soil's water, through correlations
    that an ensemble of few members has by chance.
    """

    def warm(name: str) -> bool:
        return OBSERVABLES[name].units == "K" and not name.startswith("brightness")

    same = [[float(warm(v) == warm(o)) for o in observables] for v in variables]
    return _grouped(variables, observables, np.array(same))


def _depth(name: str) -> float:
    row = VARIABLES.get(name)
    if row is None or row.layer is None:
        return 0.0
    return sum(LAYER_THICKNESS[: row.layer - 1]) + 0.5 * LAYER_THICKNESS[row.layer - 1]


def over_columns(
    localisation: Localisation, lat: Any, lon: Any, *, radius: float, most: int = 200
) -> Localisation:
    """The same, and neighbours by great-circle distance.

    Args:
        localisation: within a column, from `in_depth`.
        lat: of the columns, degrees north.
        lon: degrees east.
        radius: distance in km at which the taper is zero.
        most: neighbours that a column may have; memory and time grow with their number.

    Raises:
        InputError: if the radius is not positive, reaches no column from any other, or reaches
            more than `most` from one.
    """
    _require_radius(radius, "km")
    lat, lon = np.radians(np.asarray(lat, float)), np.radians(np.asarray(lon, float))
    place = np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=-1)
    chord = 2.0 * np.sin(min(radius / EARTH_RADIUS, np.pi) / 2.0)
    tree = KDTree(place)
    number = tree.query_ball_point(place, chord, return_length=True)
    if number.max() < 2:
        raise InputError(
            f"a localisation radius of {radius:g} km reaches no column from any other, expected "
            "at least one; widen it, or filter each column by itself with etkf"
        )
    if number.max() > most:
        raise InputError(
            f"a localisation radius of {radius:g} km reaches {number.max()} columns from column "
            f"{int(number.argmax())}, expected at most {most}; narrow it or allow more"
        )
    distance, near = tree.query(place, k=int(number.max()), distance_upper_bound=chord)
    far = ~np.isfinite(distance)
    angle = 2.0 * np.arcsin(np.minimum(np.where(far, 0.0, distance) / 2.0, 1.0))
    taper = np.where(far, 0.0, gaspari_cohn(EARTH_RADIUS * angle / radius))
    return replace(
        localisation,
        neighbours=jnp.asarray(np.where(far, 0, near), jnp.int32),
        taper=jnp.asarray(taper, jnp.float32),
    )


def _require_radius(radius: float, unit: str) -> None:
    if not (np.isfinite(radius) and radius > 0):
        raise InputError(
            f"the localisation radius is {radius:g} {unit}, expected a positive number; correct it"
        )
