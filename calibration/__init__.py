"""Bayesian calibration of column parameters on any model with the `step` interface."""

from calibration.estimate import calibrate
from calibration.posterior import load_posterior, save_posterior, summary

__all__ = ["calibrate", "load_posterior", "save_posterior", "summary"]
