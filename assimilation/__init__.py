"""Data assimilation on any model with the `step` interface."""

from assimilation.brightness import brightness_temperature
from assimilation.control import ControlVector
from assimilation.covariance import background_root, climatological_root
from assimilation.cycling import assimilate
from assimilation.filter_options import FILTERS, FilterOptions
from assimilation.methods import METHODS, Options
from assimilation.observations import Observations, make_observations, read_observations
from assimilation.operators import OPERATORS, Context, layer_mean, root_zone_soil_moisture
from assimilation.variational import Problem
from assimilation.window import make_window_analysis

__all__ = [
    "FILTERS",
    "METHODS",
    "OPERATORS",
    "Context",
    "ControlVector",
    "FilterOptions",
    "Observations",
    "Options",
    "Problem",
    "assimilate",
    "background_root",
    "brightness_temperature",
    "climatological_root",
    "layer_mean",
    "make_observations",
    "make_window_analysis",
    "read_observations",
    "root_zone_soil_moisture",
]
