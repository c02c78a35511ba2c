"""Checks of a posterior: each a result, its words and its figure."""
