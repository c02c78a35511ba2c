"""Fourth question: does the emulator answer to field capacity as ECLand does?"""

from pathlib import Path

import numpy as np
import xarray as xr

from hybrid_land.data import flatten_members
from hybrid_land.demo.part import Part, Say
from hybrid_land.figures import paper_style, place, save_figure
from hybrid_land.interface import Model
from hybrid_land.report import Headline, Picture, Section
from hybrid_land.report.figures import response_figure, slopes
from hybrid_land.report.words import sensitivity_findings
from hybrid_land.sensitivity import sensitivity
from hybrid_land.simulation import simulate
from hybrid_land.variables import SOIL_WATER

_COMPARED = (*SOIL_WATER, "slhf")
_SHOWN = (0, 1, 2)


def answer_to_field_capacity(model: Model, runs: xr.Dataset, *, out: Path, say: Say) -> Part:
    """Compare a year's means of emulator and ECLand, both run with nine values of theta_cap.

    Each run starts from the state that ECLand's own spin-up with that value ended in.

    Args:
        model: the emulator.
        runs: ECLand, dims `(time, member, column)`.
        out: folder for `sensitivity.nc` and the figures.
        say: told what goes on.
    """
    say("running the emulator with ECLand's values of theta_cap")
    flat = flatten_members(runs)
    run = simulate(model, flat)
    members, columns = runs.sizes["member"], runs.sizes["column"]
    theta_cap = runs["theta_cap"].transpose("member", "column").to_numpy()

    def mean(ds: xr.Dataset, name: str) -> np.ndarray:
        values = ds[name].transpose("time", "column").to_numpy().mean(axis=0)
        return values.reshape(members, columns)

    ecland = {name: mean(flat, name) for name in _COMPARED}
    emulator = {name: mean(run, name) for name in _COMPARED}
    metrics = {}
    relative = theta_cap / theta_cap[members // 2]
    for name in _COMPARED:
        theirs, ours = slopes(relative, ecland[name]), slopes(relative, emulator[name])
        metrics[name] = {
            "ecland": float(theirs.mean()),
            "emulator": float(ours.mean()),
            "correlation": float(np.corrcoef(theirs, ours)[0, 1]),
            "error": float(np.sqrt(np.mean((ours - theirs) ** 2) / np.mean(theirs**2))),
            "sign_right": int((np.sign(theirs) == np.sign(ours)).sum()),
            "columns": columns,
        }
    say("differentiating through the rollout")
    middle = flatten_members(runs.isel(member=[members // 2]))
    sensitivity(model, middle, parameters=("theta_cap",), out=out)
    with paper_style():
        figure = response_figure(
            theta_cap=theta_cap,
            ecland={name: ecland[name] for name in SOIL_WATER},
            emulator={name: emulator[name] for name in SOIL_WATER},
            labels=[place(runs, i) for i in range(columns)],
            columns=_SHOWN,
        )
        save_figure(figure, out / "field_capacity.png")
    return Part(metrics, _section(metrics, members, columns, out), _headline(metrics))


def _section(metrics: dict, members: int, columns: int, out: Path) -> Section:
    return Section(
        key="sensitivity",
        title="The answer to field capacity",
        question="If theta_cap alone is changed, does the emulator change as ECLand does?",
        method=(
            f"ECLand was run for a year with {members} values of theta_cap at {columns} places, "
            "everything else fixed, each with its own spin-up. The emulator ran from the same "
            "first states with the same values. None of these runs was used in training. The "
            "second figure is the emulator's alone: time means against a factor on theta_cap, "
            "with the exact derivative through the rollout."
        ),
        findings=sensitivity_findings(metrics),
        pictures=[
            Picture(
                out / "field_capacity.png",
                "Dots: ECLand's mean soil moisture of the year; lines: the emulator's, each as a "
                "change from the middle value. Right: slopes of all places and layers; on the "
                "diagonal the two agree.",
                "Answer of soil moisture to theta_cap",
            ),
            Picture(
                out / "sensitivity.png",
                "Line: mean over places; band: range of the middle 80%; dotted: the derivative "
                "from one forward-mode sweep.",
                "Sensitivity curves and derivatives",
            ),
        ],
    )


def _headline(metrics: dict) -> Headline:
    right = sum(row["sign_right"] for row in metrics.values())
    total = sum(row["columns"] for row in metrics.values())
    return Headline(
        f"{right} of {total}",
        "answers to theta_cap with ECLand's sign",
        sensitivity_findings(metrics)[0].verdict,
        "sensitivity",
    )
