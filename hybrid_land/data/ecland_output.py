"""ECLand's own offline output: a folder with `o_gg.nc` and friends.

Layout, names and units are those of ECLand's `sudcdf.F90`, `netcdf_utils.F90`, `wrtpcdf.F90`,
`wrtdcdf.F90` and `wrtd2cdf.F90`. `o_gg.nc` holds the state at the start and after each output
interval. The other files are means over the interval that ends at their time label (`LACCUMW`,
`LRESET`), so that their records belong to the step that starts one interval earlier; `o_d2m.nc`
and the snow fraction of `o_cld.nc` are instantaneous at their label. Fluxes are positive
downwards, runoff positive.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr

from hybrid_land.data.forms import to_our_form
from hybrid_land.data.netcdf import Chunks, open_netcdf
from hybrid_land.errors import InputError
from hybrid_land.variables import LAYER_THICKNESS


@dataclass(frozen=True)
class _Source:
    """Where our variable is found: file, name there, soil level, and what kind of label."""

    file: str
    name: str
    level: int | None = None
    mean: bool = False


_LAYERS = range(len(LAYER_THICKNESS))
_STATE = {
    **{f"swvl{k + 1}": _Source("o_gg", "SoilMoist", k) for k in _LAYERS},
    **{f"stl{k + 1}": _Source("o_gg", "SoilTemp", k) for k in _LAYERS},
    "sd": _Source("o_gg", "SWE"),
    "rsn": _Source("o_gg", "snowdens"),
    "tsn": _Source("o_gg", "SnowT"),
    "asn": _Source("o_gg", "SAlbedo"),
    "src": _Source("o_gg", "CanopInt"),
    "skt": _Source("o_gg", "AvgSurfT"),
    "t2m": _Source("o_d2m", "T2m"),
    "d2m": _Source("o_d2m", "D2m"),
    "snowc": _Source("o_cld", "SnowFrac"),
}
_FLUXES = {
    "sshf": _Source("o_efl", "Qh", mean=True),
    "slhf": _Source("o_efl", "Qle", mean=True),
    "met_swdown": _Source("o_efl", "SWdown", mean=True),
    "met_lwdown": _Source("o_efl", "LWdown", mean=True),
    "e": _Source("o_wat", "Evap", mean=True),
    "sro": _Source("o_wat", "Qs", mean=True),
    "ssro": _Source("o_wat", "Qsb", mean=True),
    "met_rainf": _Source("o_wat", "Rainf", mean=True),
    "met_snowf": _Source("o_wat", "Snowf", mean=True),
    "aco2gpp": _Source("o_co2", "Ag", mean=True),
    "met_tair": _Source("o_ext", "Tair", mean=True),
    "met_qair": _Source("o_ext", "Qair", mean=True),
    "met_psurf": _Source("o_ext", "psurf", mean=True),
    "met_wind_e": _Source("o_ext", "Uwind", mean=True),
    "met_wind_n": _Source("o_ext", "Vwind", mean=True),
    "lai_lv": _Source("o_vty", "lai", 0, mean=True),
    "lai_hv": _Source("o_vty", "lai", 1, mean=True),
}
_CLIMATE = (
    *("landsea", "geopot", "cvl", "cvh", "cu", "tvl", "tvh", "sotype", "sdor", "sdfor"),
    *("Ctype", "CLAKE", "glm", "Malbedo", "Mlail", "Mlaih"),
)
_FIXED = {
    "clim_theta_cap": _Source("o_fix", "SoilFC", 0),
    "clim_theta_pwp": _Source("o_fix", "SoilWilt", 0),
    "clim_theta_sat": _Source("o_fix", "SoilSat", 0),
    **{f"clim_{name.lower()}": _Source("surfclim", name) for name in _CLIMATE},
}
_FORCING = {
    "met_ctpf": "ctpf",
    "met_tair": "Tair",
    "met_qair": "Qair",
    "met_psurf": "PSurf",
    "met_wind_e": "Wind_E",
    "met_wind_n": "Wind_N",
    "met_swdown": "SWdown",
    "met_lwdown": "LWdown",
    "met_rainf": "Rainf",
    "met_snowf": "Snowf",
}
_LEVEL_DIMS = ("nlevs", "vtype")
# Units that ECLand writes otherwise than it means them.
_TRUE_UNITS = {"clim_geopot": "m2 s-2"}


def is_ecland_output(folder: Path) -> bool:
    """Whether a folder holds files of ECLand's offline output."""
    return any(folder.glob("o_*.nc"))


def open_ecland_output(path: str | Path, *, chunks: Chunks = None) -> xr.Dataset:
    """Open a folder of ECLand's offline output lazily as a Dataset with dims `(time, column)`.

    State from `o_gg`, fluxes and forcing from `o_efl`, `o_wat`, `o_ext`, `o_co2`, `o_d2m`,
    `o_cld`, `o_vty`, the soil from `o_fix`, the rest of the columns from `surfclim`, and forcing
    that is missing from files with `forcing` or `met` in their name: the mean of the records from
    a step's start to before its end (labels taken as the starts of their own intervals).
    Snow cover without `SnowFrac` follows from mass and density as in ECLand,
    tanh(4000 D / rho), D = sd / rho; leaf area without `o_vty` from the monthly maps,
    linear between the middles of months. What is nowhere stays absent. Points that ECLand did
    not run are left out; a grid of lat and lon becomes one column after the other.

    Args:
        path: the folder.
        chunks: for dask, by our dims; the files' own by default.

    Raises:
        InputError: if `o_gg.nc` is missing, a file is damaged, or times do not fit.
    """
    folder = Path(path)
    files = {name: _open(file, chunks) for name, file in _files(folder).items()}
    if "o_gg" not in files:
        raise InputError(
            f"{path}: o_gg.nc is missing, found {', '.join(sorted(files))}; expected ECLand's "
            "state in it; copy it or set LWRGG in the namelist"
        )
    state = files["o_gg"]
    if "time" not in state.dims or state.sizes["time"] < 2:
        raise InputError(f"{path}: o_gg.nc holds fewer than two times; run ECLand for longer")
    _check_points(files, folder)
    time = state["time"].to_numpy()
    step = time[1] - time[0]
    variables: dict[str, xr.DataArray] = {}
    notes = []
    for name, source in (_STATE | _FLUXES | _FIXED).items():
        found = _pick(files, source)
        if found is None:
            continue
        if "time" in found.dims:
            found = _on_steps(found, time, step, source)
        if name in _TRUE_UNITS:
            found = found.assign_attrs(units=_TRUE_UNITS[name])
        variables[name] = found
    _add_forcing(variables, files, time, step, notes)
    _add_snow_cover(variables, notes)
    _add_leaf_area(variables, time, notes)
    _turn_photosynthesis(variables, notes)
    raw = xr.Dataset({k: v.drop_vars(set(v.coords) - {"time"}) for k, v in variables.items()})
    for name in ("lat", "lon"):
        if name in state:
            raw[name] = ("column", state[name].to_numpy())
    run = np.isfinite(raw["swvl1"].isel(time=0).to_numpy())
    if not run.all():
        notes.append(f"{int((~run).sum())} points that ECLand did not run left out")
        raw = raw.isel(column=np.flatnonzero(run))
    whole = _steps_with_forcing(files, time, step)
    raw = raw.isel(time=whole) if whole.size else raw
    return to_our_form(raw, form="ECLand offline output", source=str(path), notes=notes)


def _files(folder: Path) -> dict[str, Path]:
    """The folder's files by stem; all with forcing under names that start with `forcing`."""
    found = {}
    for file in sorted(folder.iterdir()):
        stem = file.name.removesuffix(".nc")
        if file.is_dir() or (file.suffix not in ("", ".nc")):
            continue
        if stem.startswith("o_") or stem == "surfclim":
            found[stem] = file
        elif "forcing" in stem.lower() or stem.lower().startswith("met"):
            found[f"forcing {stem}"] = file
    return found


def _open(file: Path, chunks: Chunks) -> xr.Dataset:
    """A file with its points in the dim `column`."""
    own = {dim: size for dim, size in (chunks or {}).items() if dim == "time"}
    data = open_netcdf(file, chunks=own)
    if "x" in data.dims:
        return data.rename_dims({"x": "column"})
    if {"lat", "lon"} <= set(data.dims):
        stacked = data.stack(column=("lat", "lon"), create_index=False)
        return stacked.reset_coords(["lat", "lon"]) if "lat" in stacked.coords else stacked
    return data


def _check_points(files: dict[str, xr.Dataset], folder: Path) -> None:
    points = files["o_gg"].sizes.get("column")
    for name, data in files.items():
        found = data.sizes.get("column")
        if points is None or found not in (None, points):
            raise InputError(
                f"{folder}: {name} has {found or 'no'} points, expected the {points or 'x'} of "
                "o_gg.nc on a dim x or on lat and lon; use the files of one run"
            )


def _pick(files: dict[str, xr.Dataset], source: _Source) -> xr.DataArray | None:
    if source.file not in files or source.name not in files[source.file]:
        return None
    values = files[source.file][source.name]
    if source.level is not None:
        dim = next((d for d in _LEVEL_DIMS if d in values.dims), None)
        if dim is None or values.sizes[dim] <= source.level:
            return None
        values = values.isel({dim: source.level}, drop=True)
    return values


def _on_steps(
    values: xr.DataArray, time: np.ndarray, step: np.timedelta64, source: _Source
) -> xr.DataArray:
    """Values on the state's times: means at the start of their step, NaN where there is none."""
    labels = values["time"].to_numpy()
    # Means that are labelled like the state, from its first time, are those of the step to come.
    if source.mean and labels[0] != time[0]:
        labels = labels - step
    if not np.isin(labels, time).any():
        raise InputError(
            f"{source.file}.nc: {source.name} starts at {labels[0]}, none of its times is one of "
            f"o_gg.nc ({time[0]} to {time[-1]}); use the files of one run"
        )
    values = values.assign_coords(time=labels)
    return values if np.array_equal(labels, time) else values.reindex(time=time)


def _steps_with_forcing(
    files: dict[str, xr.Dataset], time: np.ndarray, step: np.timedelta64
) -> np.ndarray:
    """Positions of the times whose step has fluxes; ECLand writes one state more than fluxes."""
    for name in ("o_wat", "o_efl"):
        if name in files:
            labels = files[name]["time"].to_numpy()
            starts = labels if labels[0] == time[0] else labels - step
            return np.flatnonzero(np.isin(time, starts))
    return np.array([], int)


def _add_forcing(
    variables: dict[str, xr.DataArray],
    files: dict[str, xr.Dataset],
    time: np.ndarray,
    step: np.timedelta64,
    notes: list[str],
) -> None:
    for name, theirs in _FORCING.items():
        holders = [data for key, data in files.items() if key.startswith("forcing")]
        holder = next((data for data in holders if theirs in data), None)
        if name in variables or holder is None:
            continue
        values = holder[theirs]
        labels = values["time"].to_numpy()
        own = labels[1] - labels[0] if len(labels) > 1 else step
        ratio = int(step // own) if own > np.timedelta64(0) else 0
        first = np.flatnonzero(labels == time[0])
        if ratio < 1 or ratio * own != step or not first.size:
            raise InputError(
                f"forcing: {theirs} comes each {own / np.timedelta64(1, 'h'):g} h from "
                f"{labels[0]}, expected whole parts of the output's step of "
                f"{step / np.timedelta64(1, 'h'):g} h and a record at {time[0]}; cut or resample it"
            )
        attributes = values.attrs
        values = values.isel(time=slice(int(first[0]), None)).coarsen(time=ratio, boundary="trim")
        mean = values.mean()
        mean = mean.assign_coords(time=time[0] + step * np.arange(mean.sizes["time"]))
        variables[name] = mean.reindex(time=time).assign_attrs(attributes)
        notes.append(f"{name} from forcing averaged over the step")


def _add_snow_cover(variables: dict[str, xr.DataArray], notes: list[str]) -> None:
    if not {"sd", "rsn"} <= set(variables):
        return
    snow = variables["sd"] > 0
    ratio = 4000.0 * variables["sd"] / variables["rsn"].where(snow, 100.0) ** 2
    cover = xr.apply_ufunc(np.tanh, ratio, dask="allowed").where(snow, 0.0)
    if "snowc" in variables:
        variables["snowc"] = variables["snowc"].fillna(cover)
        notes.append("snowc at the first time from sd and rsn")
    else:
        variables["snowc"] = cover.assign_attrs(units="1")
        notes.append("snowc from sd and rsn")


def _add_leaf_area(variables: dict[str, xr.DataArray], time: np.ndarray, notes: list[str]) -> None:
    for name, monthly in (("lai_lv", "clim_mlail"), ("lai_hv", "clim_mlaih")):
        if name in variables or monthly not in variables:
            continue
        variables[name] = _between_months(variables[monthly], time)
        notes.append(f"{name} from {monthly}")


def _between_months(monthly: xr.DataArray, time: np.ndarray) -> xr.DataArray:
    """`[time, column]` from `[month, column]`, linear between the middles of months."""
    month = time.astype("datetime64[M]")

    def middle(offset: np.ndarray) -> np.ndarray:
        begin = (month + offset).astype("datetime64[s]").astype(float)
        end = (month + offset + 1).astype("datetime64[s]").astype(float)
        return (begin + end) / 2

    now = time.astype("datetime64[s]").astype(float)
    early = -(now < middle(np.zeros(len(time), int))).astype(int)
    begin, end = middle(early), middle(early + 1)
    weight = xr.DataArray((now - begin) / (end - begin), dims="time")
    number = month.astype(int) % 12 + early
    before, after = (xr.DataArray(k % 12, dims="time") for k in (number, number + 1))
    values = (1 - weight) * monthly.isel(month=before) + weight * monthly.isel(month=after)
    return values.assign_coords(time=time).assign_attrs(units="m2 m-2")


def _turn_photosynthesis(variables: dict[str, xr.DataArray], notes: list[str]) -> None:
    """Uptake is positive here; ECLand's sign follows its switches, so it is told from values."""
    if "aco2gpp" not in variables:
        return
    values = variables["aco2gpp"]
    last = values.sizes["time"] - 1
    picks = np.unique(np.linspace(0, last, 64).astype(int))
    if float(np.nansum(values.isel(time=picks).to_numpy())) < 0.0:
        variables["aco2gpp"] = (-values).assign_attrs(values.attrs)
        notes.append("aco2gpp with its sign turned, uptake positive")
