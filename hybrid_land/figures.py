"""The look that all figures share: sizes, colours for all eyes, labels with units."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.dates as mdates
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hybrid_land.data.files import atomic_path
from hybrid_land.variables import CLIMATE_CLASSES, VARIABLES

# Colours that stay apart for colour-blind readers (Okabe and Ito 2008); truth is near black.
TRUTH = "#1d2430"
MODEL = "#0072b2"
COLOURS = {
    "model": MODEL,
    "persistence": "#8a939d",
    "climatology": "#e69f00",
    "xgboost": "#009e73",
}
SPARE_COLOURS = ("#cc79a7", "#56b4e9", "#d55e00")  # for whatever else stands in a comparison
SEQUENTIAL = "viridis"

_POWERS = {"-1": "⁻¹", "-2": "⁻²", "-3": "⁻³", "2": "²", "3": "³"}
_STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e9ed",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "lines.linewidth": 1.4,
    "savefig.dpi": 180,
    "savefig.facecolor": "white",
}


@contextmanager
def paper_style() -> Iterator[None]:
    """Sizes and lines as a journal prints them, inside the block only."""
    with mpl.rc_context(_STYLE):
        yield


def pretty_units(units: str) -> str:
    """`kg m-2 s-1` as `kg m⁻² s⁻¹`; nothing for a pure number."""
    if units == "1":
        return ""
    words = []
    for word in units.split():
        base = word.rstrip("-0123456789")
        words.append(base + _POWERS.get(word[len(base) :], word[len(base) :]))
    return " ".join(words)


def label(name: str, *, what: str = "") -> str:
    """What to write beside an axis: long name and unit of a variable of the table."""
    row = VARIABLES[name]
    text = f"{what} of {row.long_name}" if what else row.long_name
    units = pretty_units(row.units)
    text = text[0].upper() + text[1:]
    return f"{text} ({units})" if units else text


def place(ds: xr.Dataset, column: int) -> str:
    """What to call a column in a figure: its label and its climate class, where known."""
    title = f"column {ds['column'].to_numpy()[column] if 'column' in ds.coords else column}"
    if "climate_index" not in ds:
        return title
    name = CLIMATE_CLASSES[int(ds.climate_index[column])].replace("_", " ")
    return f"{title}, {name}"


def colour_of(run: str, position: int = 0) -> str:
    """The colour of a run: its own where it has one, else a spare one by position."""
    return COLOURS.get(run, SPARE_COLOURS[position % len(SPARE_COLOURS)])


def date_axis(axes: Axes) -> None:
    """Few dates, none said twice."""
    locator = mdates.AutoDateLocator(minticks=3, maxticks=6)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(mdates.ConciseDateFormatter(locator))


def save_figure(figure: Figure, path: Path) -> Path:
    """Write a figure whole or not at all.

    Raises:
        InputError: if the place cannot be written.
    """
    with atomic_path(path) as partial:
        figure.savefig(
            partial, format=path.suffix[1:], bbox_inches="tight", metadata={"Software": None}
        )
    return path
