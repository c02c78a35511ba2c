"""The course's experiment: Lorenz-96 learns its error from observations (Bocquet and Brajard).

    python benchmarks/model_error_lorenz96.py --seed S [--json] [--network products|course]
        [--method online|offline] [--cycles 5000] [--rounds 3] [--sweeps 100]

Truth, observations and the plain model are those of `assimilation.model_error.course`: half the
points observed at each of 5,000 times with a standard deviation of 0.2. The loop's first filter is
that of the plain model; each round learns a correction of the tendency from the observations of
the first 90%, and filters again. Analyses are of all 5,000 times, the first 1,000 left out, by the
filter and not the smoother. Forecasts start from true states 20 steps apart in the 5,000 steps
after the last observation; their RMSE is over points and starts, not divided by the root of two.

Networks: `products` has 433 weights (one convolution over 7 points into 3 x 16 channels, and their
products up to the third degree, which can express the truth's cubic term); `course` is the course's
(tanh, convolutions 40 x 7, 20 x 5, 20 x 1, 4,781 weights). `--method offline` is the course's own
recipe in rounds: the analysis increments are the labels, and the correction is added after a step.

Expected: course, filter of the plain model 0.199 and spread 0.205, forecasts after one unit of time
2.277 (model) and 0.958 (hybrid after one round); a plain repeat of the loop 0.807, with analyses of
0.141 and then 0.128; a network trained on the truth 0.507; a perfect model's filter 0.0345.
Goals, from observations alone in 20 minutes on 2 cores: analyses below 0.10, forecasts below 0.65.

With --json the last line is JSON: `analysis_rmse` by round (the first that of the plain model) and
`forecast_rmse` of model and hybrid after 0.25 and 1.0 units of time; beside them the spread, the
noise, the held-out score, the number of weights and the seconds.
"""

import argparse
import json
import sys
import time
from typing import Any

import jax
import numpy as np
from flax import nnx

from assimilation.lorenz96 import Lorenz96, together
from assimilation.model_error.course import (
    CYCLES,
    ERROR,
    SPIN_UP,
    Twin,
    analysis_rmse,
    forecast_rmse,
    make_twin,
)
from assimilation.model_error.hybrid import Hybrid, make_hybrid
from assimilation.model_error.loop import Learnt, Loop, Round, learn_error
from assimilation.model_error.networks import RingNetwork, weights_in
from assimilation.model_error.offline import Offline
from assimilation.model_error.online import Online

LEADS = {"0.25": 5, "1.0": 20}  # units of time, in steps
_SCALE = {"online": 2.0, "offline": 0.1}  # of the correction: of a rate, and of an increment


def untrained(twin: Twin, *, network: str, method: str, seed: int) -> Hybrid:
    """The plain model and a correction that is zero, normalised by the observations."""
    model = Lorenz96()
    values, mask = (
        np.asarray(together(getattr(twin.observations, part))) for part in ("values", "mask")
    )
    seen = values[mask > 0]
    products = network == "products"
    net = RingNetwork(
        names=model.prognostic,
        products=products,
        **({"layers": ((16, 7),)} if products else {}),
        mean=float(seen.mean()),
        spread=float(np.sqrt(seen.var() - ERROR**2)),
        scale=_SCALE[method],
        rngs=nnx.Rngs(params=seed),
    )
    return make_hybrid(model, net, form="tendency" if method == "online" else "resolvent")


def experiment(args: argparse.Namespace) -> dict[str, Any]:
    """Run the loop for a seed and score it against the truth."""
    begun, used = time.monotonic(), time.process_time()
    twin = make_twin(args.seed, cycles=args.cycles)
    hybrid = untrained(twin, network=args.network, method=args.method, seed=args.seed)
    spin_up = min(SPIN_UP, args.cycles // 5)
    settings = Loop(
        method=args.method,
        most=args.rounds,
        online=Online(sweeps=args.sweeps),
        offline=Offline(updates=args.updates),
    )
    rows: list[dict[str, float]] = []

    def report(number: int, found: Round) -> None:
        run = found.run
        error = analysis_rmse(run.analysis_mean, twin.truth, run.records, spin_up=spin_up)
        spread = np.sqrt(np.mean(np.asarray(run.analysis_spread[spin_up:]) ** 2))
        later = forecast_rmse(found.hybrid, twin.later)
        rows.append(
            {
                "analysis_rmse": error,
                "spread": float(spread),
                "noise": found.noise,
                "held_out": found.score,
                "forecast_1.0": float(later[LEADS["1.0"] - 1]),
                "seconds": time.monotonic() - begun,
                "processor_seconds": time.process_time() - used,
            }
        )
        told = "  ".join(f"{name} {value:.4g}" for name, value in rows[-1].items())
        print(f"round {number}: {told}", file=sys.stderr, flush=True)

    learnt: Learnt = learn_error(
        *(hybrid, {}, twin.members, twin.forcing, twin.observations),
        loop=settings,
        key=jax.random.key(args.seed),
        report=report,
    )
    scores = {}
    for name, model in (("model", Lorenz96()), ("hybrid", learnt.hybrid)):
        rmse = forecast_rmse(model, twin.later)
        scores[name] = {lead: float(rmse[steps - 1]) for lead, steps in LEADS.items()}
    return {
        "analysis_rmse": [row["analysis_rmse"] for row in rows],
        "forecast_rmse": scores,
        "best_round": learnt.best,
        "stopped_by_itself": learnt.stopped,
        "weights": weights_in(hybrid.correction),
        "rounds": rows,
        "seconds": time.monotonic() - begun,
        "processor_seconds": time.process_time() - used,
    }


def main() -> None:
    """Read options, run, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--network", choices=("products", "course"), default="products")
    parser.add_argument("--method", choices=("online", "offline"), default="online")
    parser.add_argument("--cycles", type=int, default=CYCLES)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sweeps", type=int, default=100)
    parser.add_argument("--updates", type=int, default=4000, help="of the offline method")
    args = parser.parse_args()
    found = experiment(args)
    if args.json:
        print(json.dumps(found))
        return
    print("| round | analysis RMSE | spread | noise | held-out innovations | forecast RMSE at 1 |")
    print("| --- | --- | --- | --- | --- | --- |")
    for number, row in enumerate(found["rounds"]):
        cells = [row[k] for k in ("analysis_rmse", "spread", "noise", "held_out", "forecast_1.0")]
        print(f"| {number} | " + " | ".join(f"{cell:.4f}" for cell in cells) + " |")
    for name, leads in found["forecast_rmse"].items():
        print(f"{name}: " + ", ".join(f"{rmse:.3f} after {lead}" for lead, rmse in leads.items()))
    print(f"{found['seconds']:.0f} s, {found['processor_seconds']:.0f} s of processor time")


if __name__ == "__main__":
    main()
