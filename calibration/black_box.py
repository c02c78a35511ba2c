"""A problem whose model is any function, or any command that writes NetCDF: ECLand itself, say.

A black box has no gradient: the methods for it are those that only evaluate, such as `bayesopt`,
`history`, `eki` and `eks`.
"""

import shlex
import string
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import scipy.linalg
import xarray as xr
from jaxtyping import Array, Bool, Float

from calibration.priors import uniform
from calibration.problem import Problem
from hybrid_land.data.netcdf import open_netcdf
from hybrid_land.errors import InputError

Run = Callable[[dict[str, float]], Float[np.ndarray, " observation"]]


@dataclass(frozen=True, kw_only=True)
class BlackBox(Problem):
    """A problem of one column that is run from outside JAX.

    Attributes:
        run: physical parameters by name to expected observations in their units.
        root: W, by which they are whitened.
        workers: runs at the same time.
    """

    run: Run
    root: Float[np.ndarray, "observation observation"]
    workers: int = 1

    def evaluate(
        self,
        z: Float[np.ndarray | Array, "draw parameter column"],
        *,
        wanted: Bool[np.ndarray, " column"] | None = None,
    ) -> Float[np.ndarray, "draw observation column"]:
        """As of `Problem`, one run a draw.

        Raises:
            InputError: if a run gives something else than as many finite numbers as observations.
        """
        draws, _, count = np.shape(z)
        result = np.zeros((draws, self.observed.shape[0], count))
        chosen = np.ones(count, bool) if wanted is None else wanted
        physical = self.parameters(z)
        lanes = [(i, k) for i in range(draws) for k in np.flatnonzero(chosen)]
        given = [{name: float(x[i, k]) for name, x in physical.items()} for i, k in lanes]
        with ThreadPoolExecutor(self.workers) as pool:
            for (i, k), values in zip(lanes, pool.map(self._one, given), strict=True):
                result[i, :, k] = self.root @ values
        return result

    def _one(self, parameters: dict[str, float]) -> np.ndarray:
        values = np.asarray(self.run(parameters), float)
        said = ", ".join(f"{name}={value:g}" for name, value in parameters.items())
        if values.shape != self.root.shape[:1]:
            raise InputError(
                f"the model gave values of shape {values.shape} for {said}, expected "
                f"{self.root.shape[0]} as there are observations; correct it"
            )
        if not np.isfinite(values).all():
            raise InputError(
                f"the model gave a value that is not finite for {said}, expected numbers; narrow "
                "the bounds or correct it"
            )
        return values


def function_problem(
    run: Run,
    *,
    observed: Float[np.ndarray, " observation"],
    errors: Float[np.ndarray, "*any"],
    bounds: Mapping[str, tuple[float, float]],
    workers: int = 1,
) -> BlackBox:
    """The inverse problem of a Python function.

    Args:
        run: physical parameters by name to expected observations.
        observed: in the same units.
        errors: standard deviations, or the covariance matrix, of the observations' and the
            model's errors together.
        bounds: of each parameter, between which the prior is uniform.
        workers: runs at the same time, in threads.

    Raises:
        InputError: for bounds that are not in order, or errors that are no errors.
    """
    for name, (low, high) in bounds.items():
        if not low < high:
            raise InputError(
                f"bounds of {name} are {low:g} to {high:g}, expected the lower first; correct them"
            )
    if not bounds:
        raise InputError("no parameter to estimate, expected bounds of one at least; name one")
    covariance = np.diag(np.square(errors)) if np.ndim(errors) == 1 else np.asarray(errors)
    size = np.asarray(observed).size
    if covariance.shape != (size, size):
        raise InputError(
            f"errors of shape {np.shape(errors)}, expected one for each of {size} observations or "
            "their covariance; correct them"
        )
    try:
        factor = np.linalg.cholesky(covariance)
    except np.linalg.LinAlgError as error:
        raise InputError(
            "the errors are no covariance, expected positive standard deviations or a positive "
            "definite matrix; correct them"
        ) from error
    root = scipy.linalg.solve_triangular(factor, np.eye(size), lower=True)
    limits = {name: (float(low), float(high)) for name, (low, high) in bounds.items()}
    scale = -np.log(np.diag(factor)).sum() - 0.5 * size * np.log(2.0 * np.pi)
    return BlackBox(
        names=tuple(limits),
        columns=jnp.asarray(root[:, :, None], jnp.float32),
        observed=jnp.asarray((root @ observed)[:, None], jnp.float32),
        present=jnp.ones((size, 1), jnp.float32),
        log_scale=jnp.asarray([scale], jnp.float32),
        expected=_no_gradient,
        physical=partial(_physical, limits=limits),
        whitening=lambda columns: columns,
        run=run,
        root=root,
        workers=workers,
    )


def command_problem(
    command: str,
    observations: xr.Dataset,
    *,
    bounds: Mapping[str, tuple[float, float]],
    workers: int = 1,
    seconds: float | None = None,
) -> BlackBox:
    """The inverse problem of a command that reads parameters and writes NetCDF.

    Args:
        command: with each parameter in braces, and `{out}` where it names the file that it is to
            write, such as `run_ecland --theta-cap {theta_cap} --out {out}`; not given to a shell.
            The file holds the observables by name with dim `time`, and perhaps `column` of one;
            an observation is compared with the last record before it.
        observations: each observable under its name, with its standard deviation as
            `<name>_error`; dims `time` and perhaps `column` of one, NaN where nothing was observed.
        bounds: of each parameter, between which the prior is uniform.
        workers: commands at the same time.
        seconds: after which a command is ended and refused.

    Raises:
        InputError: for a command without a place for a parameter or the file, or no observation.
    """
    places = {name for _, name, _, _ in string.Formatter().parse(command) if name}
    wanted = {*bounds, "out"}
    if places != wanted:
        raise InputError(
            f"the command has places for {', '.join(sorted(places)) or 'nothing'}, expected "
            f"{', '.join(sorted(wanted))} in braces; correct it"
        )
    seen = {
        str(name): _single(values)
        for name, values in observations.data_vars.items()
        if not str(name).endswith("_error")
    }
    seen = {name: values[np.isfinite(values)] for name, values in seen.items()}
    for name in seen:
        if f"{name}_error" not in observations:
            raise InputError(f"no {name}_error beside {name}, expected its errors; add them")
    if not sum(values.size for values in seen.values()):
        raise InputError("no observation, expected one at least; give observations")
    errors = [
        _single(observations[f"{name}_error"].broadcast_like(observations[name])).sel(
            time=values["time"]
        )
        for name, values in seen.items()
    ]
    times = {name: values["time"].to_numpy() for name, values in seen.items()}

    def run(parameters: dict[str, float]) -> np.ndarray:
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "out.nc"
            given = {name: repr(value) for name, value in parameters.items()}
            words = [word.format(**given, out=out) for word in shlex.split(command)]
            _call(words, out, seconds)
            with open_netcdf(out) as made:
                return np.concatenate([_at(made, name, at) for name, at in times.items()])

    return function_problem(
        run,
        observed=np.concatenate([values.to_numpy() for values in seen.values()]).astype(float),
        errors=np.concatenate([values.to_numpy() for values in errors]).astype(float),
        bounds=bounds,
        workers=workers,
    )


def _no_gradient(z: Array, columns: Any) -> Array:
    raise InputError(
        "a black box cannot be differentiated, expected a method that only evaluates: bayesopt, "
        "history, eki or eks; choose one"
    )


def _physical(
    z: Array, columns: Any, *, limits: Mapping[str, tuple[float, float]]
) -> dict[str, Array]:
    return {
        name: uniform(z[i], jnp.asarray(low), jnp.asarray(high))
        for i, (name, (low, high)) in enumerate(limits.items())
    }


def _single(values: xr.DataArray) -> xr.DataArray:
    """The series in time of the only column."""
    if "column" in values.dims and values.sizes["column"] != 1:
        raise InputError(
            f"{values.name} has {values.sizes['column']} columns, expected one; choose it"
        )
    series = values.squeeze("column", drop=True) if "column" in values.dims else values
    if series.dims != ("time",):
        raise InputError(f"{values.name} has dims {series.dims}, expected time; correct it")
    return series


def _call(words: list[str], out: Path, seconds: float | None) -> None:
    """Run a command that is to write a file.

    Raises:
        InputError: if it cannot be started, fails, takes too long or writes nothing.
    """
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=seconds, check=False)
    except OSError as error:
        raise InputError(
            f"{words[0]}: cannot be run ({error.strerror}); give a command that can"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise InputError(f"{words[0]}: not done after {seconds:g} s; allow it more") from error
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["it says nothing"])[-1]
        raise InputError(f"{words[0]}: ended with status {done.returncode} ({last}); mend it")
    if not out.is_file():
        raise InputError(f"{words[0]}: wrote no file, expected one at {{out}}; mend the command")


def _at(made: xr.Dataset, name: str, times: np.ndarray) -> np.ndarray:
    """A variable of a command's output at the records that hold some times."""
    if name not in made:
        raise InputError(f"the command's file has no {name}, expected what was observed; add it")
    series = _single(made[name])
    index = series.indexes["time"].get_indexer(times, method="ffill")
    if (index < 0).any():
        raise InputError(f"the command's file begins after the first observation of {name}")
    return series.to_numpy()[index].astype(float)
