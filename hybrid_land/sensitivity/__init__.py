"""How a run answers to parameters, first state and weather, and whether ECLand answers so too."""

from hybrid_land.sensitivity.adjoint import adjoint_sensitivity
from hybrid_land.sensitivity.analysis import analyse
from hybrid_land.sensitivity.curves import sensitivity
from hybrid_land.sensitivity.field_capacity import compare_field_capacity
from hybrid_land.sensitivity.integrated import integrated_gradients
from hybrid_land.sensitivity.sobol import sobol_indices

__all__ = [
    "adjoint_sensitivity",
    "analyse",
    "compare_field_capacity",
    "integrated_gradients",
    "sensitivity",
    "sobol_indices",
]
