"""ORNL's problem: eight parameters of the ELM land model from five annual latent heat fluxes.

    python benchmarks/calibration_elm.py [--methods "flow;prior"] [--seeds 5] [--rows test]

`elm/` of the data folder: 1,000 runs at the Missouri Ozark site with parameters uniform over their
ranges. The first 900 rows train, the last 100 are the cases; everything is normalised by the
training rows, and the observation error is the emulator's error covariance on rows that it was
not trained on. Scores are means over the eight normalised parameters: CRPS of the draws, R2 of
their mean, share of cases within the central 90%. Goals, measured on this split: DBUQ as published
0.520, 0.183, 0.82 in 73 s; a network emulator with exact Bayes by importance sampling 0.4185,
0.395, 0.904 in 35 s.

The emulator is a set of small networks in groups, each group without one fifth of the training
rows. A case's likelihood uses the mean of all. `--rows validation` draws the first fifth of the
training rows from the networks that never saw it: what was chosen, was chosen there.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.scipy.stats import norm

from calibration.amortised import dbuq, flow
from calibration.amortised.simulations import Simulations
from calibration.amortised.training import train_on
from calibration.methods import METHODS
from calibration.problem import Problem

ROOT = Path(__file__).resolve().parents[1]
LOW = np.array([0.5, 0.01, 0.1, 25.0, 0.3, 1.5e-6, 35000.0, 600.0])
HIGH = np.array([4.0, 0.05, 0.4, 60.0, 1.5, 4e-6, 45000.0, 1000.0])
NAMES = (
    *("rootb_par", "slatop", "flnr", "frootcn"),
    *("froot_leaf", "br_mr", "crit_dayl", "crit_onset_gdd"),
)
TRAIN, FOLDS, DRAWS = 900, 5, 1000
HIDDEN, UPDATES, BATCH, RATE, DECAY = (48, 48, 48), 4000, 128, 1e-2, 0.1
SHARED = 400_000  # draws of the prior that importance sampling weighs for each case
PUBLISHED_LABELS = 20_000
Draws = np.ndarray


def through(members: Any, inputs: jax.Array) -> jax.Array:
    """Outputs `[member, case, output]` of networks with inputs `[case or member case, 8]`."""
    x = jnp.broadcast_to(inputs, (members[0][0].shape[0], *inputs.shape[-2:]))
    for weight, bias in members[:-1]:
        x = jax.nn.gelu(jnp.einsum("mci,mio->mco", x, weight) + bias)
    return jnp.einsum("mci,mio->mco", x, members[-1][0]) + members[-1][1]


@jax.jit
def train_members(key: jax.Array, x: jax.Array, y: jax.Array, rows: jax.Array) -> Any:
    """Networks `[member]`, each on its own rows of inputs and outputs, by AdamW."""
    first, order = jax.random.split(key)
    sizes = (x.shape[1], *HIDDEN, y.shape[1])
    members = [
        (
            jax.random.normal(k, (rows.shape[0], a, b)) / np.sqrt(a),
            jnp.zeros((rows.shape[0], 1, b)),
        )
        for k, a, b in zip(jax.random.split(first, 4), sizes[:-1], sizes[1:], strict=True)
    ]
    schedule = optax.warmup_cosine_decay_schedule(0.0, RATE, 50, UPDATES)
    optimiser = optax.adamw(schedule, weight_decay=DECAY)

    def update(carry: Any, step: jax.Array) -> tuple[Any, None]:
        members, state = carry
        chosen = jax.random.randint(step, (rows.shape[0], BATCH), 0, rows.shape[1])
        at = jnp.take_along_axis(rows, chosen, axis=1)

        def loss(members: Any) -> jax.Array:
            return ((through(members, x[at]) - y[at]) ** 2).mean(axis=(1, 2)).sum()

        change, state = optimiser.update(jax.grad(loss)(members), state, members)
        return (optax.apply_updates(members, change), state), None

    steps = jax.random.split(order, UPDATES)
    return jax.lax.scan(update, (members, optimiser.init(members)), steps)[0][0]


def share_of(x: np.ndarray) -> np.ndarray:
    """Parameters as numbers from -1 to 1 over their ranges."""
    return 2.0 * (x - LOW) / (HIGH - LOW) - 1.0


def emulate(folder: Path, seed: int, rows: str) -> tuple[Problem, dict[str, Any]]:
    """The emulator trained, and the cases as a problem: one column each.

    Returns:
        The problem; `x` and `y` of training rows and cases, normalised, and the emulator's error.
    """
    x = np.load(folder / "elm" / "InputPara.npy", allow_pickle=False)
    y = np.load(folder / "elm" / "Observations.npy", allow_pickle=False)
    centre, scale = x[:TRAIN].mean(axis=0), x[:TRAIN].std(axis=0)
    y_norm = (y - y[:TRAIN].mean(axis=0)) / y[:TRAIN].std(axis=0)
    u = jnp.asarray(share_of(x), jnp.float32)
    folds = np.array_split(np.random.default_rng(seed).permutation(TRAIN), FOLDS)
    others = np.stack([np.setdiff1d(np.arange(TRAIN), fold) for fold in folds])
    members = train_members(
        jax.random.key(seed), u, jnp.asarray(y_norm, jnp.float32), jnp.asarray(others)
    )
    outputs = np.asarray(through(members, u))
    errors = np.concatenate([(outputs[k] - y_norm)[fold] for k, fold in enumerate(folds)])
    whitening = np.linalg.inv(np.linalg.cholesky(np.cov(errors.T)))
    cases = np.arange(TRAIN, len(x))
    if rows == "validation":
        cases, members = folds[0], jax.tree.map(lambda leaf: leaf[:1], members)
    matrix = jnp.asarray(whitening, jnp.float32)

    def expected(z: jax.Array, columns: Any) -> jax.Array:
        del columns
        mean = through(members, 2.0 * norm.cdf(z.T) - 1.0).mean(axis=0)
        return jnp.matmul(matrix, mean.T)

    def physical(z: jax.Array, columns: Any) -> dict[str, jax.Array]:
        del columns
        share = norm.cdf(z)
        return {n: LOW[i] + (HIGH[i] - LOW[i]) * share[i] for i, n in enumerate(NAMES)}

    ones = jnp.ones((5, cases.size))
    problem = Problem(
        names=NAMES,
        columns=jnp.zeros(cases.size),
        observed=jnp.asarray(whitening @ y_norm[cases].T, jnp.float32),
        present=ones,
        log_scale=jnp.full(
            cases.size, float(np.log(np.diag(whitening)).sum() - 2.5 * np.log(2 * np.pi))
        ),
        expected=expected,
        physical=physical,
    )
    facts = {
        "x": (x - centre) / scale,
        "y": y_norm,
        "cases": cases,
        "error": np.sqrt((errors**2).mean(axis=0)),
        "normalise": lambda z: np.moveaxis(
            (LOW + (HIGH - LOW) * np.asarray(norm.cdf(np.moveaxis(z, 0, -1))) - centre) / scale,
            -1,
            1,
        ),
    }
    return problem, facts


def _prior(problem: Problem, *, key: jax.Array, progress: Any = None) -> tuple[Draws, Any]:
    return np.asarray(jax.random.normal(key, (1, DRAWS, len(NAMES), problem.count))), {}


def _importance(problem: Problem, *, key: jax.Array, progress: Any = None) -> tuple[Draws, Any]:
    """Exact Bayes up to Monte Carlo error: draws of the prior shared by all cases, weighed."""
    z = jax.random.normal(key, (len(NAMES), SHARED))
    run = jax.jit(problem.expected)
    parts = [np.asarray(run(part, None)) for part in jnp.split(z, 100, axis=1)]
    expected, z = np.concatenate(parts, axis=1), np.asarray(z)
    squares = 0.5 * (expected**2).sum(axis=0)
    drawn, size = [], []
    for k, observed in enumerate(np.asarray(problem.observed).T):
        weight = observed @ expected - squares
        total = np.cumsum(np.exp((weight - weight.max()).astype(np.float64)))
        size.append(total[-1] ** 2 / np.exp(2.0 * (weight - weight.max())).sum())
        at = (np.arange(DRAWS) + np.random.default_rng(k).random()) / DRAWS
        drawn.append(z[:, np.minimum(np.searchsorted(total / total[-1], at), SHARED - 1)].T)
    return np.stack(drawn, axis=-1)[None], {"ess": np.asarray(size)}


def _published(facts: dict[str, Any], seed: int) -> np.ndarray:
    """DBUQ as published: the training rows alone, and a kernel of one in normalised y.

    Returns:
        Draws of normalised parameters `[draw, parameter, case]`.
    """
    x, y = facts["x"][:TRAIN], facts["y"]
    pick = np.random.default_rng(seed).integers(0, TRAIN, PUBLISHED_LABELS)
    made = Simulations(
        z=np.concatenate([x, x[pick]]).astype(np.float32),
        features=np.concatenate([y[:TRAIN], y[pick]]).astype(np.float32),
        observed=np.concatenate([y[:TRAIN], y[pick]]),
        expected=np.concatenate([y[:TRAIN], np.full((pick.size, 5), 1e3)]),
        kept=np.ones((TRAIN + pick.size, 5)),
        column=np.zeros(TRAIN + pick.size, int),
    )
    learnt = train_on(
        made,
        names=NAMES,
        key=jax.random.key(seed),
        kind="dbuq",
        probes=0,
        neighbours=TRAIN,
        width=64,
        updates=12000,
        smooth=False,
        batch=64,
    )
    features = y[facts["cases"]].astype(np.float32)
    return learnt.sample(features, jax.random.key(seed + 1), draws=DRAWS)


def _methods() -> dict[str, Callable[..., Any]]:
    """By name, how each is run on the problem."""
    learnt = {"probes": 0, "simulations": 500, "chains": 1, "draws": DRAWS}
    quarter = {"chains": 4, "draws": DRAWS // 4}
    return {
        "prior": _prior,
        "importance": _importance,
        "dbuq": partial(dbuq, **learnt, updates=3000),
        "flow": partial(flow, **learnt, updates=1500),
        "flow, weighed": partial(flow, **learnt, updates=1500, weigh=5000),
        "laplace": partial(METHODS["laplace"], **quarter),
        "smc": METHODS["smc"],
        "nuts": partial(METHODS["nuts"], **quarter, warmup=150),
    }


def scored(draws: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """CRPS, R2 of the mean, and coverage of the central 90%, means over parameters.

    Args:
        draws: `[draw, parameter, case]`, normalised.
        truth: `[case, parameter]`.
    """
    ordered, truth = np.sort(draws, axis=0), truth.T
    number = len(ordered)
    # CRPS of an ensemble: E|X - y| - E|X - X'| / 2, the second from ranks.
    rank = (2.0 * np.arange(1, number + 1) - number - 1.0)[:, None, None]
    crps = np.abs(ordered - truth).mean(axis=0) - (rank * ordered).sum(axis=0) / number**2
    mean = ordered.mean(axis=0)
    spread = ((truth - truth.mean(axis=1, keepdims=True)) ** 2).sum(axis=1)
    low, high = np.quantile(ordered, [0.05, 0.95], axis=0)
    return {
        "crps": float(crps.mean()),
        "r2": float((1.0 - ((mean - truth) ** 2).sum(axis=1) / spread).mean()),
        "covered": float(((truth >= low) & (truth <= high)).mean()),
    }


def run(folder: Path, names: list[str], seed: int, rows: str) -> dict[str, dict[str, float]]:
    """Scores and seconds of each method, the emulator's among them where it is used."""
    wall, processor = time.perf_counter(), time.process_time()
    problem, facts = emulate(folder, seed, rows)
    own = time.perf_counter() - wall, time.process_time() - processor
    say(f"emulator: {own[0]:.1f} s, {own[1]:.1f} s of processor, error {facts['error'].round(3)}")
    truth, found = facts["x"][facts["cases"]], {}
    for name in names:
        wall, processor = time.perf_counter(), time.process_time()
        if name == "dbuq, published":
            draws, statistics, before = _published(facts, seed), {}, (0.0, 0.0)
        else:
            z, statistics = _methods()[name](problem, key=jax.random.key(seed + 100))
            flat = np.moveaxis(z, 2, 0).reshape(len(NAMES), -1, problem.count)
            draws = facts["normalise"](flat)
            before = own
        took = time.perf_counter() - wall + before[0], time.process_time() - processor + before[1]
        found[name] = scored(draws, truth) | {"seconds": took[0], "processor_seconds": took[1]}
        for key in ("ess", "pareto_k"):
            if key in statistics:
                found[name][key] = float(np.median(statistics[key]))
        say(f"{name}: " + ", ".join(f"{key} {x:.4g}" for key, x in found[name].items()))
    return found


def say(sentence: str) -> None:
    """Progress, apart from the result."""
    print(sentence, file=sys.stderr, flush=True)


def main() -> None:
    """Run each seed, and print medians."""
    names = ["prior", "dbuq, published", *[name for name in _methods() if name != "prior"]]
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--methods", default=";".join(names), help="separated by ;")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--rows", choices=("test", "validation"), default="test")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    folder = Path(os.environ.get("HYBRID_LAND_DATA", ROOT.parent / "shared" / "data"))
    chosen = options.methods.split(";")
    runs = [run(folder, chosen, seed, options.rows) for seed in range(options.seeds)]
    result = {
        name: {key: float(np.median([each[name][key] for each in runs])) for key in runs[0][name]}
        for name in chosen
    }
    if options.json:
        print(json.dumps({"rows": options.rows, "seeds": options.seeds, "methods": result}))
        return
    print("| method | CRPS | R2 | 90% covers | seconds | of processor |\n|" + " --- |" * 6)
    for name, row in result.items():
        print(
            f"| {name} | {row['crps']:.4f} | {row['r2']:.3f} | {100 * row['covered']:.1f}% | "
            f"{row['seconds']:.0f} | {row['processor_seconds']:.0f} |"
        )


if __name__ == "__main__":
    main()
