"""The loop: reanalysis with the model, a correction learnt from it, the hybrid, and round again."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from assimilation.filters import Run, Scheme, run_filter
from assimilation.filters.forecast import by_cycle, starts_step
from assimilation.model_error.hybrid import Hybrid
from assimilation.model_error.offline import Offline, fit_offline
from assimilation.model_error.online import Online, fit_online
from assimilation.model_error.pairs import warn_if_few
from assimilation.observations import Observations
from hybrid_land.errors import InputError
from hybrid_land.interface import Model

METHODS = ("offline", "online")


@dataclass(frozen=True)
class Loop:
    """What the loop does.

    Attributes:
        method: `offline`, the correction is fitted to the analyses; or `online`, states and
            weights are estimated together by weak-constraint 4D-Var that starts from them.
        most: cycles of the loop after the first reanalysis at most.
        least_gain: part by which the held-out score must fall for another cycle.
        held_out: part of the records, the last ones, that no weight is learnt from.
        noise: deviation of the model noise that the first filter adds in a cycle, in units of
            `scale`; estimated afterwards (online), or that of the filter before (offline).
        factors: of that deviation, each tried with the new hybrid; the one with the best held-out
            score is kept.
        least_noise: the smallest that is added.
        spin_up: cycles of a filter that are not scored or learnt from.
        lag: of the smoother whose means are the analyses after the first cycle; zero for the
            filter's own.
        offline: how to fit.
        online: how to minimise; from the second cycle on with the deviation that was left.
    """

    method: str = "online"
    most: int = 3
    least_gain: float = 0.005
    held_out: float = 0.1
    noise: float = 0.2
    factors: tuple[float, ...] = (1.0, 0.5)
    least_noise: float = 1e-3
    spin_up: int = 100
    lag: int = 10
    offline: Offline = field(default_factory=Offline)
    online: Online = field(default_factory=Online)


@dataclass(frozen=True)
class Round:
    """A cycle of the loop.

    Attributes:
        hybrid: the model of this cycle's filter.
        run: what the filter found.
        noise: the deviation of the model noise that it added, in units of `scale`.
        score: RMS of the innovations over the observations' errors in the part held out.
    """

    hybrid: Hybrid
    run: Run
    noise: float
    score: float


@dataclass(frozen=True)
class Learnt:
    """What the loop leaves.

    Attributes:
        hybrid: the one with the best held-out score.
        rounds: of the loop; the first is the filter of the model without a correction.
        best: the number of the best round.
        stopped: whether the score stopped the loop, not the number of cycles.
    """

    hybrid: Hybrid
    rounds: tuple[Round, ...]
    best: int
    stopped: bool


def learn_error(
    hybrid: Hybrid,
    parameters: Mapping[str, Float[Array, " column"]],
    members: Mapping[str, Float[Array, "member column"]],
    forcing: Mapping[str, Float[Array, "step column"]],
    observations: Observations,
    *,
    scheme: Scheme | None = None,
    scale: Mapping[str, float] | None = None,
    loop: Loop | None = None,
    key: Array,
    report: Callable[[int, Round], None] | None = None,
) -> Learnt:
    """Learn a model's error from observations (Brajard et al. 2020; Farchi et al. 2021).

    A cycle: the filter analyses all observations with the model it has; the correction is learnt
    from the analyses (`offline`) or from the observations with the analyses as a first guess
    (`online`), without the part held out; the hybrid and its remaining error, which becomes the
    next filter's noise, take the model's place. The loop ends when the innovations of the part
    held out do not get smaller by `least_gain`.

    Args:
        hybrid: the model and an untrained correction.
        parameters: leaves `[column]`.
        members: the ensemble at record 0, leaves `[member, column]`.
        forcing: leaves `[step, column]`.
        observations: leaves `[record, column]`, records 0 to the number of steps.
        scheme: of the filter; its additive noise (not drawn) and its lag are the loop's.
        scale: unit of the model's error for each variable, one by default.
        loop: what to do.
        key: of everything random.
        report: called with the number of each round and the round.

    Raises:
        InputError: for a method that is not known or options that leave no observations to learn
            from or to hold out, and as the filter does.

    Warns:
        UserWarning: for fewer analyses than weights.
    """
    loop, scheme = loop or Loop(), scheme or Scheme()
    if loop.method not in METHODS:
        raise InputError(f"method {loop.method!r} of the loop, expected offline or online; choose")
    units = {name: float((scale or {}).get(name, 1.0)) for name in hybrid.prognostic}
    steps = next(iter(forcing.values())).shape[0]
    cycles = steps // scheme.every
    training = int((1.0 - loop.held_out) * cycles)
    if not loop.spin_up < training < cycles:
        raise InputError(
            f"{cycles} cycles, of which {loop.spin_up} are spin-up and the last "
            f"{cycles - training} are held out, leave none to learn from or to score; assimilate "
            "longer"
        )
    columns = next(iter(members.values())).shape[1]
    warn_if_few((training - loop.spin_up) * columns, hybrid.correction)

    def analysed(model: Hybrid, noises: Iterable[float], number: int) -> Round:
        lag = loop.lag if number else 0
        tried: list[Round] = []
        for noise in dict.fromkeys(max(noise, loop.least_noise) for noise in noises):
            additive = {name: noise * unit for name, unit in units.items()}
            run = run_filter(
                *(model, dict(parameters), members, forcing, observations),
                scheme=replace(scheme, additive=additive, drawn=False, lag=lag),
                key=jax.random.fold_in(key, 2 * number),
            )
            tried.append(
                Round(model, run, noise, held_out_score(run, model, observations, training))
            )
        found = min(tried, key=lambda one: one.score)
        if report is not None:
            report(number, found)
        return found

    first, last_record = loop.spin_up * scheme.every, training * scheme.every
    rounds = [analysed(hybrid, [loop.noise], 0)]
    online, best, stopped = loop.online, 0, False
    for number in range(1, loop.most + 1):
        last = rounds[-1]
        own = jax.random.fold_in(key, 2 * number + 1)
        clean = training - (loop.lag if last.run.smoother_mean is not None else 0)
        states = {n: x[loop.spin_up :] for n, x in _states(last.run, members, clean).items()}
        weather = {name: x[first:last_record] for name, x in forcing.items()}
        if loop.method == "online":
            estimate = fit_online(
                *(last.hybrid, parameters),
                {name: jnp.repeat(x, scheme.every, axis=0) for name, x in states.items()},
                weather,
                observations.window(first, last_record),
                scale=units,
                options=online,
                key=own,
            )
            # A random walk: the variance of a window, in the share of a cycle.
            noise = estimate.deviation * np.sqrt(scheme.every / online.steps)
            better = estimate.hybrid
            online = replace(online, deviation=max(1.5 * estimate.deviation, online.least))
        else:
            some = {name: x[: training - loop.spin_up + 1] for name, x in states.items()}
            better, _ = fit_offline(
                *(last.hybrid, parameters, some, weather),
                every=scheme.every,
                options=loop.offline,
                key=own,
            )
            noise = last.noise
        rounds.append(analysed(better, [noise * factor for factor in loop.factors], number))
        stopped = not rounds[-1].score < (1.0 - loop.least_gain) * rounds[best].score
        if rounds[-1].score < rounds[best].score:
            best = number
        if stopped:
            break
    return Learnt(rounds[best].hybrid, tuple(rounds), best, stopped)


def held_out_score(run: Run, model: Model, observations: Observations, training: int) -> float:
    """RMS of the innovations after the first `training` cycles, each over its error.

    It is one for perfect forecasts, and infinite if a forecast is not finite.

    Args:
        run: of a filter.
        model: of that filter.
        observations: what it saw.
        training: cycles that are not scored.
    """
    every, cycles = int(run.records[0]), len(run.records)
    early = tuple(starts_step(name, tuple(model.diagnostic)) for name in observations.errors)
    (errors,) = by_cycle([list(observations.errors.values())], early, every=every, cycles=cycles)
    scaled = (run.innovation / errors)[training:]
    if not bool(jnp.all(jnp.isfinite(run.analysis_mean[training:]))):
        return float("inf")
    score = float(jnp.sqrt(jnp.nanmean(scaled**2)))
    return score if np.isfinite(score) else float("inf")


def _states(run: Run, members: Mapping[str, Array], clean: int) -> dict[str, Array]:
    """Means at record 0 and the ends of the cycles.

    The smoother's where there is one, but for those after the first `clean` cycles, which have
    seen observations that are held out.
    """
    means = run.analysis_mean
    if run.smoother_mean is not None:
        size = run.smoother_mean.shape[1]
        means = jnp.concatenate([run.smoother_mean[:clean], means[clean:, :size]])
    names = run.names[: means.shape[1]]
    return {
        name: jnp.concatenate([members[name].mean(axis=0)[None], means[:, k]])
        for k, name in enumerate(names)
    }
