"""Second question: does 4D-Var of surface soil moisture move the unobserved root zone?"""

from pathlib import Path

import numpy as np
import xarray as xr

from assimilation import assimilate, make_observations, read_observations
from hybrid_land.data import save
from hybrid_land.demo.part import Part, Say
from hybrid_land.figures import paper_style, place, save_figure
from hybrid_land.interface import Model
from hybrid_land.report import Headline, Picture, Section
from hybrid_land.report.figures import assimilation_figure, improvement_figure, root_zone
from hybrid_land.report.words import assimilation_findings
from hybrid_land.simulation import simulate
from hybrid_land.variables import SOIL_WATER

_BEGIN = 600  # record of the sample: 31 May, when most columns are free of frost
_WINDOW_DAYS = 60.0
_NOISE = 0.03  # m3 m-3, near what SMAP and SMOS aim at (0.04)
_EVERY = 4  # records between observations: one a day
_WRONG = 0.06  # m3 m-3: one standard deviation of the default background error
_MARGIN = 0.01  # m3 m-3 that the first guess stays inside the bounds
_SEED = 1
_SHOWN = 3


def surface_to_root(model: Model, ecland: xr.Dataset, *, out: Path, say: Say) -> Part:
    """A twin experiment whose truth is ECLand, never the emulator.

    ECLand's surface soil moisture is observed with noise once a day over a window. The first
    guess is too wet or too dry by a background standard deviation in all layers. The analysis is
    compared with ECLand's root zone over the window and over a forecast as long after it.

    Args:
        model: the emulator.
        ecland: columns that the model was not trained on.
        out: folder for `observations.nc`, `first_guess.nc`, `analysis.nc` and the figures.
        say: told what goes on.
    """
    say("observing ECLand")
    steps = round(_WINDOW_DAYS * 86400.0 / model.time_step)
    truth = frost_free(ecland.isel(time=slice(_BEGIN, _BEGIN + 2 * steps)))
    window = truth.isel(time=slice(0, steps))
    observed = make_observations(window, errors={"swvl1": _NOISE}, every=_EVERY, seed=_SEED)
    save(observed, out / "observations.nc")
    guess = wrong_first_guess(window.isel(time=0, drop=True)[list(model.prognostic)], window)
    save(guess, out / "first_guess.nc")
    say("minimising the cost in every column")
    analysis = assimilate(
        model,
        window,
        read_observations(observed, window),
        first_guess=guess,
        window_days=_WINDOW_DAYS,
        truth=window,
    )
    save(analysis, out / "analysis.nc")
    say("forecasting from the first guess and from the analysis")
    start = guess.copy()
    for name in SOIL_WATER:
        start[name] = analysis[name].isel(time=0, drop=True)
    runs = {
        "first_guess": simulate(model, truth, initial=guess),
        "analysis": simulate(model, truth, initial=start),
    }
    metrics, columns = _scores(truth, runs, analysis, steps)
    metrics |= {"observations": int(analysis.attrs["observations"]), "noise": _NOISE}
    labels = [place(truth, i) for i in range(truth.sizes["column"])]
    shown = np.argsort(-columns["first_guess"])[:_SHOWN]
    with paper_style():
        series = assimilation_figure(
            truth=truth,
            first_guess=runs["first_guess"],
            analysis=runs["analysis"],
            observations=observed,
            columns=sorted(int(i) for i in shown),
            error=analysis["root_zone_soil_moisture_analysis_error"],
        )
        save_figure(series, out / "assimilation.png")
        change = improvement_figure(
            first_guess=columns["first_guess"], analysis=columns["analysis"], labels=labels
        )
        save_figure(change, out / "assimilation_columns.png")
    return Part(metrics, _section(metrics, out), _headline(metrics))


def frost_free(data: xr.Dataset) -> xr.Dataset:
    """The columns without snow and with unfrozen ground throughout, where soil moisture is seen."""
    warm = ((data["stl1"] > 275.0) & (data["sd"] < 0.01)).all("time").to_numpy()
    return data.isel(column=np.flatnonzero(warm))


def wrong_first_guess(state: xr.Dataset, data: xr.Dataset) -> xr.Dataset:
    """`state` too wet in even columns and too dry in odd ones, the other way at a bound."""
    upper = data["clim_theta_max"].to_numpy() - _MARGIN
    sign = np.where(np.arange(state.sizes["column"]) % 2 == 0, 1.0, -1.0)
    guess = state.copy()
    for name in SOIL_WATER:
        value = state[name].to_numpy()
        moved = value + sign * _WRONG
        moved = np.where((moved > upper) | (moved < _MARGIN), value - sign * _WRONG, moved)
        guess[name] = state[name].copy(data=np.clip(moved, _MARGIN, upper).astype(np.float32))
    return guess


def _scores(
    truth: xr.Dataset, runs: dict[str, xr.Dataset], analysis: xr.Dataset, steps: int
) -> tuple[dict, dict[str, np.ndarray]]:
    """Errors over window and forecast, pooled over columns, and of each column in the window."""
    parts = {"window": slice(0, steps), "forecast": slice(steps, None)}

    def error(run: xr.Dataset, part: str) -> xr.DataArray:
        square = (root_zone(run) - root_zone(truth)).isel(time=parts[part]) ** 2
        return square.mean("time") ** 0.5

    def pooled(part: str) -> dict[str, float]:
        return {key: float(np.sqrt((error(run, part) ** 2).mean())) for key, run in runs.items()}

    surface = {
        key: float(np.sqrt(((run.swvl1 - truth.swvl1).isel(time=parts["window"]) ** 2).mean()))
        for key, run in runs.items()
    }
    columns = {key: error(run, "window").to_numpy() for key, run in runs.items()}
    miss = np.abs(
        analysis["root_zone_soil_moisture"].to_numpy()
        - root_zone(truth).isel(time=parts["window"]).transpose("time", "column").to_numpy()
    )
    spread = analysis["root_zone_soil_moisture_analysis_error"].to_numpy()
    metrics = {
        "columns": int(truth.sizes["column"]),
        "columns_improved": int((columns["analysis"] < columns["first_guess"]).sum()),
        "root_zone_rmse": pooled("window"),
        "forecast_rmse": pooled("forecast"),
        "surface_rmse": surface,
        "covered": float((miss <= 2.0 * spread).mean()),
        "root_zone_rmse_by_column": {key: x.tolist() for key, x in columns.items()},
    }
    return metrics, columns


def _section(metrics: dict, out: Path) -> Section:
    return Section(
        key="assimilation",
        title="Surface soil moisture moves the root zone",
        question="Can sparse, noisy observations of the top 7 cm correct the first metre?",
        method=(
            f"ECLand's own surface soil moisture was observed once a day for {_WINDOW_DAYS:.0f} "
            f"days with noise of {_NOISE:g} m³ m⁻³ ({metrics['observations']} observations in "
            f"{metrics['columns']} columns without frost). The first guess is too wet or too dry "
            f"by {_WRONG:g} m³ m⁻³ in every layer. 4D-Var changes the four layers at the window's "
            "start so that the emulator's trajectory explains the observations, with exact "
            "derivatives through the rollout. The root zone is never observed, and the truth "
            "is ECLand: what the emulator gets wrong counts against the analysis."
        ),
        findings=assimilation_findings(metrics),
        pictures=[
            Picture(
                out / "assimilation.png",
                "Top: the observed surface. Bottom: the root zone, with a band of two analysis "
                "errors. After the window (shaded) both runs go on without observations. The "
                "columns are those with the worst first guess.",
                "Assimilation and forecast",
            ),
            Picture(
                out / "assimilation_columns.png",
                "The line of each column runs from the error of the first guess to that of the "
                "analysis; left is better.",
                "Root-zone error of every column",
            ),
        ],
    )


def _headline(metrics: dict) -> Headline:
    root = metrics["root_zone_rmse"]
    change = 100.0 * (root["analysis"] / root["first_guess"] - 1.0)
    return Headline(
        f"{change:+.0f}%".replace("-", "\N{MINUS SIGN}"),
        "error of the unobserved root zone after 4D-Var of the surface",
        assimilation_findings(metrics)[0].verdict,
        "assimilation",
    )
