"""What `import hybrid_land` gives, and what it does not do."""

import subprocess
import sys

import pytest

import hybrid_land


@pytest.mark.parametrize("name", hybrid_land.__all__)
def test_every_public_name_is_what_it_says(name: str) -> None:
    assert callable(getattr(hybrid_land, name))
    assert getattr(hybrid_land, name).__name__ == name


def test_a_name_that_does_not_exist_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'lood'"):
        _ = hybrid_land.lood


def test_the_import_touches_no_device_and_loads_nothing_heavy() -> None:
    """In a process of its own, since this one has used JAX by now."""
    code = """
import sys
import hybrid_land
from jax._src import xla_bridge
heavy = {"xgboost", "numpyro", "arviz", "matplotlib", "xarray"} & set(sys.modules)
print(xla_bridge.backends_are_initialized(), sorted(heavy))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.strip() == "False []"
