"""A provider's file becomes one list of screened observations in m3 m-3."""

from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
import xarray as xr

from assimilation.satellite import ascat, cci, era5_land, smap, smos
from assimilation.satellite.layouts import Records, read_records
from assimilation.satellite.places import MAX_DISTANCE_KM, nearest, require_places
from assimilation.satellite.screening import (
    OVERPASSES,
    QUALITIES,
    Reading,
    outside_overpass,
    screen,
)
from hybrid_land.data.netcdf import open_netcdf
from hybrid_land.errors import InputError

PRODUCTS: dict[str, ModuleType] = {
    "smap": smap,
    "smos": smos,
    "ascat": ascat,
    "cci": cci,
    "era5-land": era5_land,
}


def read_satellite(
    source: str | Path | Sequence[str | Path],
    *,
    product: str | None = None,
    overpass: str = "all",
    quality: str = "recommended",
    error: float | None = None,
    porosity: float | xr.Dataset | None = None,
    max_distance_km: float = MAX_DISTANCE_KM,
) -> xr.Dataset:
    """Read soil moisture from a provider's time series, screened and in m3 m-3.

    SMAP L3, SMOS L3, ASCAT H SAF, ESA CCI and ERA5-Land are known by their variables. Faulty
    retrievals, frozen ground and snow are always left out, by the product's own flags.

    Args:
        source: a file, a folder of cells (`0165.nc` and the like), or several of one product.
        product: one of `PRODUCTS`; found by the variables of the first file if not given.
        overpass: `all`, `ascending`, `descending`, `night` or `day`, where the product knows.
            SMAP's descending, SMOS' and ASCAT's ascending overpasses are the night's.
        quality: `recommended` obeys all flags of the provider's advice; `retrieved` keeps what
            was retrieved at all (SMAP's uncertain quality, SMOS' interference and relief, ASCAT's
            low confidence, CCI's barren ground).
        error: standard deviation in m3 m-3 in place of the product's, needed where it has none
            (SMAP: the mission's requirement is 0.04; ERA5-Land).
        porosity: for ASCAT, which measures percent of saturation: one number in m3 m-3, or data
            with `clim_theta_max` (else `clim_theta_sat`), `lat` and `lon` on `column`.
        max_distance_km: from an ASCAT location to the column that gives its porosity.

    Returns:
        Dims `observation` (in order of time) and `location`: `time`, `location_index`,
        `soil_moisture`, `soil_moisture_error`, `ascending` and `night` (1, 0, -1 not known) on
        observation; `lat`, `lon`, `location_id` on location. Attributes `observations_read`,
        `observations_kept` and `screened_<reason>` count, each record once.

    Raises:
        InputError: for a file that is missing, damaged or of no known product, an option that the
            product does not have, a missing error or porosity, or values that are not m3 m-3.
    """
    if overpass not in OVERPASSES:
        raise InputError(
            f"overpass {overpass!r} is not known, expected {', '.join(OVERPASSES)}; use one"
        )
    if quality not in QUALITIES:
        raise InputError(
            f"quality {quality!r} is not known, expected {' or '.join(QUALITIES)}; use one"
        )
    if error is not None and not 0.0 < error < 1.0:
        raise InputError(
            f"error of {error:g} m3 m-3, expected a positive standard deviation below 1; correct it"
        )
    if isinstance(porosity, float | int) and not 0.0 < porosity < 1.0:
        raise InputError(f"porosity of {porosity:g} m3 m-3, expected between 0 and 1; correct it")
    files = _files(source)
    pieces = []
    for file in files:
        stored = open_netcdf(file)
        product = product or detect(stored, source=str(file))
        if product not in PRODUCTS:
            known = ", ".join(PRODUCTS)
            raise InputError(f"product {product!r} is not known, expected {known}; use one")
        family = PRODUCTS[product]
        if overpass != "all" and overpass not in family.PASSES:
            had = ", ".join(("all", *family.PASSES))
            raise InputError(
                f"{file}: {product} has no {overpass} overpass, expected {had}; choose one of these"
            )
        optional = tuple(name for name in family.OPTIONAL if name in stored.variables)
        records = read_records(
            stored, (*family.VARIABLES, *optional), value=family.VALUE, source=str(file)
        )
        options = {}
        if family is ascat:
            options["porosity"] = _porosity(records, porosity, max_distance_km, str(file))
        reading = family.understand(records, quality=quality, **options)
        if reading.error is None and error is None:
            raise InputError(
                f"{file}: {product} gives no error, expected a standard deviation in m3 m-3; set "
                "error (--error), 0.04 for SMAP's requirement"
            )
        pieces.append(_dataset(records, reading, overpass, error, str(file)))
    return _joined(pieces, {"product": str(product), "overpass": overpass, "quality": quality})


def detect(stored: xr.Dataset, *, source: str = "the file") -> str:
    """Which product an opened file holds, by its variables.

    Raises:
        InputError: if it is none that is known.
    """
    for name, family in PRODUCTS.items():
        # A model's own file has soil water and temperature too, and no number of a location.
        if {"location_id", family.VALUE, *family.VARIABLES} <= set(map(str, stored.variables)):
            return name
    found = ", ".join(sorted(map(str, stored.data_vars))[:6]) or "no variable"
    raise InputError(
        f"{source}: {found}: no known product, expected {', '.join(PRODUCTS)} as time series of "
        "grid points with their flags; name the product to hear what is missing"
    )


def _files(source: str | Path | Sequence[str | Path]) -> list[Path]:
    """The files to read; of a folder, its numbered cells."""
    given = [source] if isinstance(source, str | Path) else list(source)
    files = []
    for place in map(Path, given):
        if place.is_dir():
            cells = sorted(p for p in place.glob("*.nc") if p.stem.isdigit())
            if not cells:
                raise InputError(
                    f"{place}: a folder without cells, expected files such as 0165.nc; give a file"
                )
            files += cells
        else:
            files.append(place)
    if not files:
        raise InputError("no file to read, expected at least one; name it")
    return files


def _porosity(
    records: Records, given: float | xr.Dataset | None, max_distance_km: float, source: str
) -> np.ndarray:
    """Porosity of each location, m3 m-3, `[location]`."""
    if given is None:
        raise InputError(
            f"{source}: ASCAT measures percent of saturation, expected a porosity to multiply it "
            "by; set porosity (--porosity) or give data with clim_theta_max"
        )
    if not isinstance(given, xr.Dataset):
        return np.full(records.lat.shape, float(given))
    require_places(given)
    name = next((n for n in ("clim_theta_max", "clim_theta_sat") if n in given), None)
    if name is None:
        raise InputError(
            f"{source}: the data have neither clim_theta_max nor clim_theta_sat, expected ASCAT's "
            "porosity in one of them; set porosity (--porosity)"
        )
    index, _ = nearest(
        records.lat,
        records.lon,
        given["lat"].to_numpy(),
        given["lon"].to_numpy(),
        max_distance_km=max_distance_km,
    )
    return np.where(index >= 0, given[name].to_numpy().astype(np.float64)[index], np.nan)


def _dataset(
    records: Records, reading: Reading, overpass: str, error: float | None, source: str
) -> xr.Dataset:
    value = reading.soil_moisture
    spread = np.full(value.shape, error) if error is not None else np.asarray(reading.error)
    with np.errstate(invalid="ignore"):
        reasons = reading.reasons | {
            "without_error": ~(spread > 0.0),
            "other_overpass": outside_overpass(reading, overpass),
        }
    if len(value) and reasons["out_of_range"].mean() > 0.5:
        worst = float(np.nanmax(value))
        raise InputError(
            f"{source}: most soil moisture is out of range, up to {worst:g}, expected m3 m-3; "
            "percent is to be divided by 100"
        )
    keep, counts = screen(len(value), reasons)
    order = np.argsort(reading.time[keep], kind="stable")

    def on(values: np.ndarray) -> tuple[str, np.ndarray]:
        return "observation", values[keep][order]

    units = {"units": "m3 m-3"}
    flags = {"flag_values": np.array([-1, 0, 1], np.int8)}
    result = xr.Dataset(
        {
            "soil_moisture": (*on(value), units | {"long_name": "surface soil moisture"}),
            "soil_moisture_error": (
                *on(spread),
                units | {"long_name": "standard deviation of the surface soil moisture"},
            ),
            "ascending": (
                *on(reading.ascending),
                flags | {"flag_meanings": "not_known descending ascending"},
            ),
            "night": (*on(reading.night), flags | {"flag_meanings": "not_known day night"}),
            "location_index": (*on(records.place), {"instance_dimension": "location"}),
        },
        coords={
            "time": on(reading.time.astype("datetime64[s]").astype("datetime64[ns]")),
            "lat": ("location", records.lat, {"units": "degrees_north"}),
            "lon": ("location", records.lon, {"units": "degrees_east"}),
            "location_id": ("location", records.identity),
        },
    )
    result.attrs = {"observations_read": len(value), "observations_kept": int(keep.sum())}
    result.attrs |= {f"screened_{reason}": count for reason, count in counts.items()}
    return result


def _joined(pieces: list[xr.Dataset], attributes: dict[str, str]) -> xr.Dataset:
    """Several files of one product as one, in order of time."""
    first = 0
    shifted = []
    for piece in pieces:
        shifted.append(piece.assign(location_index=piece["location_index"] + first))
        first += piece.sizes["location"]
    result = shifted[0]
    if len(shifted) > 1:
        observations = xr.concat([p.drop_dims("location") for p in shifted], "observation")
        locations = xr.concat([p.drop_dims("observation") for p in shifted], "location")
        result = observations.assign_coords(locations.coords)
        result = result.isel(observation=np.argsort(result["time"].to_numpy(), kind="stable"))
    counts = {str(key): sum(int(piece.attrs[key]) for piece in pieces) for key in pieces[0].attrs}
    result.attrs = {"title": "Surface soil moisture as observed"} | attributes | counts
    return result
