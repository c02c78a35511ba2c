"""Ensemble filters and smoothers on any model with the `step` interface."""

from assimilation.filters.driver import Run, run_filter
from assimilation.filters.scheme import METHODS, Scheme

__all__ = ["METHODS", "Run", "Scheme", "run_filter"]
