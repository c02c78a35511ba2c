"""Columns spread over devices give what one device gives."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hybrid_land.devices import over_devices

_COMPARE = """
import jax, jax.numpy as jnp, numpy as np
from hybrid_land.devices import over_devices, use_cores
import os
os.cpu_count = lambda: {cores}
use_cores(share={share})
assert len(jax.devices()) == {expected}, jax.devices()

def work(weights, series):
    return {{"sum": series["x"].sum(axis=0) * weights, "twice": 2.0 * series["x"].T}}

weights = jnp.arange({columns} * 1.0)
series = {{"x": jnp.arange(3.0 * {columns}).reshape(3, {columns})}}
found = over_devices(work, axes=(0, -1))(weights, series)
expected = work(weights, series)
assert len(found["sum"].sharding.device_set) == {used}
for name in expected:
    np.testing.assert_allclose(found[name], expected[name], rtol=1e-6)
"""


@pytest.mark.parametrize(
    ("cores", "share", "columns", "expected", "used"),
    [(4, 1, 8, 4, 4), (4, 2, 8, 2, 2), (4, 1, 6, 4, 2), (1, 2, 3, 1, 1)],
)
def test_devices_are_as_many_as_the_cores_and_divide_the_columns(
    cores: int, share: int, columns: int, expected: int, used: int
) -> None:
    script = _COMPARE.format(
        cores=cores, share=share, columns=columns, expected=expected, used=used
    )
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_a_second_call_from_another_layout_is_not_compiled_again() -> None:
    traced = []

    def work(x: jax.Array) -> jax.Array:
        traced.append(x.shape)
        return x + 1.0

    spread = over_devices(work, axes=(0,))
    once = spread(jnp.zeros(4))
    first = len(traced)
    np.testing.assert_allclose(spread(once), 2.0)
    np.testing.assert_allclose(spread(np.zeros(4, np.float32)), 1.0)
    assert len(traced) == first


def test_a_function_is_compiled_once_whoever_asks() -> None:
    traced = []

    def work(x: jax.Array) -> jax.Array:
        traced.append(x.shape)
        return 2.0 * x

    for _ in range(3):
        found = over_devices(work, axes=(0,))(jnp.arange(4.0))
    np.testing.assert_array_equal(found, 2.0 * np.arange(4.0))
    assert len(traced) == 1
