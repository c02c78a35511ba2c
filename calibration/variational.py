"""Stochastic variational inference: the posterior of each column within a family of densities."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import optax
from jaxtyping import Array, Float
from numpyro.infer import SVI, Trace_ELBO
from numpyro.infer.autoguide import AutoBNAFNormal, AutoMultivariateNormal
from numpyro.infer.initialization import init_to_value

from calibration.problem import Problem, log_likelihood
from hybrid_land.devices import over_devices
from hybrid_land.errors import InputError

GUIDES = ("normal", "flow")
_FIRST_SPREAD = 0.3  # of the guide, in standard deviations of the prior
_LAST_RATE = 0.02  # of the learning rate, as a share of the first
_TENTH = 10  # share of the steps over which the bound is averaged
_SETTLED = 1.0  # change of the bound between such averages that counts as none


def svi(
    problem: Problem,
    *,
    key: Array,
    chains: int = 4,
    draws: int = 300,
    guide: str = "normal",
    steps: int = 300,
    particles: int = 8,
    learning_rate: float = 0.1,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Float[np.ndarray, "chain draw parameter column"], dict[str, np.ndarray]]:
    """Variational inference by the gradient of the evidence's lower bound (Kucukelbir et al. 2017).

    NumPyro's SVI with Adam, for all columns at once: each column has its own guide and its own
    optimiser, and all of their particles are lanes of one rollout. `normal` is a multivariate
    normal density of the standard normal parameters, `flow` a block neural autoregressive flow
    (De Cao et al. 2019) for two parameters or more.

    Args:
        problem: of all columns.
        key: for the random numbers.
        chains: into which the draws are divided, all independent.
        draws: of each chain.
        guide: one of `GUIDES`.
        steps: of the optimiser.
        particles: draws of the guide in each step.
        learning_rate: of the first step; falls by a cosine to a fiftieth.
        progress: called with the work done and in all.

    Returns:
        Draws of the guide; statistics by column: `elbo`, the bound's mean over the last tenth of
        the steps, and `converged`, whether it has changed by less than 1 since the tenth before.

    Raises:
        InputError: for an unknown guide, or a flow for one parameter.
    """
    size, count = len(problem.names), problem.count
    if guide not in GUIDES:
        raise InputError(f"guide {guide!r} is not known, expected {', '.join(GUIDES)}; use that")
    if guide == "flow" and size == 1:
        raise InputError("guide flow needs two parameters or more, found one; use guide normal")
    likelihood = log_likelihood(problem)
    rate = optax.cosine_decay_schedule(learning_rate, steps, alpha=_LAST_RATE)
    first = init_to_value(values={"z": jnp.zeros(size)})

    def fit(lane: Any, own: Array) -> tuple[Array, Array]:
        def model() -> None:
            z = numpyro.sample("z", dist.Normal(jnp.zeros(size), 1.0).to_event(1))
            numpyro.factor("observations", likelihood(jnp.asarray(z), lane))

        if guide == "normal":
            family: Any = AutoMultivariateNormal(model, init_loc_fn=first, init_scale=_FIRST_SPREAD)
        else:
            family = AutoBNAFNormal(model, init_loc_fn=first, num_flows=1)
        of_fit, of_draws = jax.random.split(own)
        inference = SVI(model, family, optax.adam(rate), Trace_ELBO(num_particles=particles))
        found = inference.run(of_fit, steps, progress_bar=False)
        keys = jax.random.split(of_draws, chains * draws)
        draw = jax.vmap(lambda own: family.sample_posterior(own, found.params)["z"])
        return draw(keys), -found.losses

    run = over_devices(jax.vmap(fit, in_axes=(-1, 0)), axes=(-1, 0))
    z, bound = (np.asarray(x) for x in run(problem.lanes, jax.random.split(key, count)))
    if progress is not None:
        progress(steps, steps)
    tenth = max(steps // _TENTH, 1)
    last, before = bound[:, -tenth:].mean(axis=1), bound[:, -2 * tenth : -tenth].mean(axis=1)
    statistics = {"elbo": last, "converged": np.abs(last - before) < _SETTLED}
    shaped = z.reshape(count, chains, draws, size)
    return np.moveaxis(shaped, (0, -1), (-1, -2)), statistics
