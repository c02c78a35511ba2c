"""Ensembles of forcing: rain, sunshine, heat and air temperature, each as uncertain as is told.

With z standard normal, correlated between the quantities, in time (first order autoregressive) and,
if asked for, over the columns, each member has

    rain, snow and shortwave    x exp(s z) / mean over the members of exp(s z),
                                s^2 = log(1 + relative error^2)
    longwave, air temperature   x + error (z - mean over the members of z)

so that precipitation and shortwave stay positive, what is zero stays zero, and the mean of the
members is the forcing given. The correlations between the quantities are those of Reichle et al.
(2007, J. Geophys. Res. 112, D09108, table 1): they make a member with more rain one of less
sunshine and more longwave.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hybrid_land.errors import InputError
from hybrid_land.humidity import saturation_humidity
from hybrid_land.noise import noise_series
from hybrid_land.variables import DAY, EARTH_RADIUS, VARIABLES

QUANTITIES = ("precipitation", "shortwave", "longwave", "temperature")
CORRELATIONS = {
    ("precipitation", "shortwave"): -0.8,
    ("precipitation", "longwave"): 0.5,
    ("shortwave", "longwave"): -0.5,
}
_FORCING = {
    "precipitation": ("met_rainf", "met_snowf"),
    "shortwave": ("met_swdown",),
    "longwave": ("met_lwdown",),
    "temperature": ("met_tair",),
}
_RELATIVE = ("precipitation", "shortwave")
_MOST_COLUMNS = 4000  # that may be correlated with each other: the root is a full matrix

Last = dict[str, np.ndarray]


@dataclass(frozen=True)
class ForcingErrors:
    """How uncertain the forcing is; nothing of what is zero is perturbed.

    Attributes:
        precipitation: standard deviation of the factor of rain and snow, such as 0.3.
        shortwave: of the factor of downward shortwave radiation.
        longwave: of what is added to downward longwave radiation, W m-2.
        temperature: of what is added to the air temperature, K.
        memory_days: e-folding time of the errors' correlation in time; 0 for none.
        correlation_km: distance over which the errors' correlation between columns falls by e; 0
            for columns that know nothing of each other.
    """

    precipitation: float = 0.0
    shortwave: float = 0.0
    longwave: float = 0.0
    temperature: float = 0.0
    memory_days: float = 0.0
    correlation_km: float = 0.0

    @property
    def perturbed(self) -> tuple[str, ...]:
        """The quantities that are perturbed."""
        return tuple(name for name in QUANTITIES if getattr(self, name) > 0)

    def check(self) -> None:
        """Raise `InputError` for a number that is negative or not finite."""
        for name in (*QUANTITIES, "memory_days", "correlation_km"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise InputError(
                    f"error of the forcing: {name} is {value:g}, expected zero or more; correct it"
                )


def perturbed_forcing(
    key: Array,
    forcing: Mapping[str, Float[Array, "record column"]],
    *,
    errors: ForcingErrors,
    members: int,
    time_step: float,
    begin: int = 0,
    last: Last | None = None,
    latitude: np.ndarray | None = None,
    longitude: np.ndarray | None = None,
) -> tuple[dict[str, Array], Last]:
    """Members of a forcing whose mean is the forcing.

    Each record's numbers come from the key and the record's number alone, so that a long series in
    pieces has the same members as in one. Air that a member cools below its dewpoint loses what
    vapour it cannot hold: there alone, the members' mean humidity is below that given.

    Args:
        key: of the random numbers.
        forcing: as from `columns.forcing_from`.
        errors: standard deviations and correlations.
        members: how many.
        time_step: between records, s.
        begin: number of the first record.
        last: what the call for the records before `begin` gave, where there is a memory.
        latitude: of the columns, degrees; needed for errors correlated between columns.
        longitude: of the columns, degrees.

    Returns:
        The forcing, with leaves `[record, member, column]` where perturbed, and the errors of the
        last record, for the call that goes on from there.

    Raises:
        InputError: for an error that is negative, fewer than two members, or columns too many or
            without a place for errors correlated between them.
    """
    errors.check()
    names = errors.perturbed
    whole: dict[str, Array] = dict(forcing)
    if not names:
        return whole, {}
    if members < 2:
        raise InputError(
            f"{members} member of an uncertain forcing, expected at least 2; draw more members"
        )
    records, columns = next(iter(forcing.values())).shape
    memory = errors.memory_days * DAY
    white = noise_series(
        key,
        names,
        (members, columns),
        begin=begin,
        steps=records,
        correlation=math.exp(-time_step / memory) if memory > 0 else 0.0,
        last=last,
    )
    kept = {name: series[-1] for name, series in white.items()}
    z = np.einsum("ij,jrmc->irmc", _between_quantities(names), np.stack(list(white.values())))
    if errors.correlation_km > 0:
        z = z @ _between_columns(latitude, longitude, errors.correlation_km, columns).T
    for row, name in zip(z.astype(np.float32), names, strict=True):
        apart = jnp.asarray(row)
        for leaf in _FORCING[name]:
            if leaf in forcing:
                given = forcing[leaf][:, None]
                whole[leaf] = _perturbed(given, apart, getattr(errors, name), name, leaf)
    if "temperature" in names and {"met_qair", "met_psurf"} <= set(forcing):
        whole["met_qair"] = _held(forcing, whole["met_tair"])
    return whole, kept


def _perturbed(given: Array, z: Array, error: float, name: str, leaf: str) -> Array:
    if name in _RELATIVE:
        factor = jnp.exp(math.sqrt(math.log1p(error**2)) * z)
        return given * (factor / factor.mean(axis=1, keepdims=True))
    apart = error * (z - z.mean(axis=1, keepdims=True))
    # All members come nearer to the mean where the outermost would leave what is possible.
    row = VARIABLES[leaf]
    below = (given - row.lower) / jnp.maximum(-apart.min(axis=1, keepdims=True), 1e-6)
    above = (row.upper - given) / jnp.maximum(apart.max(axis=1, keepdims=True), 1e-6)
    return given + jnp.clip(jnp.minimum(below, above), 0.0, 1.0) * apart


def _held(forcing: Mapping[str, Array], warm: Array) -> Array:
    """Humidity of the members: no more above saturation than the forcing given is."""
    humid, pressure = forcing["met_qair"], forcing["met_psurf"]
    before = saturation_humidity(forcing["met_tair"].ravel(), pressure.ravel())
    excess = jnp.maximum(humid / before.reshape(humid.shape), 1.0)[:, None]
    wide = jnp.broadcast_to(pressure[:, None], warm.shape)
    now = saturation_humidity(warm.ravel(), wide.ravel()).reshape(warm.shape)
    return jnp.minimum(humid[:, None], excess * now)


def _between_quantities(names: tuple[str, ...]) -> np.ndarray:
    """The root of the correlations between quantities."""
    table = np.eye(len(names))
    for (one, other), value in CORRELATIONS.items():
        if one in names and other in names:
            i, j = names.index(one), names.index(other)
            table[i, j] = table[j, i] = value
    return np.linalg.cholesky(table)


def _between_columns(
    latitude: np.ndarray | None, longitude: np.ndarray | None, length: float, columns: int
) -> np.ndarray:
    """The root of exp(-d / length) between columns, d on the great circle."""
    if latitude is None or longitude is None:
        raise InputError(
            "errors of the forcing correlated between columns, but the columns have no lat and "
            "lon; expected both; give them or leave the correlation out"
        )
    if columns > _MOST_COLUMNS:
        raise InputError(
            f"errors of the forcing correlated between {columns} columns, expected at most "
            f"{_MOST_COLUMNS}; leave the correlation out or cut the columns"
        )
    north, east = np.deg2rad(np.asarray(latitude, float)), np.deg2rad(np.asarray(longitude, float))
    place = np.stack([np.cos(north) * np.cos(east), np.cos(north) * np.sin(east), np.sin(north)])
    chord = np.linalg.norm(place[:, :, None] - place[:, None, :], axis=0)
    distance = 2.0 * EARTH_RADIUS * np.arcsin(np.minimum(chord / 2.0, 1.0))
    # A hair on the diagonal: columns at one place have the same errors, a matrix without a root.
    return np.linalg.cholesky(np.exp(-distance / length) + 1e-9 * np.eye(columns))
