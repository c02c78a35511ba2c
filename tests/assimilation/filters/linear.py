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


def kalman(case, column):
    """Exact means and covariances by cycle of one column: forecast, filter and RTS smoother."""

    def step(x, i):
        named = dict(zip(LAYERS, x[:, None], strict=True))
        own = {n: p[column : column + 1] for n, p in case.parameters.items()}
        weather = {n: f[i, column : column + 1] for n, f in case.forcing.items()}
        new, _ = case.model.step(own, named, weather)
        return jnp.stack([new[n][0] for n in LAYERS])

    m = case.members[..., column].mean(axis=0)
    P = np.cov(case.members[..., column].T)
    forecasts, analyses, maps = [], [], []
    for i in range(STEPS):
        M = np.asarray(jax.jacobian(step)(jnp.asarray(m), i))
        m, P = np.asarray(step(jnp.asarray(m), i)), M @ P @ M.T
        maps.append(M)
        forecasts.append((m, P))
        rows = [
            (np.eye(4)[k], error, float(case.observations.values[name][i + 1, column]))
            for k, (name, error) in zip(_SEEN, ERRORS.items(), strict=True)
            if case.observations.mask[name][i + 1, column] > 0
        ]
        H = np.stack([row[0] for row in rows])
        R = np.diag([row[1] ** 2 for row in rows])
        K = P @ H.T @ np.linalg.inv(H @ P @ H.T + R)
        m = m + K @ (np.array([row[2] for row in rows]) - H @ m)
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
