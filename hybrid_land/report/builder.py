"""From sections of findings, figures and tables to one self-contained HTML page."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Literal

import jinja2

Verdict = Literal["good", "fair", "poor", "note"]

_IMAGE_TYPES = {".png": "image/png", ".svg": "image/svg+xml"}


@dataclass(frozen=True)
class Finding:
    """A sentence about a number, and whether the number is good or bad."""

    sentence: str
    verdict: Verdict = "note"


@dataclass(frozen=True)
class Headline:
    """One number that stands at the top of the page."""

    value: str
    label: str
    verdict: Verdict = "note"
    section: str = ""


@dataclass(frozen=True)
class Picture:
    """A figure on disk (PNG or SVG), what it shows, and its title for readers who cannot see it."""

    path: Path
    caption: str
    title: str


@dataclass(frozen=True)
class Table:
    """Rows of text under a header; in a row, the cells whose index is in `best` are set bold."""

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    best: Sequence[Sequence[int]] = ()


@dataclass(frozen=True)
class Section:
    """One question, how it was answered, and the answer."""

    key: str
    title: str
    question: str
    method: str
    findings: Sequence[Finding]
    pictures: Sequence[Picture] = ()
    table: Table | None = None


def data_uri(path: Path) -> str:
    """The image file as a `data:` address, so that the page needs no second file.

    Raises:
        ValueError: if the file is neither PNG nor SVG.
    """
    if path.suffix not in _IMAGE_TYPES:
        raise ValueError(f"{path}: expected an image of type {', '.join(_IMAGE_TYPES)}")
    coded = base64.b64encode(path.read_bytes()).decode("ascii")
    return f"data:{_IMAGE_TYPES[path.suffix]};base64,{coded}"


def report_html(
    *,
    title: str,
    lead: str,
    headlines: Sequence[Headline],
    sections: Sequence[Section],
    facts: Mapping[str, str],
) -> str:
    """The page as text.

    Args:
        title: of the page.
        lead: one paragraph under the title.
        headlines: the numbers at the top, in order.
        sections: the body, in order.
        facts: how the page came about (model, versions, times), name to value.

    Returns:
        HTML without any reference to another file or to the network.
    """
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["data_uri"] = data_uri
    text = (resources.files("hybrid_land.report") / "template.html.j2").read_text("utf-8")
    return environment.from_string(text).render(
        title=title, lead=lead, headlines=headlines, sections=sections, facts=facts
    )
