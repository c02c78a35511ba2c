"""Posteriors learnt once from simulations: a new column's takes a few runs, or none."""

from calibration.amortised.posterior import AmortisedPosterior, load_amortised, save_amortised
from calibration.amortised.training import dbuq, flow, train

__all__ = ["AmortisedPosterior", "dbuq", "flow", "load_amortised", "save_amortised", "train"]
