"""A model whose answers are known: four layers that leak into each other, linear in the state."""

import jax
import jax.numpy as jnp
import numpy as np

LAYERS = ("swvl1", "swvl2", "swvl3", "swvl4")


class Buckets:
    """Soil moisture relaxing to a resting value, each layer fed by the one above.

        w1' = w1 + a (r - w1) + f / 10,   wk' = wk + a (r - wk) + c (w(k-1) - wk)

    with the resting value r = theta_pwp + (theta_cap - theta_pwp) / 2. The step is linear in the
    state and in theta_cap, so 4D-Var and calibration with Gaussian errors have exact solutions.
    """

    time_step = 21600.0
    prognostic = LAYERS
    diagnostic = ("slhf",)
    required = LAYERS

    def __init__(self, rate=0.02, exchange=0.1):
        self.rate, self.exchange = rate, exchange

    def step(self, parameters, state, forcing):
        rest = 0.5 * (parameters["theta_cap"] + parameters["theta_pwp"])
        new = {}
        above = None
        for name in LAYERS:
            w = state[name]
            flow = 0.1 * forcing["rain"] if above is None else self.exchange * (above - w)
            new[name] = w + self.rate * (rest - w) + flow
            above = w
        return new, {"slhf": -100.0 * state["swvl1"]}


def case(columns=3, steps=40, seed=0, dtype=float):
    """Parameters, first state and forcing of a small problem far from any bound."""
    generator = np.random.default_rng(seed)
    parameters = {
        "theta_cap": jnp.asarray(generator.uniform(0.3, 0.4, columns), dtype),
        "theta_pwp": jnp.asarray(generator.uniform(0.1, 0.15, columns), dtype),
        "theta_max": jnp.full(columns, 0.9, dtype),
    }
    state = {name: jnp.asarray(generator.uniform(0.3, 0.5, columns), dtype) for name in LAYERS}
    rain = jnp.asarray(generator.exponential(0.02, (steps, columns)), dtype)
    return parameters, state, {"rain": rain}


@jax.tree_util.register_static
class Weathered(Buckets):
    """`Buckets` on the weather of a Dataset, with evaporation that is not linear in anything.

        f = 100 rainfall,   e = k (w1 / theta_cap)^2 (1 + cvl) shortwave / 500

    Evaporation is only reported: the state does not feel it.
    """

    def __init__(self, rate=0.02, exchange=0.1, sense=1.0):
        super().__init__(rate, exchange)
        self.sense = sense  # of the resting value to theta_cap

    def __eq__(self, other):
        return isinstance(other, Weathered) and vars(self) == vars(other)

    def __hash__(self):
        return hash(tuple(vars(self).values()))

    def step(self, parameters, state, forcing):
        cap = 0.3 + self.sense * (parameters["theta_cap"] - 0.3)
        new, _ = super().step(
            parameters | {"theta_cap": cap}, state, {"rain": 100.0 * forcing["met_rainf"]}
        )
        wet = state["swvl1"] / parameters["theta_cap"]
        sun = forcing["met_swdown"] / 500.0
        return new, {"slhf": -100.0 * wet * wet * (1.0 + parameters["cvl"]) * sun}


@jax.tree_util.register_static
class Networked(Weathered):
    """`Weathered` with a place for a network, whose output z dries the top layer.

    w1' = (w1' of Weathered) - z / 100,   z = wrong + more(w1 / theta_cap - 1, shortwave / 500)
    """

    inputs = ("wet", "sun")
    heads = {"drying": 0.0}  # noqa: RUF012

    def __init__(self, wrong=0.0):
        super().__init__()
        self.wrong = wrong

    def step(self, parameters, state, forcing):
        return self.corrected(parameters, state, forcing, lambda x_norm: 0.0)

    def corrected(self, parameters, state, forcing, more):
        new, diagnostics = super().step(parameters, state, forcing)
        wet = state["swvl1"] / parameters["theta_cap"] - 1.0
        x_norm = jnp.stack([wet, forcing["met_swdown"] / 500.0])
        z = self.wrong + more(x_norm) + jnp.zeros_like(x_norm[:1])
        return new | {"swvl1": new["swvl1"] - 0.01 * z[0]}, diagnostics
