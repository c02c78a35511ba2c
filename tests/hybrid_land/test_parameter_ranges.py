"""What a model has seen of each parameter, by soil type."""

import json

import numpy as np
import xarray as xr

from hybrid_land.any_model import trained_ranges
from hybrid_land.data.parameter_ranges import parameter_ranges
from hybrid_land.models.store import model_directory


def columns(**parameters):
    return xr.Dataset({f"clim_{name}": ("column", values) for name, values in parameters.items()})


def test_ranges_are_over_all_data_of_a_soil_type():
    first = columns(theta_cap=[0.2, 0.3, 0.4], sotype=[1.0, 1.0, 2.0], theta_sat=[0.4, 0.4, 0.5])
    second = columns(theta_cap=[0.123456, 0.5], sotype=[1.0, 3.0])
    found = parameter_ranges([first, second])
    assert found == {"theta_cap": {"1": [0.1235, 0.3], "2": [0.4, 0.4], "3": [0.5, 0.5]}}
    assert parameter_ranges([columns(ksat=[1e-6, 2e-6])]) == {"ksat": {"0": [1e-6, 2e-6]}}


def test_shipped_models_say_what_they_were_trained_on(tmp_path):
    for name in ("default", "large", "small"):
        ranges = trained_ranges(name)
        assert {"theta_cap", "theta_pwp", "ksat", "cvh"} <= set(ranges)
        low, high = np.array([ranges["theta_cap"][kind] for kind in "1234567"]).T
        assert (low < high).all()
        assert low.min() > 0.1
    described = json.loads((model_directory("small") / "model.json").read_text())
    del described["parameter_ranges"]
    (tmp_path / "model.json").write_text(json.dumps(described))
    assert trained_ranges(tmp_path) == {}


def test_a_hybrid_s_ranges_are_its_base_s(tmp_path):
    description = {"kind": "hybrid", "base": {"kind": "named", "name": "small"}}
    (tmp_path / "model.json").write_text(json.dumps(description))
    assert trained_ranges(tmp_path) == trained_ranges("small")
