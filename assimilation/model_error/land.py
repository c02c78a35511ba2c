"""The loop on land: reanalysis of many columns, a correction learnt from it, the hybrid, again."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from flax import nnx
from jaxtyping import Array, Bool, Float

from assimilation.filter_options import OWN_GROWTH, FilterOptions, filter_scheme
from assimilation.filtering import first_members
from assimilation.filters import Scheme, run_filter
from assimilation.filters.forcing_errors import ForcingErrors, perturbed_forcing
from assimilation.filters.localisation import by_kind
from assimilation.model_error.ensemble_of_weights import EnsembleOfWeights, fit_ensemble
from assimilation.model_error.forecasts import Forecasts, fit_forecasts, starts_of
from assimilation.model_error.hybrid import Hybrid, make_hybrid, require_correctable
from assimilation.model_error.networks import ColumnNetwork
from assimilation.observations import Observations
from assimilation.operators import Context, on_records, operator_of
from assimilation.restart import load_window, save_window, settings_of
from hybrid_land.columns import forcing_from, parameters_from, state_from
from hybrid_land.compiled import run_compiled
from hybrid_land.errors import InputError
from hybrid_land.interface import ForcingSeries, Model, Parameters, State
from hybrid_land.rollout import rollout
from hybrid_land.variables import SOIL_TEMPERATURE, SOIL_WATER
from hybrid_land.weights import named_weights, with_weights

# A day: what a model that is wrong may add to its error, m3 m-3 and K.
WRONG_GROWTH = OWN_GROWTH | {"stl1": 0.4, "stl2": 0.2, "stl3": 0.05, "stl4": 0.01}
_OF_PLACES = ("theta_cap", "theta_pwp", "theta_sat", "cvl", "cvh")
_WRONG_GUESS = dict.fromkeys(SOIL_WATER, 0.02) | dict.fromkeys(SOIL_TEMPERATURE, 0.5)


def _reanalysis() -> FilterOptions:
    return FilterOptions(
        control=(*SOIL_WATER, *SOIL_TEMPERATURE),
        background_error=_WRONG_GUESS,
        members=20,
        cycle_days=1.0,
        lag_days=10.0,
        growth=WRONG_GROWTH,
        forcing=ForcingErrors(),
    )


@dataclass(frozen=True)
class LandLoop:
    """What the loop does.

    Attributes:
        most: cycles at most.
        least_gain: part by which the held-out score must fall for another cycle.
        held_out: share of the columns that no weight is learnt from.
        parameters: to correct in place of the output of the model's network, by a factor that
            depends on the column's soil and cover; learnt by `ensemble` from free runs.
        ensemble: how a correction of parameters is learnt.
        hidden: widths of the hidden layers of a correction inside.
        reanalysis: of the smoother (`enks`); of its variables, those that the model has.
        fit: how the correction is learnt.
        seed: of the columns held out, the network's first weights and the members.
    """

    most: int = 3
    least_gain: float = 0.002
    held_out: float = 0.2
    parameters: tuple[str, ...] = ()
    ensemble: EnsembleOfWeights = field(default_factory=EnsembleOfWeights)
    hidden: tuple[int, ...] = (6,)
    reanalysis: FilterOptions = field(default_factory=_reanalysis)
    fit: Forecasts = field(default_factory=Forecasts)
    seed: int = 0


@dataclass(frozen=True)
class LandRound:
    """A model of the loop.

    Attributes:
        hybrid: the model.
        departures: by observable, RMS over their errors of what a free run of the columns held
            out departs from the observations by, `[column]`; NaN where nothing was observed.
        score: root of the mean square of these, in units of the first model's: a mean over the
            observables of all the columns' observations.
    """

    hybrid: Hybrid
    departures: dict[str, Float[np.ndarray, " column"]]
    score: float


@dataclass(frozen=True)
class LandLearnt:
    """What the loop leaves.

    Attributes:
        hybrid: the one with the best held-out score.
        rounds: the model without a correction (or with the one it came with), and one a cycle.
        best: the number of the best.
        stopped: whether the score stopped the loop, not the number of cycles.
        held_out: columns that no weight was learnt from.
    """

    hybrid: Hybrid
    rounds: tuple[LandRound, ...]
    best: int
    stopped: bool
    held_out: Bool[np.ndarray, " column"]


def learn_land_error(
    model: Model,
    data: xr.Dataset,
    observations: Observations,
    *,
    first_guess: xr.Dataset | None = None,
    loop: LandLoop | None = None,
    held_out: Bool[np.ndarray, " column"] | None = None,
    restart: str | Path | None = None,
    report: Callable[[int, LandRound], None] | None = None,
) -> LandLearnt:
    """Learn the error of a model of land columns from observations (Brajard et al. 2020).

    A cycle: an ensemble Kalman smoother analyses all columns with the model it has, soil water and
    temperature apart (`localisation.by_kind`); the correction inside the model's network is learnt
    from forecasts that start from these analyses (`fit_forecasts`), or that of parameters from
    free runs alone (`fit_ensemble`); the hybrid takes the model's place. The loop ends when a free
    run over all the time, on columns that nothing was learnt from, does not come nearer to their
    observations.

    Args:
        model: with a network inside (`hybrid.Correctable`) unless parameters are corrected, or
            a hybrid, to learn on.
        data: forcing and parameters with dims `(time, column)`, and the first state.
        observations: on the records of `data`.
        first_guess: prognostic variables with dim `column`, in place of the data's first state.
        loop: what to do.
        held_out: columns that no weight is learnt from, in place of a draw.
        restart: a folder that keeps each cycle's hybrid: a run that was killed goes on from there
            to the same result.
        report: called with the number of each round and the round.

    Raises:
        InputError: for a model without a network, a parameter that the data lack, fewer than two
            columns, a share held out that leaves none, observations of nothing, and as the
            smoother and the fit do.

    Warns:
        UserWarning: for fewer analyses than weights.
    """
    loop = loop or LandLoop()
    if held_out is None:
        held_out = drawn(data.sizes["column"], loop.held_out, seed=loop.seed)
    parameters, forcing = parameters_from(data), forcing_from(data)
    if isinstance(model, Hybrid) and loop.parameters in ((), model.correction.names):
        hybrid = model
    elif loop.parameters:
        hybrid = with_factors(model, loop.parameters, parameters)
    else:
        hybrid = untrained(model, loop.hidden, seed=loop.seed)
    first = data if first_guess is None else first_guess
    state = state_from(first, variables=hybrid.prognostic)
    options = replace(
        loop.reanalysis,
        control=tuple(n for n in loop.reanalysis.control if n in hybrid.prognostic),
        growth={n: x for n, x in loop.reanalysis.growth.items() if n in hybrid.prognostic},
    )
    observed = tuple(observations.values)
    scheme = replace(
        filter_scheme("enks", options, hybrid, parameters, data, observed),
        method="letkf",
        localisation=by_kind(options.control, observed),
    )
    starts_of(data.sizes["time"], scheme.every, loop.fit)
    given = (hybrid, data, observations, parameters, forcing, state)
    work = _Work(*given, loop, options, scheme, held_out)

    settings = json.dumps(
        [
            settings_of("learn-error", loop.reanalysis, [], 0, data, observations),
            *(loop.seed, np.flatnonzero(held_out).tolist(), loop.hidden, asdict(loop.fit)),
            *(hybrid.correction.description, asdict(loop.ensemble)),
        ]
    )
    rounds: list[LandRound] = []
    best, stopped = 0, False
    for number in range(loop.most + 1):
        kept = None if restart is None else load_window(restart, number, settings=settings)
        if kept is not None:
            made = replace(
                hybrid, correction=with_weights(hybrid.correction, kept, source=str(restart))
            )
        else:
            made = work.better(rounds[-1].hybrid, number) if number else hybrid
        rounds.append(work.scored(made, rounds[0] if rounds else None))
        if restart is not None and kept is None:
            arrays = {n: np.asarray(x) for n, x in named_weights(made.correction).items()}
            save_window(restart, number, arrays, settings=settings)
        if report is not None:
            report(number, rounds[-1])
        if number:
            stopped = not rounds[-1].score < (1.0 - loop.least_gain) * rounds[best].score
            best = number if rounds[-1].score < rounds[best].score else best
            if stopped:
                break
    return LandLearnt(rounds[best].hybrid, tuple(rounds), best, stopped, held_out)


def drawn(columns: int, share: float, *, seed: int) -> Bool[np.ndarray, " column"]:
    """A share of the columns at random: at least one, and not all.

    Raises:
        InputError: for a share that is none or all, or fewer than two columns.
    """
    if not 0.0 < share < 1.0 or columns < 2:
        raise InputError(
            f"{share:g} of {columns} columns held out, expected some of two or more (0 to 1); "
            "correct it"
        )
    count = int(np.clip(round(share * columns), 1, columns - 1))
    return np.isin(np.arange(columns), np.random.default_rng(seed).permutation(columns)[:count])


def untrained(model: Model, hidden: tuple[int, ...], *, seed: int = 0) -> Hybrid:
    """The model with a correction inside that changes nothing yet.

    Raises:
        InputError: for a model without a network.
    """
    inside = require_correctable(model)
    correction = ColumnNetwork(
        inputs=inside.inputs, names=tuple(inside.heads), hidden=hidden, rngs=nnx.Rngs(seed)
    )
    return make_hybrid(model, correction, form="inside")


def with_factors(model: Model, names: tuple[str, ...], parameters: Parameters) -> Hybrid:
    """The model with factors of parameters, log-linear in soil and cover, that are one as yet.

    Raises:
        InputError: for a parameter that is not there, or named twice.
    """
    wrong = [n for n in names if n not in parameters or names.count(n) > 1]
    if wrong:
        raise InputError(
            f"{wrong[0]!r} is not a parameter of the data, or is named twice, expected some of "
            f"{', '.join(sorted(parameters))}; correct it"
        )
    inputs = tuple(n for n in dict.fromkeys((*names, *_OF_PLACES)) if n in parameters)
    rows = np.stack([np.asarray(parameters[n], np.float64) for n in inputs])
    correction = ColumnNetwork(
        inputs=inputs,
        names=names,
        hidden=(),
        mean=rows.mean(axis=1),
        spread=np.maximum(rows.std(axis=1), 1e-6),
        rngs=nnx.Rngs(0),
    )
    return make_hybrid(model, correction, form="parameters")


@dataclass(frozen=True)
class _Work:
    """What every cycle needs."""

    hybrid: Hybrid
    data: xr.Dataset
    observations: Observations
    parameters: Parameters
    forcing: ForcingSeries
    state: State
    loop: LandLoop
    reanalysis: FilterOptions
    scheme: Scheme
    held_out: np.ndarray

    def better(self, hybrid: Hybrid, number: int) -> Hybrid:
        """What a cycle makes of the last one's model."""
        if hybrid.form == "parameters":
            own = self._cut(~self.held_out)
            return fit_ensemble(
                hybrid, *own, options=self.loop.ensemble, seed=self.loop.seed + number
            )[0]
        options = replace(self.reanalysis, seed=self.loop.seed + number)
        for_first, for_weather, for_filter = jax.random.split(jax.random.key(options.seed), 3)
        members = first_members(for_first, options, self.parameters, self.state)
        weather, _ = perturbed_forcing(
            for_weather,
            self.forcing,
            errors=options.forcing,
            members=options.members,
            time_step=hybrid.time_step,
        )
        run = run_filter(
            *(hybrid, self.parameters, members, weather, self.observations),
            scheme=self.scheme,
            key=for_filter,
        )
        means = dict(zip(run.names, jnp.moveaxis(run.analysis_mean, 1, 0), strict=True))
        if run.smoother_mean is not None:
            analysed = run.names[: run.smoother_mean.shape[1]]
            means |= dict(zip(analysed, jnp.moveaxis(run.smoother_mean, 1, 0), strict=True))
        analyses = {
            name: jnp.concatenate([members[name].mean(axis=0)[None], x])
            for name, x in means.items()
        }
        return fit_forecasts(
            *(hybrid, self.parameters, analyses, self.forcing, self.observations),
            every=self.scheme.every,
            held_out=self.held_out,
            options=self.loop.fit,
        )[0]

    def _cut(self, which: np.ndarray) -> tuple[Parameters, State, ForcingSeries, Observations]:
        """What some columns are given, and what was observed there."""
        columns = np.flatnonzero(which)
        whole = self.parameters, self.state, self.forcing, self.observations
        return jax.tree.map(lambda x: x[..., columns], whole)

    def scored(self, hybrid: Hybrid, first: LandRound | None) -> LandRound:
        """A model and its score."""
        given = self._cut(self.held_out)
        squares = run_compiled(_free_departures, hybrid, *given)
        count = {n: np.asarray(x.sum(axis=0)) for n, x in given[-1].mask.items()}
        if not any(x.any() for x in count.values()):
            raise InputError(
                f"the {self.held_out.sum()} columns held out have no observation, expected some; "
                "give more columns or observations"
            )
        with np.errstate(invalid="ignore", divide="ignore"):
            departures = {n: np.sqrt(np.asarray(x) / count[n]) for n, x in squares.items()}
        whole = {n: float(np.sum(squares[n])) for n, x in count.items() if x.any()}
        unit = whole if first is None else _whole(first, count)
        score = float(np.sqrt(np.mean([whole[n] / max(unit[n], 1e-12) for n in whole])))
        return LandRound(hybrid, departures, score if np.isfinite(score) else float("inf"))


def _whole(first: LandRound, count: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Sums of squares from a round's departures."""
    return {
        n: float(np.nansum(x.astype(np.float64) ** 2 * count[n]))
        for n, x in first.departures.items()
        if count[n].any()
    }


def _free_departures(
    model: Model,
    parameters: Parameters,
    state: State,
    forcing: ForcingSeries,
    observations: Observations,
) -> dict[str, Array]:
    """By observable, the sum over time of squared departures over errors, `[column]`."""
    states, diagnostics = rollout(model, parameters, state, forcing)
    series = on_records(state, states, diagnostics)
    context = Context(model.time_step, parameters, forcing)
    found = {}
    for name, values in observations.values.items():
        departure = (values - operator_of(name)(series, context)) / observations.errors[name]
        found[name] = jnp.sum(observations.mask[name] * departure**2, axis=0)
    return found
