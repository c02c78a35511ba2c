"""The loop that learns a model's error: reanalysis, correction, hybrid, and round again."""

from assimilation.model_error.ensemble_of_weights import EnsembleOfWeights, fit_ensemble
from assimilation.model_error.forecasts import Forecasts, fit_forecasts
from assimilation.model_error.hybrid import Hybrid, make_hybrid
from assimilation.model_error.land import LandLearnt, LandLoop, LandRound, learn_land_error
from assimilation.model_error.loop import Learnt, Loop, Round, learn_error
from assimilation.model_error.networks import ColumnNetwork, RingNetwork, weights_in
from assimilation.model_error.offline import Offline, fit_offline
from assimilation.model_error.online import Estimate, Online, fit_online
from assimilation.model_error.pairs import Pairs, make_pairs
from assimilation.model_error.store import load_hybrid, save_hybrid

__all__ = [
    "ColumnNetwork",
    "EnsembleOfWeights",
    "Estimate",
    "Forecasts",
    "Hybrid",
    "LandLearnt",
    "LandLoop",
    "LandRound",
    "Learnt",
    "Loop",
    "Offline",
    "Online",
    "Pairs",
    "RingNetwork",
    "Round",
    "fit_ensemble",
    "fit_forecasts",
    "fit_offline",
    "fit_online",
    "learn_error",
    "learn_land_error",
    "load_hybrid",
    "make_hybrid",
    "make_pairs",
    "save_hybrid",
    "weights_in",
]
