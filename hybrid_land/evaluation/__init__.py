"""Evaluation of a run against ECLand: scores, baselines, water budget, error growth, figures."""
