"""The driver of filters against the exact Kalman filter on a linear model."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from assimilation.filters import Scheme, run_filter
from assimilation.observations import Observations
from tests.toy import LAYERS, Buckets, case

COLUMNS, STEPS = 2, 12


@pytest.fixture
def linear(float64):
    """The buckets, their matrix M x + f of each step and column, and a first ensemble."""
    parameters, state, forcing = case(columns=COLUMNS, steps=STEPS)
    model = Buckets()

    def step(x, i):
        named = dict(zip(LAYERS, x, strict=True))
        weather = {n: f[i] for n, f in forcing.items()}
        new, _ = model.step(parameters, named, weather)
        return jnp.stack([new[n] for n in LAYERS])

    generator = np.random.default_rng(3)
    x = jnp.stack([state[n] for n in LAYERS])
    members = x[None] + 0.05 * jnp.asarray(generator.normal(size=(9, 4, COLUMNS)))
    return model, parameters, forcing, step, members


def test_first_columns(linear):
    model, parameters, forcing, step, members = linear
    E = {n: members[:, k] for k, n in enumerate(LAYERS)}
    shape = (STEPS, COLUMNS)
    obs = Observations(
        values={"swvl1": jnp.full(shape, 0.3), "swvl3": jnp.full(shape, 0.4)},
        errors={"swvl1": jnp.full(shape, 0.02), "swvl3": jnp.full(shape, 0.05)},
        mask={"swvl1": jnp.ones(shape), "swvl3": jnp.ones(shape).at[3].set(0.0)},
    )
    run = run_filter(model, parameters, E, forcing, obs, scheme=Scheme(), key=jax.random.key(0))
    mean = np.asarray(members.mean(axis=0))
    for c in range(COLUMNS):
        m, P = mean[:, c], np.cov(np.asarray(members[:, :, c]).T)
        for k in range(STEPS):
            M = np.asarray(
                jax.jacobian(lambda x: step(jnp.broadcast_to(x[:, None], (4, 2)), k)[:, c])(
                    jnp.asarray(m)
                )
            )
            m = np.asarray(step(jnp.broadcast_to(jnp.asarray(m)[:, None], (4, 2)), k)[:, c])
            P = M @ P @ M.T
            np.testing.assert_allclose(run.forecast_mean[k, :, c], m, rtol=1e-6)
            if k + 1 < STEPS:
                H = np.eye(4)[[0, 2]] if k + 1 != 3 else np.eye(4)[[0]]
                R = np.diag([0.02**2, 0.05**2]) if k + 1 != 3 else np.diag([0.02**2])
                y = np.array([0.3, 0.4]) if k + 1 != 3 else np.array([0.3])
                K = P @ H.T @ np.linalg.inv(H @ P @ H.T + R)
                m, P = m + K @ (y - H @ m), P - K @ H @ P
            np.testing.assert_allclose(run.analysis_mean[k, :, c], m, rtol=1e-6)
            np.testing.assert_allclose(run.analysis_spread[k, :, c], np.sqrt(np.diag(P)), rtol=1e-6)
