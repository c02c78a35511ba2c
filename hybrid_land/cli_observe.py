"""The command line's part for satellite files: screened, collocated, rescaled observations."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hybrid_land.cli_ensemble import AsJson
from hybrid_land.errors import InputError

if TYPE_CHECKING:
    import xarray as xr

# Without a name its command stands beside those of the application it is added to.
observe_app = typer.Typer()

RESCALINGS = ("cdf", "linear", "regression", "none")


@observe_app.command("observe")
def observe_command(
    sources: Annotated[
        list[str],
        typer.Argument(metavar="SOURCE...", help="Files or folders of one product."),
    ],
    data: Annotated[
        str, typer.Option("--data", help="ECLand data whose columns and time are observed.")
    ],
    out: Annotated[Path, typer.Option("--out", help="NetCDF file to write.")],
    product: Annotated[
        str, typer.Option(help="smap, smos, ascat, cci or era5-land; else found by the variables.")
    ] = "",
    overpass: Annotated[
        str, typer.Option(help="all, ascending, descending, night or day.")
    ] = "all",
    quality: Annotated[
        str, typer.Option(help="recommended, or retrieved: also what the provider advises against.")
    ] = "recommended",
    error: Annotated[
        float | None, typer.Option(help="Standard deviation, m3 m-3, in place of the product's.")
    ] = None,
    porosity: Annotated[
        float | None, typer.Option(help="For ASCAT, m3 m-3; else DATA's clim_theta_max.")
    ] = None,
    name: Annotated[str, typer.Option("--variable", help="What is observed.")] = "swvl1",
    times: Annotated[
        str, typer.Option(help="observation: as measured; data: on DATA's records.")
    ] = "observation",
    max_distance: Annotated[float, typer.Option(help="From column to location, km.")] = 26.0,
    skip_missing: Annotated[
        bool, typer.Option("--skip-missing", help="Leave columns without a location empty.")
    ] = False,
    frozen_by: Annotated[
        str, typer.Option(help="Whose stl1 and sd screen too: data, none, or a file.")
    ] = "data",
    rescale: Annotated[str, typer.Option(help="cdf, linear, regression or none.")] = "none",
    reference: Annotated[
        str, typer.Option(help="To rescale to: data or ERA5-Land's file; else DATA.")
    ] = "",
    fit_period: Annotated[
        str, typer.Option(help="2017 or 2015-04:2017-12; else all that both have.")
    ] = "",
    window_months: Annotated[
        int | None, typer.Option(help="Months (odd) around each month of a seasonal fit.")
    ] = None,
    skip_few: Annotated[
        bool, typer.Option("--skip-few", help="Leave what cannot be fitted empty.")
    ] = False,
    rescaling: Annotated[
        Path | None, typer.Option(help="Apply this fit, saved before, instead of a new one.")
    ] = None,
    save_rescaling: Annotated[
        Path | None, typer.Option(help="NetCDF file to write the fit to.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make observations of DATA's columns from satellite files: screened, rescaled, in m3 m-3."""
    from assimilation.bias import fit_rescaling, load_rescaling
    from assimilation.satellite import cut_to, observe, read_satellite, screen_frozen
    from hybrid_land.cli import answer, open_data
    from hybrid_land.data import save
    from hybrid_land.data.files import require_writable

    require_writable(out)
    if save_rescaling is not None:
        require_writable(save_rescaling)
    if rescale not in RESCALINGS:
        raise InputError(f"--rescale {rescale} is not known, expected {', '.join(RESCALINGS)}")
    if rescaling is not None and rescale != "none":
        raise InputError("--rescaling and --rescale are both given, expected one; remove one")
    if rescale == "none" and (save_rescaling or fit_period or reference or window_months):
        raise InputError(
            "an option of the rescaling without --rescale, expected --rescale cdf, linear or "
            "regression; add it"
        )
    model = open_data(data, required=("lat", "lon"))
    found = read_satellite(
        sources,
        product=product or None,
        overpass=overpass,
        quality=quality,
        error=error,
        porosity=model if porosity is None else porosity,
        max_distance_km=max_distance,
    )
    if frozen_by == "data":
        if "stl1" in model or "sd" in model:
            found = screen_frozen(found, model, max_distance_km=max_distance)
    elif frozen_by != "none":
        found = screen_frozen(found, _model_values(frozen_by), max_distance_km=max_distance)
    observed = observe(
        found,
        model,
        name=name,
        times=times,
        max_distance_km=max_distance,
        skip_missing=skip_missing,
    )
    fit = None
    if rescale != "none":
        climate = model
        if reference:
            climate = _on_columns(_model_values(reference), model, max_distance)
        fit = fit_rescaling(
            _cut(observed, fit_period),
            _cut(climate, fit_period),
            method=rescale,
            name=name,
            reference_name=name if name in climate else "swvl1",
            window_months=window_months,
            skip_few=skip_few or skip_missing,
        )
    elif rescaling is not None:
        fit = load_rescaling(rescaling)
    if fit is not None:
        observed = fit.apply(observed)
    observed = cut_to(observed, model)
    if not bool(observed[name].notnull().any()):
        raise InputError(
            "no observation left after rescaling, expected at least one; fit on a longer period"
        )
    save(observed, out)
    if fit is not None and save_rescaling is not None:
        fit.save(save_rescaling)
    counts = {
        "columns": observed.sizes["column"],
        "times": observed.sizes["time"],
        "observations": int(observed[name].notnull().sum()),
    }
    words = f"{out}: " + ", ".join(f"{count} {what}" for what, count in counts.items())
    details = "\n".join(f"{key}: {value}" for key, value in observed.attrs.items())
    answer(
        {"out": str(out), **counts, **observed.attrs}, as_json=as_json, words=f"{words}\n{details}"
    )


def _model_values(source: str) -> "xr.Dataset":
    """Data of any form, or a provider's file of ERA5-Land, with dims `(time, column)`."""
    from assimilation.satellite import read_era5_land
    from hybrid_land.cli import open_data
    from hybrid_land.data.netcdf import open_netcdf

    if Path(source).is_file() and {"location_id", "swvl1"} <= set(open_netcdf(source).variables):
        return read_era5_land(source)
    return open_data(source, required=("lat", "lon"))


def _on_columns(climate: "xr.Dataset", model: "xr.Dataset", max_distance: float) -> "xr.Dataset":
    """The nearest columns of a reference, in the order of the model's."""
    from assimilation.satellite.places import nearest

    lat, lon = model["lat"].to_numpy(), model["lon"].to_numpy()
    index, distance = nearest(
        lat, lon, climate["lat"].to_numpy(), climate["lon"].to_numpy(), max_distance_km=max_distance
    )
    if (index < 0).any():
        column = int((index < 0).argmax())
        raise InputError(
            f"column {column} at {lat[column]:.3f} N, {lon[column]:.3f} E: the reference's nearest "
            f"point is {distance[column]:.0f} km away, expected at most {max_distance:g}; give a "
            "reference of the same region"
        )
    return climate.isel(column=index)


def _cut(values: "xr.Dataset", period: str) -> "xr.Dataset":
    """Values of a period `2017` or `2015-04:2017-12`, both ends whole."""
    if not period:
        return values
    begin, _, end = period.partition(":")
    try:
        part = values.sortby("time").sel(time=slice(begin or None, (end or begin) or None))
    except (TypeError, ValueError) as error:
        raise InputError(
            f"--fit-period {period!r} is no period, expected dates such as 2017 or "
            "2015-04:2017-12; correct it"
        ) from error
    if not part.sizes["time"]:
        first, last = (str(values["time"].to_numpy()[i].astype("datetime64[D]")) for i in (0, -1))
        raise InputError(
            f"--fit-period {period}: nothing in it, expected a part of {first} to {last}; "
            "correct it"
        )
    return part
