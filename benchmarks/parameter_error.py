"""How far the theta_cap with which a model does best lies from ECLand's, on withheld columns.

    python benchmarks/parameter_error.py [MODEL] [--factors 0,0.5,1,2,3] [--write]

The 80 columns that training withholds from `ecland_train_wide_{0..3}.nc`, each place with its own
theta_cap; a year observed as in `calibration_field_capacity.py`, swvl1 alone and with slhf. The
likelihood is tabulated by 160 runs of each column, averaged over the error of theta_cap
(`calibration.effective`), and scored by the logarithm of the posterior's density at the true value
over the prior's, mean over columns and both choices of observations: for each factor on the error
of the observables by lead and lag (`errors.nc`), and each error of theta_cap, as a share of its
range. `--write` puts the best error at factor 1 into the model's `errors.nc`. Prints JSON.
"""

import argparse
import json
import os
from pathlib import Path

import numpy as np
from calibration_field_capacity import problem_for, truth
from jaxtyping import Float
from scipy.special import ndtr

from calibration.effective import density
from calibration.priors import field_capacity_range
from calibration.problem import Problem
from hybrid_land.columns import parameters_from
from hybrid_land.devices import use_cores
from hybrid_land.evaluation.error_covariance import ForecastErrors, load_errors, save_errors
from hybrid_land.models.store import describe_model, load_model, model_directory
from hybrid_land.training.config import TrainingConfig

ROOT = Path(__file__).resolve().parents[1]
OBSERVED = (["swvl1"], ["swvl1", "slhf"])
Z = np.linspace(-3.5, 3.5, 160, dtype=np.float32)
U = (np.arange(400) + 0.5) / 400
ERRORS = (0.0, 0.04, 0.06, 0.08, 0.09, 0.1, 0.11, 0.12, 0.13, 0.14, 0.16, 0.2)


def likelihood(problem: Problem) -> Float[np.ndarray, "share column"]:
    """Of the effective value at `U`, one at its largest."""
    misfit = problem.misfit(np.broadcast_to(Z[:, None, None], (len(Z), 1, problem.count)))
    misfit = np.where(np.isfinite(misfit), misfit - np.nanmin(misfit, axis=0), 1e4)
    return np.exp(-np.stack([np.interp(U, ndtr(Z), column) for column in misfit.T], axis=1))


def scores(
    likelihood: Float[np.ndarray, "share column"], true: Float[np.ndarray, " column"]
) -> list[dict[str, float]]:
    """What the posterior says of the true values, for each of `ERRORS`.

    The mean of the logarithm of posterior over prior there, and the share within the central 90%.
    """
    found = []
    for error in ERRORS:
        posterior = likelihood
        if error > 0.0:
            weight = np.asarray(density(U[:, None], U[None], np.asarray(error)))
            posterior = (weight / weight.sum(axis=1, keepdims=True)) @ likelihood
        posterior = posterior / posterior.sum(axis=0)
        below = posterior.cumsum(axis=0) - 0.5 * posterior
        columns = range(len(true))
        at = np.array([np.interp(true[c], U, posterior[:, c]) for c in columns])
        rank = np.array([np.interp(true[c], U, below[:, c]) for c in columns])
        found.append(
            {
                "error": error,
                "score": float(np.log(U.size * at + 1e-6).mean()),
                "coverage_90": float((np.abs(rank - 0.5) < 0.45).mean()),
            }
        )
    return found


def main() -> None:
    """Parse the command line, run the model, score, and write where asked."""
    home = Path(os.environ.get("HYBRID_LAND_DATA", ROOT.parent / "shared" / "data")) / "ecland"
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", default="default")
    parser.add_argument("--factors", default="0,0.5,1,2,3")
    parser.add_argument("--write", action="store_true", help="into the model's errors.nc")
    options = parser.parse_args()
    use_cores()
    model = load_model(options.model)
    config = TrainingConfig.model_validate(describe_model(options.model).get("config", {}))
    data = truth(home, "withheld", config)
    low, high = map(np.asarray, field_capacity_range(parameters_from(data)))
    true = (data["clim_theta_cap"].to_numpy() - low) / (high - low)
    result, best = {}, {}
    for factor in map(float, options.factors.split(",")):
        rows = {}
        for observed in OBSERVED:
            problem = problem_for(model, options.model, data, observed, factor)
            rows[",".join(observed)] = scores(likelihood(problem), true)
        mean = np.mean([[row["score"] for row in found] for found in rows.values()], axis=0)
        best[factor] = ERRORS[int(mean.argmax())]
        result[f"factor {factor:g}"] = rows | {
            "score without": float(mean[0]),
            "best": {"error": best[factor], "score": float(mean.max())},
        }
    if options.write:
        known = load_errors(options.model)
        table = known.table.drop_vars(["parameter", "parameter_error"], errors="ignore")
        table["parameter_error"] = ("parameter", np.array([best[1.0]]))
        table = table.assign_coords(parameter=["theta_cap"])
        table["parameter_error"].attrs = {
            "long_name": "error of the value with which the model does best, share of its range",
            "units": "1",
        }
        result["file"] = str(save_errors(ForecastErrors(table), model_directory(options.model)))
    print(json.dumps({"columns": int(true.size)} | result, indent=1))


if __name__ == "__main__":
    main()
