"""Ensemble filters on Lorenz-96 with the settings of Sakov and Oke (2008), ten seeds at once.

    python benchmarks/lorenz96_filters.py [--seeds 10] [--cycles 2000] [--rows ...] [--tune]
        [--draw 5] [--dapper-seeds 10] [--one-core]

40 points, F = 8, steps of 0.05; every point observed at each step with a standard deviation of 1.
A seed is a column of one run. RMSE over the points, averaged over the cycles after 400 that are
not counted (DAPPER's burn-in of 20 time units). A seed has diverged if its RMSE is above 1, that
of the observations, or not finite. CPU time per cycle is that of a second run, compiled already.

Where DAPPER can be imported (the extra `benchmarks`) it runs in the same process with the settings
that its own file `mods/Lorenz96/sakov2008.py` suggests, on the same truths and observations, and
each seed of it is followed by a run of ours to time, so that both see the same machine; the median
over seeds is given. Its CPU time includes its statistics, as ours includes means and spreads.
`--dapper-seeds 0` leaves it out, `--one-core` keeps both on one core, `--draw` is the key of our
rotations and drawn noise.

Expected, measured with DAPPER 1.8: EnKF (symmetric root) N=24 0.180, N=40 0.172; EnKF-N N=24
0.176; stochastic EnKF N=40 0.221; DEnKF N=40 0.191; LETKF N=7 0.214; iEnKS N=20 lag 10 0.173
(smoother 0.095). The inflations below were chosen by `--tune` on other seeds, from 1000 on.
Prints a table and JSON.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from assimilation.filters import Run, Scheme, run_filter
from assimilation.filters.localisation import on_ring
from assimilation.lorenz96 import Lorenz96, apart, names, no_weather, together
from assimilation.observations import Observations
from hybrid_land.rollout import rollout

POINTS = 40
BURN_IN = 400  # cycles
DIVERGED = 1.0
_TUNING_SEED = 1000
# DAPPER's radius 4 times 1.82 is half the distance at which Gaspari and Cohn's function is zero.
_RADIUS = 2 * 4 * 1.82


@dataclass(frozen=True)
class Row:
    """A method, its settings and what DAPPER has for it.

    Attributes:
        method: of `Scheme`.
        members: N.
        inflation: factor of the analysed perturbations in a cycle.
        rotate: whether they are turned.
        lag: cycles.
        certainty: of EnKF-N.
        expected: RMSE of DAPPER's analysis, and of its smoother.
        dapper: DAPPER's method and its arguments.
    """

    method: str
    members: int
    inflation: float = 1.0
    rotate: bool = True
    lag: int = 0
    certainty: float = 1.0
    expected: tuple[float, ...] = ()
    dapper: tuple[str, dict[str, Any]] | None = None

    @property
    def name(self) -> str:
        """As in the table."""
        return f"{self.method} N={self.members}" + (f" lag={self.lag}" if self.lag else "")

    def scheme(self, inflation: float | Array) -> Scheme:
        """What `run_filter` is to do."""
        return Scheme(
            method=self.method,
            inflation=inflation,
            rotate=self.rotate,
            lag=self.lag,
            certainty=self.certainty,
            localisation=on_ring(POINTS, radius=_RADIUS) if self.method == "letkf" else None,
        )


ROWS = (
    Row(
        *("etkf", 24, 1.02),
        expected=(0.180,),
        dapper=("EnKF", {"upd_a": "Sqrt", "N": 24, "infl": 1.013, "rot": True}),
    ),
    Row(
        *("etkf", 40, 1.013),
        expected=(0.172,),
        dapper=("EnKF", {"upd_a": "Sqrt", "N": 40, "infl": 1.01, "rot": True}),
    ),
    Row(
        *("enkf-n", 24),
        certainty=2.0,
        expected=(0.176,),
        dapper=("EnKF_N", {"N": 24, "rot": True, "xN": 2.0}),
    ),
    Row(
        *("enkf", 40, 1.06, False),
        expected=(0.221,),
        dapper=("EnKF", {"upd_a": "PertObs", "N": 40, "infl": 1.06}),
    ),
    Row(
        *("denkf", 40, 1.01, False),
        expected=(0.191,),
        dapper=("EnKF", {"upd_a": "DEnKF", "N": 40, "infl": 1.01}),
    ),
    Row(
        *("letkf", 7, 1.04),
        expected=(0.214,),
        dapper=("LETKF", {"N": 7, "rot": True, "infl": 1.04, "loc_rad": 4}),
    ),
    Row(
        *("ienks", 20, 1.02),
        lag=10,
        expected=(0.173, 0.095),
        dapper=(
            "iEnKS",
            {"upd_a": "Sqrt", "N": 20, "Lag": 10, "nIter": 3, "infl": 1.02, "rot": True},
        ),
    ),
    Row("etkf", 24, 1.02, lag=10),
)


@dataclass(frozen=True)
class Twin:
    """Truth at the records, and observations of all its points."""

    truth: Float[Array, "time point column"]
    observations: Observations


def make_twin(seeds: Sequence[int], cycles: int) -> Twin:
    """A truth of its own for each seed, on the attractor."""
    columns, model = len(seeds), Lorenz96()
    keys = [jax.random.key(seed) for seed in seeds]
    x = 8.0 + jnp.stack([jax.random.normal(key, (POINTS,)) for key in keys], axis=-1)
    before = rollout(model, {}, apart(x), no_weather(500, columns))[0]
    start = {n: s[-1] for n, s in before.items()}
    after = rollout(model, {}, start, no_weather(cycles, columns))[0]
    truth = jnp.moveaxis(
        together({n: jnp.concatenate([start[n][None], after[n]]) for n in after}), 0, 1
    )
    noise = [jax.random.normal(jax.random.fold_in(key, 1), truth.shape[:2]) for key in keys]
    seen = truth + jnp.stack(noise, axis=-1)
    one = jnp.ones_like(truth[:, 0])
    rows = {n: seen[:, k] for k, n in enumerate(names())}
    ones = dict.fromkeys(rows, one)
    return Twin(truth, Observations(values=rows, errors=ones, mask=ones))


def filtered(
    row: Row, twin: Twin, columns: np.ndarray, inflation: Array, *, draw: int = 5
) -> tuple[Run, float]:
    """A run over some of the twin's columns, and its CPU time a cycle in ms, compiled already."""

    def cut(x: Array) -> Array:
        return x[..., columns]

    steps = twin.truth.shape[0] - 1
    first = cut(twin.truth[0])
    # Each seed has its own draws, however many columns there are.
    draws = [
        jax.random.normal(jax.random.fold_in(jax.random.key(int(c)), 2), (row.members, POINTS))
        for c in columns
    ]
    E = first[None] + jnp.stack(draws, axis=-1)
    ensemble = {n: E[:, k] for k, n in enumerate(names())}
    observations = jax.tree.map(cut, twin.observations)
    spent = 0.0
    for _ in range(2):
        begin = time.process_time()
        run = run_filter(
            Lorenz96(),
            {},
            ensemble,
            no_weather(steps, len(columns)),
            observations,
            scheme=row.scheme(inflation),
            key=jax.random.key(draw),
        )
        jax.block_until_ready(run.analysis_mean)
        spent = 1e3 * (time.process_time() - begin) / steps
    return run, spent


def scores(run: Run, twin: Twin, columns: np.ndarray) -> dict[str, np.ndarray]:
    """RMSE and spread of each column, averaged over the counted cycles."""
    truth = twin.truth[1:][..., columns]

    def rmse(x: Array) -> np.ndarray:
        each = jnp.sqrt(jnp.mean((x - truth) ** 2, axis=1))
        return np.asarray(each[BURN_IN:].mean(axis=0))

    found = {
        "forecast": rmse(run.forecast_mean),
        "analysis": rmse(run.analysis_mean),
        "spread": np.asarray(
            jnp.sqrt(jnp.mean(run.analysis_spread**2, axis=1))[BURN_IN:].mean(axis=0)
        ),
    }
    if run.smoother_mean is not None:
        found["smoother"] = rmse(run.smoother_mean)
    return found


def summary(found: dict[str, np.ndarray]) -> dict[str, Any]:
    """Medians and ranges over the seeds that did not diverge, and how many did."""
    good = np.isfinite(found["analysis"]) & (found["analysis"] < DIVERGED)
    result: dict[str, Any] = {"diverged": int((~good).sum()), "seeds": len(good)}
    for name, each in found.items():
        if good.any():
            result[name] = round(float(np.median(each[good])), 4)
            result[f"{name} range"] = [round(float(f(each[good])), 4) for f in (np.min, np.max)]
    return result


def with_dapper(
    row: Row, twin: Twin, *, seeds: int, ours: np.ndarray, timed: Callable[[], float]
) -> dict[str, Any]:
    """DAPPER's scores and CPU time on the first seeds of the twin, beside ours.

    Args:
        row: what to run.
        twin: truths and observations.
        seeds: so many of them.
        ours: analysis RMSE of each seed.
        timed: our CPU time a cycle, in ms, measured once more after each seed.
    """
    # Not a dependency, so not known to the type checker: the extra `benchmarks`.
    methods, modelling = import_module("dapper.da_methods"), import_module("dapper.mods")
    settings = import_module("dapper.mods.Lorenz96.sakov2008")
    set_seed = import_module("dapper.tools.seeding").set_seed
    vars(import_module("dapper.tools.progressbar"))["disable_progbar"] = True
    assert row.dapper is not None
    name, arguments = row.dapper
    steps = twin.truth.shape[0] - 1
    hmm = settings.HMM.copy()
    hmm.tseq = modelling.Chronology(0.05, dko=1, Ko=steps - 1, BurnIn=0.05 * BURN_IN, Tplot=10)
    rows: dict[str, list[float]] = {"analysis": [], "smoother": [], "ms": [], "ours": []}
    seen = np.stack([np.asarray(x) for x in twin.observations.values.values()], axis=1)
    for seed in range(seeds):
        set_seed(3000 + seed)
        truth = np.asarray(twin.truth[..., seed], float)
        hmm.X0 = modelling.GaussRV(mu=truth[0], C=1.0)
        xp = getattr(methods, name)(**arguments)
        begin = time.process_time()
        xp.assimilate(hmm, truth, seen[1:, :, seed].astype(float), liveplots=False)
        rows["ms"].append(1e3 * (time.process_time() - begin) / steps)
        rows["ours"].append(timed())
        xp.stats.average_in_time()
        rows["analysis"].append(float(xp.avrgs.err.rms.a.val))
        smoother = getattr(xp.avrgs.err.rms, "s", None)
        rows["smoother"].append(float(smoother.val) if smoother is not None else float("nan"))
    result = summary({"analysis": np.array(rows["analysis"])})
    if np.isfinite(rows["smoother"]).any():
        result["smoother"] = round(float(np.median(rows["smoother"])), 4)
    apart = ours[:seeds] - np.array(rows["analysis"])
    apart = apart[np.isfinite(apart)]
    if len(apart) > 1:
        error = float(apart.std(ddof=1) / np.sqrt(len(apart)))
        result["ours less DAPPER"] = [round(float(apart.mean()), 4), round(error, 4)]
    ms = {name: round(float(np.median(rows[name])), 4) for name in ("ms", "ours")}
    return result | {"ms": ms["ms"], "ours ms": ms["ours"], "arguments": arguments}


def tuned(row: Row, inflations: Sequence[float], seeds: int, cycles: int) -> dict[str, Any]:
    """Scores for each inflation on the tuning seeds, all columns of one run."""
    twin = make_twin([_TUNING_SEED + k for k in range(seeds)], cycles + BURN_IN)
    columns = np.tile(np.arange(seeds), len(inflations))
    factor = jnp.asarray(np.repeat(inflations, seeds), jnp.float32)
    run, _ = filtered(row, twin, columns, factor)
    found = scores(run, twin, columns)
    return {
        f"{row.name} inflation={value:g}": summary(
            {n: x.reshape((-1, seeds))[k] for n, x in found.items()}
        )
        for k, value in enumerate(inflations)
    }


def measured(row: Row, twin: Twin, *, seeds: int, dapper: int, draw: int) -> dict[str, Any]:
    """A row of the table: all seeds at once, the time of one, and DAPPER on so many seeds."""
    columns = np.arange(seeds)
    run, ms = filtered(row, twin, columns, jnp.full(seeds, row.inflation), draw=draw)
    found = scores(run, twin, columns)
    result = summary(found) | {"each": np.round(found["analysis"].astype(float), 4).tolist()}
    short = replace(twin, truth=twin.truth[:501], observations=twin.observations.window(0, 501))

    def alone() -> float:
        return filtered(row, short, columns[:1], jnp.full(1, row.inflation))[1]

    settings = {k: v for k, v in asdict(row).items() if k != "dapper"}
    result |= {
        "ms": round(alone(), 4),
        "ms all seeds": round(ms, 4),
        "failures": int(run.failures.sum()),
        "settings": settings,
    }
    if dapper and row.dapper is not None:
        other = with_dapper(row, twin, seeds=dapper, ours=found["analysis"], timed=alone)
        result |= {"ms": other.pop("ours ms"), "DAPPER": other}
    return result


def table(result: dict[str, dict[str, Any]]) -> str:
    """The results in Markdown."""
    lines = [
        "| run | analysis RMSE | range | spread | smoother | diverged | expected | DAPPER here | "
        "its range | ours less its | ms a cycle | all seeds | DAPPER's ms | times |",
        "| --- |" + " --- |" * 13,
    ]
    for label, r in result.items():
        other = r.get("DAPPER", {})
        wanted = r.get("settings", {}).get("expected", ())
        said, its = (
            "{:.4f} to {:.4f}".format(*x["analysis range"]) if "analysis" in x else ""
            for x in (r, other)
        )
        less = "{:+.4f} ± {:.4f}".format(*other.get("ours less DAPPER", (np.nan, np.nan)))
        cells = [
            label,
            f"{r['analysis']:.4f}" if "analysis" in r else "",
            said,
            f"{r['spread']:.3f}" if "spread" in r else "",
            f"{r['smoother']:.4f}" if "smoother" in r else "",
            f"{r['diverged']} of {r['seeds']}",
            " / ".join(f"{x:.3f}" for x in wanted),
            f"{other['analysis']:.4f}" if "analysis" in other else "",
            its,
            less if "ours less DAPPER" in other else "",
            f"{r['ms']:.3f}" if "ms" in r else "",
            f"{r['ms all seeds']:.3f}" if "ms" in r else "",
            f"{other['ms']:.2f}" if other else "",
            f"{other['ms'] / r['ms']:.0f}" if other else "",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Print the table and JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--cycles", type=int, default=2000, help="counted; 400 more come before")
    parser.add_argument("--rows", type=int, nargs="*", help="places in ROWS")
    parser.add_argument("--tune", action="store_true", help="inflations, on other seeds")
    parser.add_argument(
        *("--inflations", "-i"), type=float, nargs="*", default=[1.0, 1.005, 1.01, 1.02, 1.03, 1.05]
    )
    parser.add_argument("--dapper-seeds", type=int, default=10, help="0 leaves DAPPER out")
    parser.add_argument("--draw", type=int, default=5, help="key of rotations and of drawn noise")
    parser.add_argument("--one-core", action="store_true")
    options = parser.parse_args()
    if options.one_core and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    dapper = min(options.dapper_seeds, options.seeds)
    if find_spec("dapper") is None and dapper and not options.tune:
        print("DAPPER is not installed (the extra `benchmarks`): it is left out", file=sys.stderr)
        dapper = 0
    result: dict[str, dict[str, Any]] = {}
    twin = None if options.tune else make_twin(range(options.seeds), options.cycles + BURN_IN)
    for place in options.rows if options.rows is not None else range(len(ROWS)):
        row = ROWS[place]
        if twin is None:
            new = tuned(row, options.inflations, options.seeds, options.cycles)
        else:
            given = {"seeds": options.seeds, "dapper": dapper, "draw": options.draw}
            new = {row.name: measured(row, twin, **given)}
        result |= new
        for label, r in new.items():
            brief = {k: v for k, v in r.items() if k != "settings"}
            print(label, json.dumps(brief), file=sys.stderr, flush=True)
    print(table(result))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
