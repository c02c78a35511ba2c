"""How observations and the model may differ: error covariances of each column, and whitening."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import scipy.linalg
import xarray as xr
from jaxtyping import Array, Float

from assimilation.observations import Observations
from calibration.discrepancy import error_covariance, known, require_table
from calibration.priors import PRIORS
from hybrid_land.errors import InputError
from hybrid_land.variables import DAY

_MOST_ENTRIES = 250_000_000  # of all whitening matrices, 1 GB


@dataclass(frozen=True)
class Errors:
    """What observations differ by from a model with the right parameters, beside their own error.

    All are standard deviations by observable, in its unit; what is not named is zero.

    Attributes:
        representativeness: of a column for what was observed, independent in time.
        correlated: of the observations, with an AR(1) memory of `memory_days`.
        model: the model's own error, with a memory of `model_memory_days`.
        memory_days: over which a correlated error falls to 1/e.
        model_memory_days: the same for the model's error.
        table: the model's error by lead and lag from its validation, see
            `calibration.discrepancy`; of what it knows, `model` is not used.
        table_factor: on the standard deviations of `table`.
        parameters: of the value with which the model does best about the true one, by parameter, as
            a share of its range; see `calibration.effective`.

    Raises:
        InputError: for a standard deviation that is negative, a memory or factor that is not
            positive, a table of another kind, or an unknown parameter or one whose error is no
            share of its range.
    """

    representativeness: Mapping[str, float] = field(default_factory=dict)
    correlated: Mapping[str, float] = field(default_factory=dict)
    model: Mapping[str, float] = field(default_factory=dict)
    memory_days: float = 10.0
    model_memory_days: float = 30.0
    table: xr.Dataset | None = None
    table_factor: float = 1.0
    parameters: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for kind in ("representativeness", "correlated", "model"):
            for name, deviation in getattr(self, kind).items():
                if not 0.0 <= deviation < np.inf:
                    raise InputError(
                        f"{kind} error of {name} is {deviation:g}, expected a standard deviation; "
                        "give 0 or more"
                    )
        for kind in ("memory_days", "model_memory_days", "table_factor"):
            if not 0.0 < getattr(self, kind) < np.inf:
                raise InputError(
                    f"{kind} is {getattr(self, kind):g}, expected more than 0; correct it"
                )
        if self.table is not None:
            require_table(self.table)
        for name, share in self.parameters.items():
            if name not in PRIORS:
                raise InputError(
                    f"parameter error of {name!r}, expected one of {', '.join(PRIORS)}; correct it"
                )
            if not 0.0 <= share <= 1.0:
                raise InputError(
                    f"parameter error of {name} is {share:g}, expected a share of its range; give "
                    "0 to 1"
                )

    def described(self, name: str) -> str:
        """What the model's own error of an observable is taken to be, in words."""
        if self.table is not None and known(self.table, name):
            factor = "" if self.table_factor == 1.0 else f" times {self.table_factor:g}"
            return f"{name} by lead and lag from the model's validation{factor}"
        return f"{name} {self.model.get(name, 0.0):.3g}, memory {self.model_memory_days:g} days"


@dataclass(frozen=True)
class Whitened:
    """Observations of all columns as standard normal errors about what the model expects.

    Attributes:
        records: by observable, the records that are observed in any column.
        matrix: W, lower triangular, rows and columns of what was not observed zero.
        observed: W y.
        present: one where something was observed, else zero.
        log_scale: logarithm of the density of observations that are met exactly.
    """

    records: dict[str, np.ndarray]
    matrix: Float[np.ndarray, "observation observation column"]
    observed: Float[np.ndarray, "observation column"]
    present: Float[np.ndarray, "observation column"]
    log_scale: Float[np.ndarray, " column"]


def whitened(observations: Observations, *, time_step: float, errors: Errors) -> Whitened:
    """Gather the observations of all columns, one observable after another, and whiten them.

    C = diag(own error^2 + representativeness^2) + AR(1) terms within each observable,
    W = L^-1 with C = L L^T over what a column has observed.

    Args:
        observations: on the records of the data, leaves `[record, column]`.
        time_step: of the records, s.
        errors: beside those that the observations carry.

    Raises:
        InputError: if the matrices would not fit the memory.
    """
    records = {
        name: np.flatnonzero(np.asarray(mask).any(axis=1))
        for name, mask in observations.mask.items()
    }
    names = list(records)

    def gathered(leaves: Mapping[str, Array]) -> Float[np.ndarray, "observation column"]:
        return np.concatenate([np.asarray(leaves[n], np.float64)[records[n]] for n in names])

    present, values = gathered(observations.mask), gathered(observations.values)
    size, columns = present.shape
    if size * size * columns > _MOST_ENTRIES:
        raise InputError(
            f"{size} observations in {columns} columns, expected their error covariances to fit "
            f"1 GB; thin the observations in time or take fewer columns"
        )
    shared = _shared_covariance(records, time_step=time_step, errors=errors)
    own = gathered(observations.errors) ** 2
    matrix = np.zeros((size, size, columns), np.float32)
    observed, log_scale = np.zeros((size, columns)), np.zeros(columns)
    for column in range(columns):
        seen = np.flatnonzero(present[:, column] > 0)
        covariance = shared[np.ix_(seen, seen)] + np.diag(own[seen, column])
        factor = np.linalg.cholesky(covariance)
        inverse = scipy.linalg.solve_triangular(factor, np.eye(seen.size), lower=True)
        matrix[seen[:, None], seen[None, :], column] = inverse
        observed[seen, column] = inverse @ values[seen, column]
        log_scale[column] = -np.log(np.diag(factor)).sum() - 0.5 * seen.size * np.log(2 * np.pi)
    return Whitened(records, matrix, observed, present, log_scale)


def _shared_covariance(
    records: Mapping[str, np.ndarray], *, time_step: float, errors: Errors
) -> Float[np.ndarray, "observation observation"]:
    """Of what all columns share: everything but the observations' own errors."""
    blocks = []
    for name, at in records.items():
        days = at * (time_step / DAY)
        apart = np.abs(days[:, None] - days[None, :])
        block = errors.representativeness.get(name, 0.0) ** 2 * np.eye(at.size)
        block += errors.correlated.get(name, 0.0) ** 2 * np.exp(-apart / errors.memory_days)
        if errors.table is not None and known(errors.table, name):
            block += errors.table_factor**2 * error_covariance(errors.table, name, days)
        else:
            block += errors.model.get(name, 0.0) ** 2 * np.exp(-apart / errors.model_memory_days)
        blocks.append(block)
    return np.asarray(scipy.linalg.block_diag(*blocks))
