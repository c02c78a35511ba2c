"""Forecasts of every column from many starts at once."""

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from hybrid_land.columns import forcing_numpy, parameters_from, state_from
from hybrid_land.interface import ForcingSeries, Model, Parameters, State
from hybrid_land.rollout import rollout


def _at_leads(
    model: Model, parameters: Parameters, state: State, forcing: ForcingSeries, leads: jax.Array
) -> dict[str, jax.Array]:
    states, diagnostics = rollout(model, parameters, state, forcing)
    return {name: series[leads - 1] for name, series in (states | diagnostics).items()}


_at_leads_compiled = jax.jit(_at_leads)


def rows_from_starts(
    truth: xr.Dataset, starts: np.ndarray, longest: int, prognostic: tuple[str, ...]
) -> tuple[Parameters, State, ForcingSeries]:
    """What a rollout of every column from every start needs, side by side as rows.

    Args:
        truth: ECLand.
        starts: records to start from, `[start]`.
        longest: steps to roll out.
        prognostic: names of the state.

    Returns:
        Parameters and state, leaves `[row]`, and forcing, leaves `[time, row]`, with
        row = start x columns + column.
    """
    columns = truth.sizes["column"]
    records = starts[:, None] + np.arange(longest)[None, :]

    def side_by_side(series: np.ndarray) -> jax.Array:
        return jnp.asarray(
            series[records].transpose(1, 0, 2).reshape(longest, len(starts) * columns)
        )

    forcing = {name: side_by_side(series) for name, series in forcing_numpy(truth).items()}
    parameters = {
        name: jnp.tile(values, len(starts)) for name, values in parameters_from(truth).items()
    }
    first = [state_from(truth, int(start), variables=prognostic) for start in starts]
    state = {name: jnp.concatenate([one[name] for one in first]) for name in prognostic}
    return parameters, state, forcing


def from_starts(
    model: Model, truth: xr.Dataset, starts: np.ndarray, leads: np.ndarray
) -> dict[str, np.ndarray]:
    """The model at each lead from each start, name to `[lead, start, column]`.

    Args:
        model: started anew from the truth's state.
        truth: forcing, parameters and states.
        starts: records to start from, `[start]`.
        leads: steps, `[lead]`, increasing; the last is how long each run is.
    """
    rows = rows_from_starts(truth, starts, int(leads[-1]), tuple(model.prognostic))
    out = _at_leads_compiled(model, *rows, jnp.asarray(leads))
    shape = (len(leads), len(starts), truth.sizes["column"])
    return {name: np.asarray(values).reshape(shape) for name, values in out.items()}
