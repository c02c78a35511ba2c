"""One cycle of a filter: forecast, failed members, analysis, inflation, bounds, smoother."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from assimilation.filters import analyses, inflation, particles
from assimilation.filters.analyses import Ensemble, Predicted, Seen
from assimilation.filters.forecast import Members, Operators, forecast
from assimilation.filters.letkf import local_weights, locally_transformed
from assimilation.filters.members import failed, replaced, within
from assimilation.filters.scheme import Scheme
from assimilation.filters.shown import look
from hybrid_land.interface import Model, Parameters

Observed = tuple[Seen, Seen, Seen]  # values, errors, mask
Rows = Float[Array, "member _ column"]  # of quantities, whatever they are
# What an analysis does to rows of members, at this time or another; by keyword, whether the rows
# are the variables analysed or other quantities of their column.
Update = Callable[..., Ensemble]


@dataclass(frozen=True)
class Setting:
    """What stays the same over the cycles of a run.

    Attributes:
        model: anything with the `step` interface.
        parameters: leaves `[column]`.
        forcing: leaves `[record, column]` or `[record, member, column]`.
        operators: of the observables.
        looked: of other quantities to look at.
        names: of the variables of an ensemble `[member, variable, column]`, analysed ones first.
        size: how many are analysed.
        scheme: options.
    """

    model: Model
    parameters: Parameters
    forcing: Mapping[str, Array]
    operators: Operators
    looked: Operators
    names: tuple[str, ...]
    size: int
    scheme: Scheme

    def named(self, ensemble: Ensemble) -> Members:
        """The members by variable."""
        return {name: ensemble[:, k] for k, name in enumerate(self.names)}

    def weather(self, records: Array) -> dict[str, Array]:
        """The forcing at some records, the nearest one for those outside."""
        return {n: jnp.take(x, records, axis=0, mode="clip") for n, x in self.forcing.items()}

    def forecast(
        self, ensemble: Ensemble, record: Array, *, window: int = 0
    ) -> tuple[list[Ensemble], Predicted]:
        """The members at the end of a cycle from a record, and what they say of it.

        Args:
            ensemble: at the record.
            record: the first of the cycle.
            window: cycles that end with the one to look at, if more than one is run: members are
                then those at each one's end, and records before the first stand still.
        """
        span = max(window, 1)
        weather = self.weather(record + jnp.arange(span * self.scheme.every + 1))
        ends, seen = forecast(
            self.model,
            self.parameters,
            self.named(ensemble),
            weather,
            (*self.operators, *self.looked),
            window=span,
            held_to=record if window else None,
        )
        return [jnp.stack([end[n] for n in self.names], axis=1) for end in ends], seen

    def apart(self, predicted: Rows) -> tuple[Rows, Rows]:
        """The observations' part of what members say, and that of the quantities looked at."""
        count = self.scheme.every * len(self.operators)
        return predicted[:, :count], predicted[:, count:]

    def ends(self, others: Rows) -> Rows:
        """The quantities looked at, at the cycle's last record."""
        return others[:, self.scheme.every - 1 :: self.scheme.every]

    def bounded(self, whole: Rows, after: Rows, *, frozen: bool = True) -> Ensemble:
        """Analysed variables within bounds, see `members.within`.

        Args:
            whole: all variables before the analysis, or those analysed.
            after: those analysed, after it.
            frozen: whether `whole` holds the soil's temperatures.
        """
        temperatures = self.named(whole) if frozen else {}
        return within(
            self.names[: self.size],
            whole[:, : self.size],
            after,
            self.parameters,
            {n: x for n, x in temperatures.items() if n.startswith("stl")},
        )

    def mended(
        self, key: Array, ensemble: Ensemble, predicted: Predicted, bad: Bool[Array, "_ _"]
    ) -> tuple[Ensemble, Predicted]:
        """Failed members replaced, see `members.replaced`."""
        noise = jnp.asarray(self.scheme.replacement)

        def mend(key: Array, *given: Array) -> tuple[Array, Array]:
            whole, seen = replaced(key, *given, noise=noise, noisy=self.size)
            sound = jnp.where(jnp.isfinite(given[0]), given[0], whole)[:, : self.size]
            inside = self.bounded(sound, whole[:, : self.size], frozen=False)
            return jnp.concatenate([inside, whole[:, self.size :]], axis=1), seen

        return jax.lax.cond(
            jnp.any(bad),
            mend,
            lambda key, ensemble, predicted, bad: (ensemble, predicted),
            *(key, ensemble, predicted, bad),
        )

    def turning(self, key: Array, ensemble: Ensemble, mask: Seen) -> Array | None:
        """Of each column, the rotation less one: none where nothing was observed."""
        if not self.scheme.rotate:
            return None
        members = ensemble.shape[0]
        less = analyses.rotation(key, members) - jnp.eye(members)
        less = jnp.broadcast_to(less[None], (mask.shape[-1], members, members))
        less = less.astype(ensemble.dtype)
        if self.scheme.localisation is not None:
            return less  # columns that share observations turn together
        return jnp.where(jnp.any(mask > 0, axis=0)[:, None, None], less, 0.0)

    def relaxed(self, before: Ensemble, after: Ensemble, mask: Seen) -> Ensemble:
        """Inflation of analysed members, where an observation reached them."""
        scheme, wide = self.scheme, after
        if scheme.rtpp is not None:
            wide = inflation.rtpp(before, wide, scheme.rtpp)
        if scheme.rtps is not None:
            wide = inflation.rtps(before, wide, scheme.rtps)
        wide = inflation.multiplicative(wide, scheme.inflation)
        touched = jnp.any(mask > 0, axis=0)[None, None]
        if scheme.localisation is not None:
            touched = jnp.any(after != before, axis=0, keepdims=True)
        return jnp.where(touched, wide, after)

    def update(self, key: Array, predicted: Predicted, observed: Observed) -> Update:
        """The analysis of the scheme's method."""
        scheme = self.scheme
        if scheme.method == "pf":
            source = particles.resampled(key, predicted, *observed)
            return lambda E, other=False: particles.chosen(E, source=source)
        if scheme.localisation is not None:
            local = scheme.localisation
            D = local_weights(predicted, *observed, localisation=local, every=scheme.every)
            return partial(locally_transformed, D=D, localisation=local)
        enkf_n = analyses.enkf_n_to_turn if scheme.any_root else analyses.enkf_n
        weights: Any = {
            "etkf": analyses.etkf_to_turn if scheme.any_root else analyses.etkf,
            "enkf": analyses.enkf,
            "denkf": analyses.denkf,
            "enkf-n": partial(enkf_n, certainty=jnp.asarray(scheme.certainty)),
        }[scheme.method]
        D = analyses.weights_of(key, predicted, *observed, weights=weights)
        return lambda E, other=False: analyses.transformed(E, D)

    def look(self, ensemble: Ensemble, record: Array, otherwise: Rows) -> Rows:
        """The quantities looked at of members at a record, see `shown.look`."""
        weather = self.weather(record[None])
        named = self.named(ensemble)
        return look(self.model, self.parameters, named, weather, self.looked, otherwise=otherwise)


def statistics(name: str, ensemble: Ensemble) -> dict[str, Array]:
    """Mean and spread of an ensemble, called so."""
    return {f"{name}_mean": ensemble.mean(axis=0), f"{name}_spread": inflation.spread(ensemble)}


def departures(predicted: Predicted, observed: Observed) -> Seen:
    """Observation minus mean of the predicted ones, NaN where nothing was observed."""
    values, _, mask = observed
    return jnp.where(mask > 0, values - predicted.mean(axis=0), jnp.nan)


def of_forecast(
    ahead: Ensemble,
    predicted: Predicted,
    others: Rows,
    observed: Observed,
    bad: Bool[Array, "_ _"],
) -> dict[str, Array]:
    """What a cycle says of its forecast."""
    return (
        statistics("forecast", ahead)
        | statistics("shown", others)
        | {
            "innovation": departures(predicted, observed),
            "predicted_spread": inflation.spread(predicted),
            "failures": bad.sum(axis=0),
            "lost": jnp.any(jnp.all(bad, axis=0)),
        }
    )


def filter_cycle(
    setting: Setting, key: Array, carry: Any, number: Array, observed: Observed
) -> tuple[Any, dict[str, Array]]:
    """A forecast and an analysis; with a lag, an ensemble Kalman smoother.

    The smoother applies each analysis to the members at the ends of the cycles before (Evensen
    and van Leeuwen 2000), which turn as the present ones do, so that a member stays one run.

    Args:
        setting: of the run.
        key: of this cycle.
        carry: members at the cycle's start, the factor of adaptive inflation, and the members
            and quantities looked at, at the ends of the last `lag` cycles.
        number: of the cycle.
        observed: its observations.
    """
    scheme, size = setting.scheme, setting.size
    before, factor, past = carry
    for_noise, for_analysis, for_rotation, for_failed = jax.random.split(key, 4)
    if scheme.additive is not None:
        # Before the forecast, so that what is predicted of the observations has the noise too.
        deviations = inflation.additive_of(scheme.additive, setting.names[:size])
        deviations = deviations.astype(before.dtype)
        if scheme.drawn:
            noisy = inflation.additive(for_noise, before[:, :size], deviations)
        else:
            noisy = inflation.additive_root(before[:, :size], deviations)
        noisy = setting.bounded(before, noisy)
        before = jnp.concatenate([noisy, before[:, size:]], axis=1)
    (ahead,), said = setting.forecast(before, number * scheme.every)
    bad = failed(ahead, said)
    ahead, said = setting.mended(for_failed, ahead, said, bad)
    predicted, others = setting.apart(said)
    found = of_forecast(ahead, predicted, others, observed, bad)
    prior, ends = ahead[:, :size], setting.ends(others)
    if scheme.adaptive:
        S, d = analyses.scaled(predicted, *observed)
        factor = inflation.adapted(factor, S, d, observed[2])
        widen = partial(inflation.multiplicative, factor=jnp.sqrt(factor))
        prior, predicted, ends = widen(prior), widen(predicted), widen(ends)
    update = setting.update(for_analysis, predicted, observed)
    after = setting.relaxed(prior, update(prior), observed[2])
    ended = setting.relaxed(ends, update(ends, other=True), observed[2])
    if scheme.method == "pf":
        after = particles.regularised(for_noise, after, scheme.regularisation, observed[2])
    turn = setting.turning(for_rotation, before, observed[2])
    if turn is not None:
        after, ended = analyses.transformed(after, turn), analyses.transformed(ended, turn)
    after = setting.bounded(ahead, after)
    analysed = jnp.concatenate([after, ahead[:, size:]], axis=1)
    if scheme.method == "pf":
        analysed = analysed.at[:, size:].set(update(ahead[:, size:]))
    ended = setting.look(analysed, (number + 1) * scheme.every, ended)
    found |= statistics("analysis", analysed) | statistics("shown_analysis", ended)
    found["factor"] = factor
    found["residual"] = departures(update(predicted, other=True), observed)
    if scheme.keep_members:
        found["members"] = analysed
    if scheme.lag:
        every = len(setting.names)

        def later(E: Ensemble, record: Array) -> Ensemble:
            whole, looked = E[:, :every], update(E[:, every:], other=True)
            state = setting.bounded(whole, update(whole[:, :size]))
            beside = update(whole[:, size:]) if scheme.method == "pf" else whole[:, size:]
            whole = jnp.concatenate([state, beside], axis=1)
            if turn is not None:
                whole = analyses.transformed(whole, turn)
                looked = analyses.transformed(looked, turn)
            return jnp.concatenate([whole, setting.look(whole, record, looked)], axis=1)

        records = (number + 1 - scheme.lag + jnp.arange(scheme.lag)) * scheme.every
        if turn is None or scheme.localisation is None:
            # Where nothing is observed, nothing changes: on land most cycles are such.
            any_seen = jnp.any(observed[2] > 0)
            past = jax.lax.cond(any_seen, jax.vmap(later), lambda same, _: same, past, records)
        else:
            past = jax.vmap(later)(past, records)
        leaves = jnp.concatenate([past[0][:, :size], past[0][:, every:]], axis=1)
        found |= statistics("smoother", leaves)
        past = jnp.concatenate([past[1:], jnp.concatenate([analysed, ended], axis=1)[None]])
    return (analysed, factor, past), found
