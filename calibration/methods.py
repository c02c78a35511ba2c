"""Every method of calibration by name.

Each is `method(problem, *, key, progress, **options)` and gives draws of the standard normal
parameters `[chain, draw, parameter, column]` and statistics by name, `[chain, draw, column]` or
`[column]`.
"""

from collections.abc import Callable
from typing import Any

from calibration.history import history
from calibration.kalman import eki, eks
from calibration.laplace import laplace
from calibration.nuts import nuts
from calibration.sequential import smc
from calibration.surrogate import bayesopt

METHODS: dict[str, Callable[..., Any]] = {
    "nuts": nuts,
    "laplace": laplace,
    "smc": smc,
    "eki": eki,
    "eks": eks,
    "history": history,
    "bayesopt": bayesopt,
}
