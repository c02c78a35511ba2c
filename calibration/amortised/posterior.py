"""A posterior learnt once: from features of the data to draws, kept in a folder."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from calibration.amortised.features import Probes, fit_of_probes, make_probes, probed
from calibration.amortised.networks import (
    compiled,
    make_flow,
    make_map,
    named_arrays,
    sample_flow,
    sample_map,
    with_arrays,
)
from calibration.problem import Problem
from hybrid_land.errors import InputError
from hybrid_land.weights import DESCRIPTION, WEIGHTS, read_weights, write_weights

_FORMAT = "hybrid_land amortised posterior 1"


@dataclass(frozen=True)
class Settings:
    """What a network is built from.

    Attributes:
        kind: a normalising flow, or DBUQ's map from noise to draws.
        names: of the parameters.
        features: how many numbers it is conditioned on.
        probes: points of the parameters at which each column's likelihood is taken; without any
            the whitened observations are the features.
        layers: of the flow, or hidden ones of the map.
        width: of each.
        knots: of the flow's splines.
    """

    kind: Literal["flow", "dbuq"]
    names: tuple[str, ...]
    features: int
    probes: int
    layers: int
    width: int
    knots: int = 0


@dataclass(frozen=True)
class AmortisedPosterior:
    """Draws of the posterior of a column in milliseconds, by a network trained on simulations.

    Attributes:
        settings: of the network.
        network: a flow of flowjax, or weights of a map.
        mean: of the features in training.
        matrix: that makes the features of training uncorrelated, with a spread of one.
        largest: normalised feature in training, by absolute value.
    """

    settings: Settings
    network: Any
    mean: Float[np.ndarray, " feature"]
    matrix: Float[np.ndarray, "feature feature"]
    largest: float

    @property
    def probes(self) -> Probes | None:
        """Where each column's likelihood is taken."""
        number = self.settings.probes
        return make_probes(len(self.settings.names), number) if number else None

    def features(self, problem: Problem) -> Float[np.ndarray, "column feature"]:
        """What the network sees of each column: a run of the column for each probe.

        Args:
            problem: of columns it may never have seen, in the same parameters.

        Raises:
            InputError: if the problem's parameters or observations are not those learnt.
        """
        if problem.names != self.settings.names:
            raise InputError(
                f"an amortised posterior of {', '.join(self.settings.names)}, expected one of "
                f"{', '.join(problem.names)}; train it for these parameters"
            )
        found = features_of(problem, self.probes)
        if found.shape[1] != self.settings.features:
            raise InputError(
                f"{found.shape[1]} observations, expected the {self.settings.features} that the "
                "amortised posterior was trained on; train it with probes"
            )
        return found

    def normalised(
        self, features: Float[np.ndarray, "column feature"]
    ) -> Float[Array, "column feature"]:
        """Features with the mean and covariance of training taken out.

        Args:
            features: from `features`.
        """
        return jnp.asarray((features - self.mean) @ self.matrix, jnp.float32)

    def sample(
        self, features: Float[np.ndarray, "column feature"], key: Array, *, draws: int
    ) -> Float[np.ndarray, "draw parameter column"]:
        """Draws of each column's standard normal parameters.

        Args:
            features: from `features`.
            key: of the draws.
            draws: of each column.
        """
        return np.moveaxis(self._drawn(features, key, draws)[0], 1, 2)

    def sample_and_density(
        self, features: Float[np.ndarray, "column feature"], key: Array, *, draws: int
    ) -> tuple[Float[np.ndarray, "draw parameter column"], Float[np.ndarray, "draw column"]]:
        """The same, and the logarithm of the density that a flow gives each draw.

        Args and errors as of `sample`; a map from noise to draws has no density.

        Raises:
            InputError: for a map.
        """
        if self.settings.kind == "dbuq":
            raise InputError("dbuq has no density, expected a flow to weigh draws with; use flow")
        draw, density = self._drawn(features, key, draws)
        return np.moveaxis(draw, 1, 2), density

    def _drawn(self, features: np.ndarray, key: Array, draws: int) -> tuple[np.ndarray, Any]:
        # No further out than training was: a spline's layers run away beyond.
        x_norm = jnp.clip(self.normalised(features), -self.largest, self.largest)
        if self.settings.kind == "dbuq":
            return np.asarray(compiled(sample_map, self.network, x_norm, key, draws=draws)), None
        drawn, density = compiled(sample_flow, self.network, x_norm, key, draws=draws)
        return np.asarray(drawn), np.asarray(density)


def features_of(problem: Problem, probes: Probes | None) -> Float[np.ndarray, "column feature"]:
    """Features of each column: of probes, or the whitened observations themselves.

    Args:
        problem: of all columns.
        probes: points at which each column is run.
    """
    if probes is None:
        return np.asarray(problem.observed).T
    seen = probed(problem, probes)
    return np.asarray(fit_of_probes(problem.observed, seen, *interpolation(probes)))


def interpolation(probes: Probes) -> tuple[Array, Array]:
    """Points and weights of the interpolation between probes, in single precision."""
    return jnp.asarray(probes.points, jnp.float32), jnp.asarray(probes.weights, jnp.float32)


def make_network(settings: Settings, key: Array) -> Any:
    """An untrained network.

    Args:
        settings: of the network.
        key: of its first weights.
    """
    sizes = {
        "parameters": len(settings.names),
        "features": settings.features,
        "layers": settings.layers,
        "width": settings.width,
    }
    if settings.kind == "dbuq":
        return make_map(key, **sizes)
    return make_flow(key, **sizes, knots=settings.knots)


def save_amortised(posterior: AmortisedPosterior, folder: str | Path) -> None:
    """Write `model.json` and `weights.safetensors`, each whole or not at all.

    Args:
        posterior: trained.
        folder: made if absent.

    Raises:
        InputError: if the folder cannot be written.
    """
    arrays = {f"network.{name}": leaf for name, leaf in named_arrays(posterior.network).items()}
    normalisation = {"mean": posterior.mean, "matrix": posterior.matrix}
    description = {
        "format": _FORMAT,
        "settings": asdict(posterior.settings),
        "largest": posterior.largest,
    }
    write_weights(folder, arrays | normalisation, description)


def load_amortised(folder: str | Path) -> AmortisedPosterior:
    """Read what `save_amortised` wrote.

    Args:
        folder: with `model.json` and `weights.safetensors`.

    Raises:
        InputError: if the files are missing, of something else, or do not belong together.
    """
    source = Path(folder)
    try:
        description = json.loads((source / DESCRIPTION).read_text())
        described = description["settings"] | {"names": tuple(description["settings"]["names"])}
        settings, largest = Settings(**described), float(description["largest"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{source / DESCRIPTION}: no amortised posterior can be read ({error}); give a folder "
            "that save_amortised wrote"
        ) from error
    arrays = read_weights(source)
    network = make_network(settings, jax.random.key(0))
    expected = {f"network.{name}": np.shape(leaf) for name, leaf in named_arrays(network).items()}
    found = {name: x.shape for name, x in arrays.items() if name.startswith("network.")}
    if expected != found or not {"mean", "matrix"} <= set(arrays):
        raise InputError(
            f"{source / WEIGHTS}: the arrays are not those that {DESCRIPTION} describes; restore "
            "both files of one posterior"
        )
    own = {name.removeprefix("network."): arrays[name] for name in found}
    return AmortisedPosterior(
        settings, with_arrays(network, own), arrays["mean"], arrays["matrix"], largest
    )
