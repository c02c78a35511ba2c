"""Data assimilation on any model with the `step` interface."""

from assimilation.covariance import background_root, climatological_root
from assimilation.cycling import assimilate
from assimilation.observations import Observations, make_observations, read_observations
from assimilation.operators import OPERATORS, root_zone_soil_moisture
from assimilation.variational import Problem, make_window_analysis

__all__ = [
    "OPERATORS",
    "Observations",
    "Problem",
    "assimilate",
    "background_root",
    "climatological_root",
    "make_observations",
    "make_window_analysis",
    "read_observations",
    "root_zone_soil_moisture",
]
