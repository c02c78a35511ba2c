"""Checks of a posterior: each a function, its words, its figure and a name in `CHECKS`."""

from calibration.checks.run import CHECKS, Posterior, require_checks, run_checks

__all__ = ["CHECKS", "Posterior", "require_checks", "run_checks"]
