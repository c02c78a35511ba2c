"""`hybrid-land calibrate --checks`: lines, JSON, figures, and what is refused."""

import json
from pathlib import Path

import pytest

from calibration import load_posterior
from tests.kit import answered
from tests.mistakes import fails

COMMAND = (
    "calibrate model good.nc --obs obs.nc --out out.nc --method laplace --draws 100 --predictions 0"
)


def test_checks_are_said_drawn_and_kept(toy_place, capsys, monkeypatch):
    at = []
    monkeypatch.setattr("calibration.checks.plots.date_axis", at.append)
    found, _ = answered(f"{COMMAND} --checks predictive,loo --figures drawn", capsys)
    said = found["words"].splitlines()[-2:]
    assert said[0].startswith("predictive: prior predictive:")
    assert "observations lie within the 90% intervals" in said[0]
    assert said[1].startswith("loo: PSIS-LOO")
    assert len(found["checks"]["loo"]["elpd"]) == 2
    drawn = sorted(path.name for path in Path("drawn").iterdir())
    assert drawn == ["check_loo.png", "check_predictive.png"]
    assert len(at) == 1
    kept = json.loads(load_posterior("out.nc")["posterior"].attrs["checks"])
    assert kept == found["checks"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--checks rhat", "check 'rhat' is not known, expected predictive, loo"),
        ("--figures drawn", "--figures without --checks"),
        ("--structure pooled --checks sbc", "check sbc of columns that share parameters"),
    ],
)
def test_a_mistake_gets_one_line(toy_place, capsys, options, words):
    assert words in fails(f"{COMMAND} {options}", place=toy_place, capsys=capsys)
