"""Sound inputs of the command line in one folder, as small as they can be, and its answers."""

import json
from pathlib import Path
from typing import Any

import jax
import pytest

from assimilation import make_observations
from hybrid_land.cli import main
from hybrid_land.columns import forcing_from, parameters_from, state_from
from hybrid_land.data import save
from hybrid_land.data.samples import load_sample
from hybrid_land.models.emulator import create
from hybrid_land.models.store import save_model

CONFIGURATION = """\
hidden = [8]
phases = [{ length = 1, updates = 4, batch = 8 }]
validate_every = 2
checkpoint_every = 2
validation_share = 0.5
"""


def lay_out(folder: Path) -> Path:
    """Ten days of two columns, observations, a first guess, an untrained model, a configuration."""
    data = load_sample("ecland_sample").isel(time=slice(0, 40), column=slice(0, 2)).load()
    save(data, folder / "good.nc")
    save(make_observations(data, errors={"swvl1": 0.02}, every=4, seed=0), folder / "obs.nc")
    save(data.isel(time=0, drop=True), folder / "guess.nc")
    first = {name: series[0] for name, series in forcing_from(data).items()}
    model = create(
        parameters_from(data), state_from(data), first, hidden=(8,), key=jax.random.key(0)
    )
    save_model(model, folder / "model")
    (folder / "tiny.toml").write_text(CONFIGURATION)
    return folder


def run(arguments: str, capsys: pytest.CaptureFixture[str]) -> str:
    """Run a command that must succeed; its standard output."""
    return _succeeded(arguments, capsys)[0]


def answered(arguments: str, capsys: pytest.CaptureFixture[str]) -> tuple[Any, str]:
    """Run a command that must succeed with `--json`; its answer, and what it said beside."""
    out, err = _succeeded(f"{arguments} --json", capsys)
    return json.loads(out), err


def _succeeded(arguments: str, capsys: pytest.CaptureFixture[str]) -> tuple[str, str]:
    with pytest.raises(SystemExit) as ended:
        main(arguments.split())
    out, err = capsys.readouterr()
    assert ended.value.code == 0, err
    return out, err
