"""Which of some places is nearest, along the great circle."""

import numpy as np
import xarray as xr
from scipy.spatial import KDTree

from hybrid_land.errors import InputError

EARTH_RADIUS_KM = 6371.0  # mean radius, IUGG
# A little more than half the diagonal of the coarsest grid that is read (36 km): within it each
# place on land has a point.
MAX_DISTANCE_KM = 26.0


def nearest(
    lat: np.ndarray,
    lon: np.ndarray,
    among_lat: np.ndarray,
    among_lon: np.ndarray,
    *,
    max_distance_km: float = MAX_DISTANCE_KM,
) -> tuple[np.ndarray, np.ndarray]:
    """Index of the nearest point and its distance in km, both `[place]`; -1 if none is near.

    Args:
        lat: degrees north, `[place]`.
        lon: degrees east, `[place]`, of any range.
        among_lat: of the points to choose from, `[point]`.
        among_lon: the same.
        max_distance_km: along the great circle.

    Raises:
        InputError: if the distance is not positive.
    """
    if not max_distance_km > 0.0:
        raise InputError(
            f"distance of {max_distance_km:g} km, expected a positive number; enlarge it"
        )
    chord, index = KDTree(_on_sphere(among_lat, among_lon)).query(_on_sphere(lat, lon))
    distance = 2.0 * EARTH_RADIUS_KM * np.arcsin(np.clip(0.5 * chord, 0.0, 1.0))
    return np.where(distance <= max_distance_km, index, -1), distance


def _on_sphere(lat: np.ndarray, lon: np.ndarray) -> np.ndarray:
    phi, lam = np.deg2rad(np.asarray(lat, float)), np.deg2rad(np.asarray(lon, float))
    return np.stack([np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi)], axis=-1)


def require_places(data: xr.Dataset) -> None:
    """Raise unless each column has a latitude and a longitude.

    Raises:
        InputError: naming what is missing.
    """
    for name in ("lat", "lon"):
        if name not in data or data[name].dims != ("column",):
            raise InputError(
                f"the data have no {name} on column, expected degrees; add it to the file"
            )
        if not np.isfinite(data[name].to_numpy()).all():
            bad = int(np.argmin(np.isfinite(data[name].to_numpy())))
            raise InputError(f"{name} of column {bad} is missing, expected degrees; fill it in")
