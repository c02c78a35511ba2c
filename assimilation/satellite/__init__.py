"""From a provider's file of satellite soil moisture to observations of a model's columns."""

from assimilation.satellite.collocation import cut_to, observe
from assimilation.satellite.era5_land import read_era5_land
from assimilation.satellite.reader import PRODUCTS, read_satellite
from assimilation.satellite.screening import screen_frozen

__all__ = [
    "PRODUCTS",
    "cut_to",
    "observe",
    "read_era5_land",
    "read_satellite",
    "screen_frozen",
]
