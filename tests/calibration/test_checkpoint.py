"""A killed run of NUTS goes on to what it would have given, and to nothing else."""

from dataclasses import replace
from typing import Any

import jax
import numpy as np
import pytest

from calibration.checkpoint import FILE
from calibration.nuts import nuts
from calibration.problem import Problem, with_observations
from hybrid_land.errors import InputError
from tests.calibration.exact import seen_itself

COLUMNS, SEEN = 3, 4


@pytest.fixture(scope="module")
def problem():
    """z is observed itself, four times a column."""
    observed = np.random.default_rng(0).normal(size=(SEEN, COLUMNS))
    return seen_itself(observed)


def run(problem, *, seed=0, draws=70, **options):
    return nuts(problem, key=jax.random.key(seed), chains=2, warmup=10, draws=draws, **options)


@pytest.fixture(scope="module")
def whole(problem):
    return run(problem)


def killed(problem, folder, *, at):
    def stop(done, total):
        if done >= at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(problem, restart=folder, progress=stop)


def test_a_killed_run_goes_on_to_the_same_result(problem, whole, tmp_path):
    killed(problem, tmp_path / "kept", at=40)
    told = []
    z, statistics = run(
        problem, restart=tmp_path / "kept", progress=lambda done, _: told.append(done)
    )
    assert told == [60, 80]
    np.testing.assert_array_equal(z, whole[0])
    for name, values in whole[1].items():
        np.testing.assert_array_equal(statistics[name], values)


def test_a_finished_run_is_read_again_or_made_longer(problem, whole, tmp_path):
    run(problem, restart=tmp_path, draws=50)
    told = []
    z, _ = run(problem, restart=tmp_path, progress=lambda done, _: told.append(done))
    assert told == [80]
    np.testing.assert_array_equal(z, whole[0])
    again, _ = run(problem, restart=tmp_path, progress=lambda *_: pytest.fail("nothing to do"))
    np.testing.assert_array_equal(again, whole[0])


def test_a_run_that_is_killed_while_chains_are_made_longer_goes_on(problem, tmp_path):
    whole, statistics = run(problem, draws=12, longer=3)
    short, _ = run(problem, draws=12)
    assert (whole != short).any(axis=(0, 1, 2)).any()

    def stop(done, end):
        if (done, end) == (66, 84):  # of the third doubling
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(problem, draws=12, longer=3, restart=tmp_path, progress=stop)
    told = []
    z, found = run(
        problem,
        draws=12,
        longer=3,
        restart=tmp_path,
        progress=lambda done, end: told.append((done, end)),
    )
    assert told == [(77, 84), (84, 84)]
    np.testing.assert_array_equal(z, whole)
    for name, values in statistics.items():
        np.testing.assert_array_equal(found[name], values)
    # The chains that agree at once are still those of the run without, and are read as such.
    again, _ = run(problem, draws=12, restart=tmp_path, progress=lambda *_: pytest.fail("no"))
    np.testing.assert_array_equal(again, short)


def test_chains_of_another_run_are_refused(problem, tmp_path):
    killed(problem, tmp_path, at=20)
    others: list[tuple[Problem, dict[str, Any]]] = [
        (problem, {"seed": 1}),
        (problem, {"target_acceptance": 0.7}),
        (with_observations(problem, np.zeros((SEEN, COLUMNS))), {}),
        (replace(problem, columns={"one": 2.0 * problem.columns["one"]}), {}),
        (replace(problem, names=("theta_pwp",)), {}),
    ]
    for other, options in others:
        with pytest.raises(InputError, match="chains of another run, expected the same data"):
            run(other, restart=tmp_path, **options)
    (tmp_path / FILE).write_bytes(b"half a file")
    with pytest.raises(InputError, match=r"not kept chains .*; remove it"):
        run(problem, restart=tmp_path)
