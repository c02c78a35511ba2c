"""Every method of calibration by name.

Each is `method(problem, *, key, progress, **options)` and gives draws of the standard normal
parameters `[chain, draw, parameter, column]` and statistics by name, `[chain, draw, column]` or
`[column]`.
"""

from collections.abc import Callable
from typing import Any

from calibration.amortised.training import dbuq, flow
from calibration.history import history
from calibration.kalman import eki, eks
from calibration.laplace import laplace
from calibration.metropolis import metropolis
from calibration.nuts import nuts
from calibration.quadrature import grid
from calibration.sequential import smc
from calibration.shared_quadrature import shared_grid
from calibration.surrogate import bayesopt
from calibration.variational import svi

METHODS: dict[str, Callable[..., Any]] = {
    "nuts": nuts,
    "grid": grid,
    "laplace": laplace,
    "svi": svi,
    "smc": smc,
    "eki": eki,
    "eks": eks,
    "metropolis": metropolis,
    "dbuq": dbuq,
    "flow": flow,
    "history": history,
    "bayesopt": bayesopt,
}
# Of what columns share, by chains over that alone; other methods see one problem of one column.
SHARED: dict[str, Callable[..., Any]] = {"grid": shared_grid}
# Whose chains walk, and may not have mixed; the draws of the others are independent.
WALKING = ("nuts", "metropolis", "eks")
