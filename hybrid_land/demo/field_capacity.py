"""Third question: which field capacity did ECLand run with, judging by its soil moisture?"""

from pathlib import Path

import jax
import numpy as np
import xarray as xr

from assimilation import make_observations, read_observations
from calibration import calibrate, save_posterior, summary
from calibration.checks.identifiability import identifiability
from calibration.checks.loo import loo
from calibration.checks.plots import identifiability_figure
from calibration.checks.predictive import predictive, unconstrained
from calibration.covariance import Errors
from calibration.experiment import land_problem
from calibration.posterior import INTERVAL
from calibration.problem import Problem
from hybrid_land.data import flatten_members, save
from hybrid_land.demo.part import Part, Say
from hybrid_land.figures import paper_style, place, save_figure
from hybrid_land.interface import Model
from hybrid_land.report import Headline, Picture, Section
from hybrid_land.report.figures import calibration_figure
from hybrid_land.report.words import calibration_findings

_MEMBERS = (1, 7)  # of nine: a low and a high value
_RECORDS = 730  # half a year from the first state, the only whole one of these runs
_EVERY = 12  # records: three days
_NOISE = {"swvl1": 0.02, "swvl2": 0.02}  # m3 m-3, probes in the two upper layers
_WARMUP, _DRAWS = 20, 100
_DEPTH = 1  # one parameter: short trajectories are the cheapest for their worth
_EACH = 4  # of as many draws one is checked, at a quarter of the time
_SEED = 3


def field_capacity(model: Model, runs: xr.Dataset, *, errors: Errors, out: Path, say: Say) -> Part:
    """Estimate theta_cap of ECLand's own runs from noisy soil moisture of two layers, by NUTS.

    The data that the estimate sees name another theta_cap: the prior depends on the wilting point
    and on what a layer can hold, never on the true value.

    Args:
        model: the emulator.
        runs: ECLand, dims `(time, member, column)`.
        errors: the model's own.
        out: folder for `calibration_observations.nc`, `posterior.nc` and the figures.
        say: told what goes on.
    """
    say("observing ECLand")
    chosen = runs.isel(member=list(_MEMBERS), time=slice(0, _RECORDS))
    truth = flatten_members(chosen)
    true = truth["clim_theta_cap"].to_numpy().astype(float)
    observed = make_observations(truth, errors=_NOISE, every=_EVERY, seed=_SEED)
    save(observed, out / "calibration_observations.nc")
    blind = truth.assign(clim_theta_cap=truth["clim_theta_cap"] * 0.0 + float(true.mean()))
    seen = read_observations(observed, blind)
    say("compiling")
    posterior = calibrate(
        model,
        blind,
        seen,
        errors=errors,
        parameters=("theta_cap",),
        warmup=_WARMUP,
        draws=_DRAWS,
        max_tree_depth=_DEPTH,
        seed=_SEED,
        progress=lambda done, total: say(f"transition {done} of {total}"),
    )
    save_posterior(posterior, out / "posterior.nc")
    found = summary(posterior)
    draws = posterior["posterior"]["theta_cap"].stack(sample=("chain", "draw"))
    prior = posterior["prior"]["theta_cap"].stack(sample=("chain", "draw"))
    metrics = _metrics(found, draws.to_numpy().T, prior.to_numpy().T, true)
    say("checking the posterior")
    problem = land_problem(model, blind, seen, parameters=("theta_cap",), errors=errors)
    metrics["checks"] = _checks(problem, unconstrained(posterior)[:, ::_EACH])
    profiles, _ = identifiability(problem, key=jax.random.key(_SEED))
    metrics["checks"]["spread_left"] = profiles["spread_left"].to_numpy()[0].tolist()
    labels = [place(truth, i) for i in range(len(true))]
    with paper_style():
        figure = calibration_figure(
            draws=draws.to_numpy().T,
            prior=prior.to_numpy().T,
            truth=true,
            labels=labels,
            interval=INTERVAL,
        )
        save_figure(figure, out / "calibration.png")
        save_figure(identifiability_figure(profiles), out / "identifiability.png")
    return Part(metrics, _section(metrics, out), _headline(metrics))


def _metrics(found: dict, draws: np.ndarray, prior: np.ndarray, true: np.ndarray) -> dict:
    row = found["theta_cap"]
    inside = (np.array(row["low"]) <= true) & (true <= np.array(row["high"]))
    return {
        "interval": INTERVAL,
        "inside": int(inside.sum()),
        "columns": len(true),
        "rmse": float(np.sqrt(np.mean((draws.mean(axis=0) - true) ** 2))),
        "prior_rmse": float(np.sqrt(np.mean((prior.mean(axis=0) - true) ** 2))),
        "width_ratio": float(np.mean(draws.std(axis=0) / prior.std(axis=0))),
        "max_rhat": float(np.max(row["rhat"])),
        "min_ess": float(np.min(row["ess"])),
        "divergences": found["divergences"],
        "true": true.tolist(),
        "mean": row["mean"],
        "low": row["low"],
        "high": row["high"],
    }


def _checks(problem: Problem, z: np.ndarray) -> dict:
    """How the observations lie within the predictions, and which of them decide the posterior."""
    made, _ = predictive(problem, z.reshape(-1, *z.shape[2:]), key=jax.random.key(_SEED))
    left_out, _ = loo(problem, z)
    seen = np.isfinite(made["observed"])
    return {
        "observations": int(seen.sum()),
        "covered": float(made["inside"].sum() / seen.sum()),
        "largest_k": float(left_out["pareto_k"].fillna(0.0).max()),
        "unsure": left_out.attrs["unsure"],
    }


def _section(metrics: dict, out: Path) -> Section:
    days = _RECORDS // 4
    return Section(
        key="calibration",
        title="Which field capacity do the observations support?",
        question="Can ECLand's theta_cap be read from its own soil moisture?",
        method=(
            f"ECLand ran with {len(_MEMBERS)} values of theta_cap at "
            f"{metrics['columns'] // len(_MEMBERS)} places. Its {' and '.join(_NOISE)} were "
            f"observed every {_EVERY // 4} days for {days} days with noise of "
            f"{_NOISE['swvl1']:g} m³ m⁻³, as by probes. NUTS drew four chains from the "
            "posterior of each column's theta_cap, with the gradient through the emulator's "
            "rollout and the emulator's own error, as its validation measured it: of soil "
            "moisture by lead and lag, and of the theta_cap with which it does best about "
            "ECLand's. The prior is uniform between bounds from wilting point and "
            "saturation; the first state is given."
        ),
        findings=calibration_findings(metrics),
        pictures=[
            Picture(
                out / "calibration.png",
                "Where the blue bar is as long as the grey one, the observations say nothing; "
                "where it is short and holds the diamond, they found the value.",
                "Posterior of theta_cap beside the true value",
            ),
            Picture(
                out / "identifiability.png",
                "Left, how the misfit rises as theta_cap moves away from its best value in some of "
                "the columns: the dashed curve is the prior's, and where a column's is as flat, "
                "its observations see nothing. Right, what they leave of the prior's spread in "
                "each column.",
                "Profiles of theta_cap and the spread that the observations leave",
            ),
        ],
    )


def _headline(metrics: dict) -> Headline:
    return Headline(
        f"{metrics['inside']} of {metrics['columns']}",
        f"true values of theta_cap inside the {100 * INTERVAL:.0f}% interval",
        calibration_findings(metrics)[0].verdict,
        "calibration",
    )
