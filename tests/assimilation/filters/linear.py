"""A linear Gaussian case on the toy buckets, and its exact Kalman filter and smoother."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from assimilation.observations import Observations
from tests.toy import LAYERS, Buckets, case

COLUMNS, STEPS = 2, 8
ERRORS = {"swvl1": 0.02, "swvl3": 0.05}
MISSING = 3  # record at which swvl3 was not observed
_SEEN = [LAYERS.index(name) for name in ERRORS]


@dataclass
class Case:
    """Members by variable, as one array, and all that `run_filter` needs."""

    model: Buckets
    parameters: dict
    forcing: dict
    members: np.ndarray
    observations: Observations

    @property
    def ensemble(self):
        return {n: jnp.asarray(self.members[:, k]) for k, n in enumerate(LAYERS)}

    @property
    def given(self):
        return self.model, self.parameters, self.ensemble, self.forcing, self.observations


def linear_case(members=9, seed=3):
    parameters, state, forcing = case(columns=COLUMNS, steps=STEPS)
    generator = np.random.default_rng(seed)
    x = np.stack([state[n] for n in LAYERS])
    ensemble = x[None] + 0.05 * generator.normal(size=(members, len(LAYERS), COLUMNS))
    shape = (STEPS + 1, COLUMNS)
    values = {n: 0.35 + 0.03 * generator.normal(size=shape) for n in ERRORS}
    mask = {n: np.ones(shape) for n in ERRORS}
    mask["swvl3"][MISSING] = 0.0
    values["swvl3"][MISSING] = np.nan
    observations = Observations(
        values={n: jnp.asarray(x) for n, x in values.items()},
        errors={n: jnp.full(shape, error) for n, error in ERRORS.items()},
        mask={n: jnp.asarray(x) for n, x in mask.items()},
    )
    return Case(Buckets(), parameters, forcing, ensemble, observations)


def transitions(case, column):
    """M and c of each step x' = M x + c of one column, `[step, ...]`."""

    def step(x, i):
        named = dict(zip(LAYERS, x[:, None], strict=True))
        own = {n: p[column : column + 1] for n, p in case.parameters.items()}
        weather = {n: f[i, column : column + 1] for n, f in case.forcing.items()}
        new, _ = case.model.step(own, named, weather)
        return jnp.stack([new[n][0] for n in LAYERS])

    x = jnp.zeros(len(LAYERS))
    maps = np.stack([np.asarray(jax.jacobian(step)(x, i)) for i in range(STEPS)])
    return maps, np.stack([np.asarray(step(x, i)) for i in range(STEPS)])


def observed_rows(case, column):
    """What was observed of one column at each step's end, `[step, observable]`, NaN if nothing."""
    seen = case.observations
    rows = [jnp.where(seen.mask[n] > 0, seen.values[n], jnp.nan)[1:, column] for n in ERRORS]
    return np.stack(rows, axis=-1)


def kalman(case, column):
    """Exact means and covariances by cycle of one column: forecast, filter and RTS smoother."""
    m = case.members[..., column].mean(axis=0)
    P = np.cov(case.members[..., column].T)
    forecasts, analyses = [], []
    maps, shifts = transitions(case, column)
    for M, c, row in zip(maps, shifts, observed_rows(case, column), strict=True):
        m, P = M @ m + c, M @ P @ M.T
        forecasts.append((m, P))
        seen = np.isfinite(row)
        H = np.eye(4)[_SEEN][seen]
        R = np.diag(np.square(list(ERRORS.values()))[seen])
        K = P @ H.T @ np.linalg.inv(H @ P @ H.T + R)
        m = m + K @ (row[seen] - H @ m)
        P = P - K @ H @ P
        analyses.append((m, P))
    smoothed = [analyses[-1]]
    for i in reversed(range(STEPS - 1)):
        (m, P), (f, F) = analyses[i], forecasts[i + 1]
        G = P @ maps[i + 1].T @ np.linalg.inv(F)
        later = smoothed[0]
        smoothed.insert(0, (m + G @ (later[0] - f), P + G @ (later[1] - F) @ G.T))
    return forecasts, analyses, smoothed


def moments(exact):
    """Means and standard deviations `[2, cycle, variable]` of pairs of mean and covariance."""
    return np.stack(
        [[m for m, _ in exact], [np.sqrt(np.diag(P)) for _, P in exact]],
    )
