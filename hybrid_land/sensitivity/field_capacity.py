"""Does a model answer to field capacity as ECLand does? ECLand rerun with theta_cap alone changed.

At each place the answer is the change of a variable's mean over the run across the values of
theta_cap, each run from the state that ECLand's own spin-up with that value ended in. So part of
ECLand's answer is handed to every model with the first state: `first_state`, which holds soil
water at it, stands in the table to show how much.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float

from hybrid_land.data import flatten_members
from hybrid_land.errors import InputError
from hybrid_land.interface import Model
from hybrid_land.simulation import simulate
from hybrid_land.variables import LATENT_HEAT_VAPORISATION, SOIL_WATER, VARIABLES

TRUTH, FIRST_STATE, SPUN_UP = "ecland", "first_state", "_spun_up"
COMPARED = (*SOIL_WATER, "e", "slhf", "sro", "ssro")
# Answers over the whole range of theta_cap below which a sign means little, set before any model
# was compared: the soil-moisture resolution of a good probe; 2.5 mm a year is 0.2 W m-2.
NOISE = dict.fromkeys(SOIL_WATER, 1e-3) | {"slhf": 0.2, "e": 2.5, "sro": 2.5, "ssro": 2.5}
GOAL_SLOPE, GOAL_CORRELATION = 0.1, 0.95
_YEAR = 365.2422 * 86400.0
_SHOWN = ("skt",)  # not judged; its mean answer helps to check the reading

Means = Float[np.ndarray, "year member column"]


def compare_field_capacity(
    models: Mapping[str, Model],
    runs: xr.Dataset,
    *,
    spin_up: int = 0,
    report: Callable[[str], None] | None = None,
) -> xr.Dataset:
    """Roll each model out with ECLand's values of theta_cap and take the means over the run.

    Args:
        models: by name; anything with the `step` interface.
        runs: ECLand, dims `(time, member, column)`, with `theta_cap` `(member, column)`.
        spin_up: more than 0 adds for each model a run `<name>_spun_up` that is handed nothing of
            ECLand's answer: all values of theta_cap start from the middle one's first state, and
            the run's weather is repeated so often before the run that counts.
        report: told what goes on.

    Returns:
        `theta_cap` and, for each variable that the file has, the annual means, dims `(run, year,
        member, column)`, run `ecland`, `first_state` and the models'; a run of less than a year
        is one block. Amounts are per year. Where the file lacks `e` it is `slhf` over the latent
        heat of vaporisation for ECLand (right but for sublimation), and the model's own for a
        model.

    Raises:
        InputError: if `runs` has no dim `member`, or a model is named like another run.
    """
    say = report or (lambda sentence: None)
    if "member" not in runs.dims or "theta_cap" not in runs:
        raise InputError(
            f"runs with dims {', '.join(map(str, runs.dims))}, expected a dim member and the "
            "variable theta_cap on it; give ecland_theta_cap.nc or the sample theta_cap"
        )
    if {TRUTH, FIRST_STATE} & set(models):
        raise InputError(
            f"a model is named {TRUTH} or {FIRST_STATE}, expected another name; rename it"
        )
    flat = flatten_members(runs)
    names = [name for name in (*COMPARED, *_SHOWN) if name in flat or name == "e"]
    found = {TRUTH: _means(flat, runs, names), FIRST_STATE: _first(flat, runs, names)}
    for key, model in models.items():
        say(f"running {key}: {flat.sizes['column']} columns, {flat.sizes['time']} steps")
        found[key] = _means(simulate(model, flat), runs, names)
        if spin_up > 0:
            say(f"running {key} after {spin_up} runs of its own")
            found[f"{key}{SPUN_UP}"] = _means(_spun_up(model, flat, runs, spin_up), runs, names)
    labels = runs["column"].to_numpy() if "column" in runs.coords else range(runs.sizes["column"])
    result = xr.Dataset(
        coords={"run": list(found), "column": ("column", list(labels))},
        attrs={
            "title": "Means over the run for each value of theta_cap",
            "Conventions": "CF-1.8",
        },
    )
    for name in ("lat", "lon", "climate_index"):
        if name in runs:
            result = result.assign_coords({name: ("column", runs[name].to_numpy())})
    result["theta_cap"] = (
        ("member", "column"),
        runs["theta_cap"].transpose("member", "column").to_numpy(),
        {"units": "m3 m-3", "long_name": VARIABLES["clim_theta_cap"].long_name},
    )
    for name in names:
        row = VARIABLES[name]
        result[name] = (
            ("run", "year", "member", "column"),
            np.stack([found[key][name] for key in found]),
            {
                "units": f"{row.units} a-1" if row.kind == "amount" else row.units,
                "long_name": f"mean over time of {row.long_name.replace(' over the step', '')}",
            },
        )
    return result


def _step(runs: xr.Dataset) -> float:
    return float((runs.time[1] - runs.time[0]) / np.timedelta64(1, "s"))


def _spun_up(model: Model, flat: xr.Dataset, runs: xr.Dataset, times: int) -> xr.Dataset:
    """The run after `times` runs of the same weather, all from the middle value's first state."""
    members, columns = runs.sizes["member"], runs.sizes["column"]
    same = np.tile(members // 2 * columns + np.arange(columns), members)
    names = list(model.prognostic)
    initial = (
        flat[names]
        .isel(time=0, column=same, drop=True)
        .drop_vars(["column", "member", "base_column"], errors="ignore")
    )
    for _ in range(times):
        initial = simulate(model, flat, initial=initial)[names].isel(time=-1, drop=True)
    return simulate(model, flat, initial=initial)


def _annual(values: np.ndarray, runs: xr.Dataset) -> Means:
    """Means over whole years, from `[time, member * column]`."""
    steps = round(365 * 86400.0 / _step(runs))
    years = max(len(values) // steps, 1)
    means = [block.mean(axis=0, dtype=np.float64) for block in np.array_split(values, years)]
    return np.stack(means).reshape(years, runs.sizes["member"], runs.sizes["column"])


def _means(flat: xr.Dataset, runs: xr.Dataset, names: list[str]) -> dict[str, Means]:
    means = {}
    for name in names:
        source = "slhf" if name == "e" and "e" not in flat else name
        values = _annual(flat[source].transpose("time", "column").to_numpy(), runs)
        if name == "e" and source == "slhf":
            values = values * _YEAR / LATENT_HEAT_VAPORISATION
        elif VARIABLES[name].kind == "amount":
            values = values * _YEAR / _step(runs)
        means[name] = values
    return means


def _first(flat: xr.Dataset, runs: xr.Dataset, names: list[str]) -> dict[str, Means]:
    """Soil water of the first record; nothing is known of the fluxes."""
    held = {}
    for name in names:
        first = flat[name if name in SOIL_WATER else "swvl1"].to_numpy()[:1]
        series = np.broadcast_to(first, (flat.sizes["time"], first.shape[1]))
        held[name] = _annual(series if name in SOIL_WATER else series * np.nan, runs)
    return held


def of_year(result: xr.Dataset, year: int | None) -> xr.Dataset:
    """The means of one year, or over all of them."""
    with xr.set_options(keep_attrs=True):
        return result.mean("year") if year is None else result.isel(year=year)


def answers(result: xr.Dataset, *, year: int | None = None) -> xr.Dataset:
    """Per place: how each run answers, and how its answer goes with ECLand's.

    With x = theta_cap and y a run's means at one place, over the values of theta_cap:
    `<name>_slope` = cov(x, y) / var(x), per m3 m-3 of theta_cap; `<name>_regression` =
    cov(y_ecland, y) / var(y_ecland), 1 where the model's answer is ECLand's;
    `<name>_correlation` of y with y_ecland, NaN where one of them is constant; `<name>_range` =
    max(y) - min(y). Dims `(run, column)`. Of one year by position, or of the mean over years.
    """
    result = of_year(result, year)
    x = result["theta_cap"].to_numpy()
    dx = x - x.mean(axis=0)
    places = xr.Dataset(coords=result.coords)
    for name in (str(key) for key in result.data_vars if key != "theta_cap"):
        y = result[name].transpose("run", "member", "column").to_numpy()
        dy = y - y.mean(axis=1, keepdims=True)
        truth = dy[result["run"].to_numpy().tolist().index(TRUTH)]
        units = result[name].attrs["units"]
        with np.errstate(divide="ignore", invalid="ignore"):
            together = (truth * dy).sum(axis=1)
            rows = {
                "slope": ((dx * dy).sum(axis=1) / (dx**2).sum(axis=0), units),
                "regression": (together / (truth**2).sum(axis=0), "1"),
                "correlation": (
                    together / np.sqrt((truth**2).sum(axis=0) * (dy**2).sum(axis=1)),
                    "1",
                ),
                "range": (np.ptp(y, axis=1), units),
            }
        for key, (values, unit) in rows.items():
            values = np.where(np.isfinite(values), values, np.nan)
            long_name = f"{key} of the answer of {name} to theta_cap"
            places[f"{name}_{key}"] = (
                ("run", "column"),
                values,
                {"units": unit, "long_name": long_name},
            )
    return places


def summary(result: xr.Dataset, *, year: int | None = None) -> dict[str, Any]:
    """Over all places: how right the answers of each run are.

    Returns:
        Of one year by position, or of the mean over years. By variable, by run: `slope`, of the
        model's answers regressed on ECLand's over all places and values; `slope_within_10`, the
        share of places whose own regression lies within 10% of 1; `correlation`, the median
        over places, and `correlation_reached`, the share with at least 0.95; `sign_right`, the
        share of places whose slope has ECLand's sign; `slope_within_10_above_noise` and
        `sign_right_above_noise`, the same of the `places_above_noise` places where ECLand's
        answer is larger than `noise`; `mean_answer`, mean slope per unit of theta_cap. `ecland`
        has `mean_answer` and, per unit scale of theta_cap, `per_scale`, its least and largest.
    """
    places = answers(result, year=year)
    result = of_year(result, year)
    theta_cap = result["theta_cap"].to_numpy()
    middle = theta_cap[theta_cap.shape[0] // 2]
    table: dict[str, Any] = {}
    for name in (str(key) for key in result.data_vars if key != "theta_cap"):
        one = {key: places[f"{name}_{key}"] for key in ("slope", "regression", "correlation")}
        theirs = one["slope"].sel(run=TRUTH).to_numpy()
        noise = NOISE.get(name, np.nan)
        heard = places[f"{name}_range"].sel(run=TRUTH).to_numpy() > noise
        scaled = theirs * middle
        truth = _centred(result[name].sel(run=TRUTH))
        rows: dict[str, Any] = {
            TRUTH: {
                "mean_answer": float(theirs.mean()),
                "per_scale": float(scaled.mean()),
                "per_scale_least": float(scaled.min()),
                "per_scale_largest": float(scaled.max()),
            }
        }
        for run in (str(key) for key in result["run"].to_numpy() if key != TRUTH):
            ours = one["slope"].sel(run=run).to_numpy()
            if not np.isfinite(ours).any():
                continue
            regression = one["regression"].sel(run=run).to_numpy()
            correlation = one["correlation"].sel(run=run).to_numpy()
            right = np.sign(ours) == np.sign(theirs)
            rows[run] = {
                "slope": float((truth * _centred(result[name].sel(run=run))).sum())
                / max(float((truth**2).sum()), 1e-30),
                "slope_within_10": float(np.mean(np.abs(regression - 1.0) <= GOAL_SLOPE)),
                "slope_within_10_above_noise": _share(
                    np.abs(regression - 1.0) <= GOAL_SLOPE, heard
                ),
                "correlation": float(np.nanmedian(correlation)),
                "correlation_reached": float(np.mean(correlation >= GOAL_CORRELATION)),
                "sign_right": float(right.mean()),
                "sign_right_above_noise": _share(right, heard),
                "mean_answer": float(ours.mean()),
            }
        table[name] = {
            "units": result[name].attrs["units"],
            "noise": float(noise),
            "places": len(theirs),
            "places_above_noise": int(heard.sum()),
            "runs": rows,
        }
    return table


def _centred(values: xr.DataArray) -> np.ndarray:
    """Changes from each place's mean over the values of theta_cap."""
    y = values.transpose("member", "column").to_numpy()
    return y - y.mean(axis=0)


def _share(right: np.ndarray, among: np.ndarray) -> float:
    return float(right[among].mean()) if among.any() else float("nan")


def scoreboard(table: Mapping[str, Any]) -> str:
    """The summary as Markdown."""

    def percent(value: float) -> str:
        return f"{100 * value:.0f}%" if np.isfinite(value) else "-"

    lines = [
        "Change of means over the run with theta_cap alone, against ECLand's at the same places. "
        "Slope: of the model's changes regressed on ECLand's, over all places; within 10%: share "
        "of places whose own regression is; r: correlation over the values of theta_cap, median "
        "over places; last columns: only places where ECLand's answer over the range of "
        "theta_cap exceeds the noise. The run `first_state` holds soil water at the first state.",
        "",
        "| variable | unit | run | slope | within 10% | median r | r >= 0.95 | sign right | "
        "noise | places | within 10% | sign right | mean answer per m3 m-3 | ECLand's |",
        "|" + " --- |" * 14,
    ]
    for name, entry in table.items():
        truth = entry["runs"][TRUTH]
        for run, row in entry["runs"].items():
            if run == TRUTH or name in _SHOWN:
                continue
            lines.append(
                f"| {name} | {entry['units']} | {run} | {row['slope']:.2f} | "
                f"{percent(row['slope_within_10'])} | {row['correlation']:.3f} | "
                f"{percent(row['correlation_reached'])} | {percent(row['sign_right'])} | "
                f"{entry['noise']:g} | {entry['places_above_noise']} of {entry['places']} | "
                f"{percent(row['slope_within_10_above_noise'])} | "
                f"{percent(row['sign_right_above_noise'])} | {row['mean_answer']:.3g} | "
                f"{truth['mean_answer']:.3g} |"
            )
    lines += [
        "",
        "ECLand's own answer per unit scale of theta_cap, mean over places (least, largest), to "
        "check the reading:",
        "",
        "| variable | unit | answer |",
        "| --- | --- | --- |",
        *(
            f"| {name} | {entry['units']} | {entry['runs'][TRUTH]['per_scale']:.3g} "
            f"({entry['runs'][TRUTH]['per_scale_least']:.3g}, "
            f"{entry['runs'][TRUTH]['per_scale_largest']:.3g}) |"
            for name, entry in table.items()
        ),
    ]
    return "\n".join(lines) + "\n"
