"""What a filter refuses, in one line that says what to do."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from assimilation.filters import Scheme, run_filter
from hybrid_land.errors import InputError
from tests.assimilation.filters.linear import linear_case


def refusal(case=None, **options) -> str:
    """What the filter says of a case or options that it does not take."""
    case = case or linear_case()
    with pytest.raises(InputError) as caught:
        run_filter(*case.given, scheme=Scheme(**options), key=jax.random.key(0))
    return str(caught.value)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"method": "enkff"}, r"method is 'enkff', expected one of etkf, enkf"),
        ({"inflation": -1.0}, r"inflation is -1, expected a number above 0"),
        ({"inflation": np.array([1.0, np.nan])}, r"inflation is nan, expected"),
        ({"rtps": -0.1}, r"rtps is -0.1, expected a number not below 0"),
        ({"rtpp": 1.5}, r"rtpp is 1.5, expected"),
        ({"additive": {"swvl1": -0.1}}, r"additive noise of swvl1 is -0.1, expected"),
        ({"additive": {"swvl9": 0.1}}, r"additive noise of swvl9, expected"),
        ({"every": 0}, r"every is 0, expected 1 or more"),
        ({"every": 9}, r"forcing has 8 records, expected at least one cycle of 9"),
        ({"lag": -1}, r"lag is -1, expected 0 or more"),
        ({"method": "ienks"}, r"lag is 0, expected 1 or more"),
        ({"method": "letkf"}, r"letkf has no localisation, expected one"),
        ({"method": "pf", "adaptive": True}, r"adaptive with method pf, expected none"),
        ({"variables": ("swvl9",)}, r"to correct swvl9, expected variables of the ensemble"),
        ({"variables": ("swvl1",), "rotate": True}, r"rotation with 1 of 4 variables"),
    ],
)
def test_options_that_cannot_be(options, text):
    said = refusal(**options)
    assert re.search(text, said)
    assert "expected" in said
    assert "\n" not in said


def test_one_member():
    case = linear_case()
    case.members = case.members[:1]
    assert refusal(case) == "the ensemble has 1 member, expected at least 2; draw more members"


def test_an_ensemble_that_is_a_point():
    case = linear_case()
    case.members[:] = case.members[:1]
    said = r"all 9 members are the same .* expected a spread; perturb the first ensemble$"
    assert re.search(said, refusal(case))


@pytest.mark.parametrize("error", [0.0, -0.1, np.nan])
def test_an_observation_error_that_is_not_positive(error):
    case = linear_case()
    errors = case.observations.errors | {"swvl1": jnp.full((9, 2), 0.02).at[4, 1].set(error)}
    case.observations = dataclasses.replace(case.observations, errors=errors)
    said = r"observation error of swvl1 is .* at record 4, column 1, expected a positive"
    assert re.search(said, refusal(case))


def test_an_observation_that_is_not_a_number():
    case = linear_case()
    values = case.observations.values | {"swvl1": jnp.full((9, 2), jnp.nan)}
    case.observations = dataclasses.replace(case.observations, values=values)
    said = "observation of swvl1 at record 0, column 0 is not finite, expected a number"
    assert said in refusal(case)


def test_observations_of_other_columns():
    case = linear_case()
    case.observations = jax.tree.map(lambda x: x[:, :1], case.observations)
    assert "observations of swvl1 have 9 records of 1 columns, expected 8 of 2" in refusal(case)


def test_an_ensemble_that_lacks_a_variable():
    case = linear_case()
    lacking = {n: x for n, x in case.ensemble.items() if n != "swvl2"}
    with pytest.raises(InputError, match="the ensemble lacks swvl2, expected all"):
        run_filter(
            *(case.model, case.parameters, lacking, case.forcing, case.observations),
            scheme=Scheme(),
            key=jax.random.key(0),
        )
