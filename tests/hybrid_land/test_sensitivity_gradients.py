"""Adjoint and integrated gradients on models whose derivatives are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hybrid_land.data.samples import load_sample
from hybrid_land.errors import InputError
from hybrid_land.sensitivity.adjoint import adjoint_sensitivity, effects, gradients
from hybrid_land.sensitivity.integrated import (
    attributions,
    forcing_baseline,
    integrated_gradients,
    parameter_baseline,
    rows_of,
)
from hybrid_land.sensitivity.problem import Problem, per, problem_of
from tests.toy import LAYERS, Buckets, Weathered, case

TARGETS = (*LAYERS, "slhf")


def linear(at="mean", **options):
    parameters, state, forcing = case(**options)
    return Problem(Buckets(), parameters, state, forcing, ("theta_cap", "theta_pwp"), TARGETS, at)


def bent(columns=3, steps=40):
    """The same with evaporation that is not linear."""
    parameters, state, forcing = case(columns, steps)
    hour = np.arange(steps)[:, None] % 4
    weather = {
        "met_rainf": forcing["rain"] / 100.0,
        "met_swdown": jnp.asarray(np.broadcast_to(150.0 * hour, (steps, columns)), float),
    }
    parameters["cvl"] = jnp.linspace(0.2, 0.8, columns)
    varied = ("theta_cap", "cvl")
    return Problem(Weathered(), parameters, state, weather, varied, ("slhf",), "mean")


@pytest.mark.parametrize("at", ["mean", "end"])
def test_the_adjoint_is_forward_mode_and_the_difference_quotient(float64, at):
    problem = linear(at)
    found = gradients(problem)
    inputs = (problem.parameters, problem.state, problem.forcing)

    def answer(parameters, state, forcing):
        return problem.answer(parameters, state, forcing)

    key = jax.random.key(1)
    way = jax.tree.map(lambda x: jax.random.normal(key, x.shape, x.dtype), inputs)
    way[0]["theta_max"] = 0.0 * way[0]["theta_max"]  # not in question
    forward = jax.jvp(answer, inputs, way)[1]
    ahead = answer(*jax.tree.map(lambda x, d: x + 1e-3 * d, inputs, way))
    behind = answer(*jax.tree.map(lambda x, d: x - 1e-3 * d, inputs, way))
    for target in TARGETS:
        one = found[target]
        change = sum(one.parameters[name] * way[0][name] for name in one.parameters)
        change += sum(one.state[name] * way[1][name] for name in one.state)
        change += sum((one.forcing[name] * way[2][name]).sum(axis=0) for name in one.forcing)
        np.testing.assert_allclose(change, forward[target], rtol=1e-10)
        quotient = (ahead[target] - behind[target]) / 2e-3
        np.testing.assert_allclose(change, quotient, rtol=1e-6)


def test_the_adjoint_says_when_rain_matters(float64):
    """Of the rain of step t a share of (1 - rate) a step is left in the first layer."""
    problem = linear("end", steps=30)
    found = gradients(problem, checkpoint_segments=4)["swvl1"]
    left = 0.1 * 0.98 ** np.arange(29, -1, -1)
    np.testing.assert_allclose(found.forcing["rain"], np.tile(left[:, None], (1, 3)), rtol=1e-12)
    np.testing.assert_allclose(found.state["swvl1"], 0.98**30, rtol=1e-12)
    np.testing.assert_allclose(found.state["swvl2"], 0.0, atol=1e-15)


def test_what_a_dataset_gets_has_units_and_memory():
    data = load_sample("ecland_sample").isel(time=slice(0, 400), column=slice(0, 2)).load()
    found = adjoint_sensitivity(
        Weathered(), data, parameters=("theta_cap",), targets=("swvl1", "swvl3"), at="end"
    )
    assert found["swvl1_by_met_rainf"].dims == ("time", "column")
    assert found["swvl1_by_met_rainf"].attrs["units"] == "m3 m-3 kg-1 m2 s"
    assert found["swvl1_by_initial_swvl2"].attrs["units"] == "m3 m-3 m-3 m3"
    rows = {(row["target"], row["input"]): row for row in effects(found)}
    # Half of 0.98^n is left after 34 steps of 6 hours; deeper layers look further back.
    assert rows["swvl1", "met_rainf"]["days"] == pytest.approx(34 / 4, abs=0.5)
    assert rows["swvl3", "met_rainf"]["days"] > 11
    sustained = found["swvl1_by_met_rainf"].sum("time").mean() / 86400.0
    assert rows["swvl1", "met_rainf"]["mean"] == pytest.approx(float(sustained), rel=1e-5)


def test_units_of_a_derivative():
    assert per("K", "kg m-2 s-1") == "K kg-1 m2 s"
    assert per("1", "1") == "1"
    assert per("W m-2", "1") == "W m-2"


def test_integrated_gradients_add_up(float64, monkeypatch):
    problem = bent()
    usual = {name: 0.5 * series for name, series in problem.forcing.items()}
    base = {"theta_cap": jnp.full(3, 0.3), "cvl": jnp.full(3, 0.1)}
    few = attributions(problem, forcing=usual, parameters=base, points=3)["slhf"]
    one = attributions(problem, forcing=usual, parameters=base, points=16)["slhf"]
    missed = [float(np.abs(x.residual / x.difference).max()) for x in (few, one)]
    assert missed[1] < 1e-3
    assert missed[0] > 15 * missed[1]  # a midpoint rule is of second order
    difference = (
        problem.answer(problem.parameters, problem.state, problem.forcing)["slhf"]
        - problem.answer(problem.parameters | base, problem.state, usual)["slhf"]
    )
    np.testing.assert_allclose(one.difference, difference, rtol=1e-10)
    total = sum(x.sum(axis=0) for x in one.forcing.values()) + sum(one.parameters.values())
    np.testing.assert_allclose(total + one.residual, difference, rtol=1e-10)
    # In several pieces, the last of them not full, it is the same.
    monkeypatch.setattr("hybrid_land.sensitivity.integrated._AT_ONCE", 15)
    parts = attributions(problem, forcing=usual, parameters=base, points=16)["slhf"]
    np.testing.assert_allclose(parts.forcing["met_swdown"], one.forcing["met_swdown"], rtol=1e-10)


def test_a_linear_model_s_attributions_are_its_terms(float64):
    problem = linear(steps=20)
    usual = {"rain": jnp.zeros_like(problem.forcing["rain"])}
    base = {"theta_cap": jnp.full(3, 0.3)}
    one = attributions(problem, forcing=usual, parameters=base, points=1)["swvl1"]
    exact = gradients(problem)["swvl1"]
    np.testing.assert_allclose(
        one.forcing["rain"], exact.forcing["rain"] * problem.forcing["rain"], rtol=1e-10
    )
    change = problem.parameters["theta_cap"] - 0.3
    np.testing.assert_allclose(
        one.parameters["theta_cap"], exact.parameters["theta_cap"] * change, rtol=1e-10
    )
    assert np.abs(one.residual).max() < 1e-14


def test_baselines_are_usual_weather_and_possible_soils():
    data = load_sample("ecland_sample").isel(time=slice(0, 1460), column=slice(0, 4)).load()
    problem = problem_of(Weathered(), data, parameters=("theta_cap", "theta_pwp"))
    base = parameter_baseline(problem)
    assert (base["theta_pwp"] < base["theta_cap"]).all()
    assert (base["theta_cap"] > problem.parameters["theta_pwp"]).all()
    given = parameter_baseline(problem, {"theta_cap": 0.0})["theta_cap"]
    assert (given >= problem.parameters["theta_pwp"] + 0.0199).all()
    usual = forcing_baseline(problem, data.time.to_numpy(), kind="climatology")
    own = problem.forcing["met_tair"]
    assert float(jnp.std(usual["met_tair"] - own)) < 0.7 * float(jnp.std(own))
    assert float(jnp.abs(usual["met_tair"].mean() - own.mean())) < 0.2
    mean = forcing_baseline(problem, data.time.to_numpy(), kind="mean")["met_rainf"]
    assert float(jnp.ptp(mean, axis=0).max()) == 0.0


def test_a_dataset_s_attributions_say_what_they_miss():
    data = load_sample("ecland_sample").isel(time=slice(0, 120), column=slice(0, 3)).load()
    found = integrated_gradients(
        Weathered(), data, parameters=("theta_cap",), targets=("slhf",), points=16
    )
    (row,) = rows_of(found)
    assert row["incompleteness"] < 1e-2
    assert next(iter(row["attributions"])) in ("theta_cap", "met_swdown", "met_rainf")
    assert row["attributions"]["met_tair"]["size"] == 0.0
    assert found["slhf_from_met_swdown"].attrs["units"] == "W m-2"


def test_a_class_cannot_be_varied():
    data = load_sample("ecland_sample").isel(time=slice(0, 8), column=slice(0, 2)).load()
    with pytest.raises(InputError, match="'sotype' cannot be varied, expected one of"):
        adjoint_sensitivity(Weathered(), data, parameters=("sotype",))
