"""Sparse observations: a correction learnt as in Brajard et al. (2020), from fewer points.

    python benchmarks/model_error_sparse.py [--seed S] [--observed 30 20 12 8] [--json]

Truth: Lorenz-96, 40 points, F = 8; at each step (0.05) so many points, drawn anew each time, are
observed with a standard deviation of 1; N = 30 members. Brajard et al. learn the whole model from
nothing; here the model is the linear part of the truth, dx/dt = -x + F, and all that makes it
chaotic, the advection, is missing and learnt: a hybrid as in the rest of this package. The first
reanalysis has no model to speak of, so the first guess of the states is the observations
interpolated in time and along the ring (their section 3.3), and the loop starts from there.

Prints for each number of points: the analyses' RMSE, forecast skill (the time in Lyapunov times, of
1 / 1.67, until the normalised RMSE of forecasts from true states reaches 0.5), and the Lyapunov
spectrum of the hybrid: the number of positive exponents (13 of the truth), the first one (1.67) and
their sum; or that the filter diverged.

Expected (Brajard et al. 2020, abstract and section 5): skill up to two Lyapunov times, the positive
exponents retrieved, and skill that is lost abruptly below half of the points.
"""

import argparse
import json
import sys
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from assimilation.filters import Scheme, run_filter
from assimilation.lorenz96 import UNIT, Lorenz96, apart, names, no_weather, together
from assimilation.model_error.course import Twin, analysis_rmse, make_twin
from assimilation.model_error.hybrid import make_hybrid
from assimilation.model_error.networks import RingNetwork
from assimilation.model_error.online import Online, fit_online
from hybrid_land.errors import InputError
from hybrid_land.interface import Diagnostics, Forcing, Model, Parameters, State
from hybrid_land.rollout import rollout

ERROR, MEMBERS = 1.0, 30
FIRST_EXPONENT = 1.67  # of the truth, per unit of time
_SPREAD = 3.64  # of the truth over time
_SPIN_UP = 500


@jax.tree_util.register_static
class Decay(Lorenz96):
    """What is known of the model: dx/dt = -x + F."""

    def rates(
        self, parameters: Parameters, x: Float[Array, "point column"], forcing: Forcing
    ) -> Float[Array, "point column"]:
        """dx/dt for a unit of model time."""
        return self.forcing - x

    def step(
        self, parameters: Parameters, state: State, forcing: Forcing
    ) -> tuple[State, Diagnostics]:
        """The exact solution over a step."""
        kept = np.exp(-self.dt)
        return {n: self.forcing + kept * (x - self.forcing) for n, x in state.items()}, {}


def interpolated(twin: Twin) -> dict[str, Array]:
    """The observations smoothed over three points and seven records about each."""
    values, mask = (
        np.asarray(together(getattr(twin.observations, k)))[..., 0] for k in ("values", "mask")
    )
    top, bottom = np.zeros_like(values), np.full_like(values, 1e-6)
    for along in range(-1, 2):
        for later in range(-6, 7):
            weight = np.exp(-0.5 * (along / 0.5) ** 2 - 0.5 * (later / 2.0) ** 2)
            shifted = np.roll(mask, (along, later), (0, 1))
            top += weight * shifted * np.roll(values, (along, later), (0, 1))
            bottom += weight * shifted
    guess = (top + 1e-6 * 2.3) / bottom
    return apart(jnp.asarray(guess, jnp.float32)[..., None])


def spectrum(model: Model, x: Float[Array, " point"], *, steps: int, every: int = 5) -> np.ndarray:
    """Lyapunov exponents per unit of time, by QR of tangents (Benettin et al. 1980)."""
    dt = model.time_step / UNIT
    points = x.shape[0]
    ahead = no_weather(every, 1)

    @jax.jit
    def on(x: Array, basis: Array) -> tuple[Array, Array, Array]:
        def end(x: Array) -> Array:
            run, _ = rollout(model, {}, apart(x[:, None]), ahead)
            return together(run)[:, -1, 0]

        moved = jax.vmap(lambda v: jax.jvp(end, (x,), (v,))[1], in_axes=1, out_axes=1)(basis)
        basis, triangle = jnp.linalg.qr(moved)
        return end(x), basis, jnp.log(jnp.abs(jnp.diag(triangle)))

    basis, growth = jnp.eye(points, dtype=x.dtype), np.zeros(points)
    for number in range(steps // every):
        x, basis, logs = on(x, basis)
        if number >= 20:
            growth += np.asarray(logs)
    return np.sort(growth / ((steps // every - 20) * every * dt))[::-1]


def skill(model: Model, twin: Twin, *, steps: int = 100) -> float:
    """Time until the forecasts' normalised RMSE reaches 0.5, Lyapunov times of the truth."""
    count = next(iter(twin.later.values())).shape[0]
    starts = jnp.arange(0, count - steps, 20)
    begin = {name: x[starts, 0] for name, x in twin.later.items()}
    ahead, _ = rollout(model, {}, begin, no_weather(steps, len(starts)))
    index = starts[None] + jnp.arange(1, steps + 1)[:, None]
    square = jnp.stack([(x - twin.later[n][index, 0]) ** 2 for n, x in ahead.items()])
    error = np.asarray(jnp.sqrt(square.mean(axis=(0, 2)))) / _SPREAD
    error = np.where(np.isfinite(error), error, np.inf)
    over = np.flatnonzero(error > 0.5)
    first = over[0] if over.size else steps
    return float(first * 0.05 * FIRST_EXPONENT)


def experiment(seed: int, observed: int, cycles: int, sweeps: int) -> dict[str, Any]:
    """Learn from so many points and score the hybrid."""
    begun = time.monotonic()
    twin = make_twin(
        *(seed,),
        truth=Lorenz96(),
        cycles=cycles,
        later=2000,
        members=MEMBERS,
        error=ERROR,
        fraction=observed / 40,
        checkerboard=False,
    )
    base = Decay()
    net = RingNetwork(
        names=base.prognostic,
        layers=((16, 7),),
        products=True,
        mean=2.3,
        spread=3.6,
        scale=10.0,
        rngs=nnx.Rngs(params=seed),
    )
    hybrid = make_hybrid(base, net, form="tendency")
    states, deviation, rate = interpolated(twin), 2.0, 0.1
    result: dict[str, Any] = {"observed": observed, "analysis_rmse": []}
    for number in range(3):
        found = fit_online(
            *(hybrid, {}, states, twin.forcing, twin.observations),
            options=Online(
                sweeps=sweeps, state_rate=rate, weight_rate=5e-3, deviation=deviation, least=0.02
            ),
            key=jax.random.key(seed + 100 * number),
        )
        hybrid, deviation, rate = found.hybrid, max(1.5 * found.deviation, 0.05), 0.02
        additive: dict[str, Any] = dict.fromkeys(names(), found.deviation / np.sqrt(5.0))
        run = run_filter(
            *(hybrid, {}, twin.members, twin.forcing, twin.observations),
            scheme=Scheme(inflation=1.02, additive=additive, drawn=False, lag=10),
            key=jax.random.key(seed),
        )
        error = analysis_rmse(run.analysis_mean, twin.truth, run.records, spin_up=_SPIN_UP)
        result["analysis_rmse"].append(error)
        assert run.smoother_mean is not None
        states = {
            name: jnp.concatenate([twin.members[name].mean(axis=0)[None], run.smoother_mean[:, k]])
            for k, name in enumerate(names())
        }
        result["skill_lyapunov_times"] = skill(hybrid, twin)
        print(f"{observed} points, round {number}: {result}", file=sys.stderr, flush=True)
    start = together(twin.later)[:, 0, 0]
    exponents = spectrum(hybrid, start, steps=2000)
    true = spectrum(Lorenz96(), start, steps=2000)
    return result | {
        "positive": int(np.sum(exponents > 0.0)),
        "first_exponent": float(exponents[0]),
        "sum_of_positive": float(exponents[exponents > 0].sum()),
        "truth": {
            "positive": int(np.sum(true > 0.0)),
            "first_exponent": float(true[0]),
            "sum_of_positive": float(true[true > 0].sum()),
        },
        "seconds": time.monotonic() - begun,
    }


def main() -> None:
    """Read options, run, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--observed", type=int, nargs="+", default=[30, 20, 12, 8])
    parser.add_argument("--cycles", type=int, default=5000)
    parser.add_argument("--sweeps", type=int, default=60)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    rows = []
    for observed in args.observed:
        try:
            rows.append(experiment(args.seed, observed, args.cycles, args.sweeps))
        except InputError as error:  # the filter with the hybrid of a round before
            rows.append({"observed": observed, "diverged": str(error)})
        print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    if args.json:
        print(json.dumps({"rows": rows}))
        return
    print("| observed | analysis RMSE | skill | positive exponents | first | sum of positive |")
    print("| --- | --- | --- | --- | --- | --- |")
    for row in rows:
        if "diverged" in row:
            print(f"| {row['observed']} | diverged | | | | |")
            continue
        print(
            f"| {row['observed']} | {row['analysis_rmse'][-1]:.3f} | "
            f"{row['skill_lyapunov_times']:.2f} | {row['positive']} | "
            f"{row['first_exponent']:.2f} | {row['sum_of_positive']:.2f} |"
        )


if __name__ == "__main__":
    main()
