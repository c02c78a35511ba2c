"""The page stands alone, says what it is told, and shows figures without a second file."""

import re
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from hybrid_land.report import Finding, Headline, Picture, Section, Table, report_html


@pytest.fixture
def picture(tmp_path: Path) -> Picture:
    """A one-pixel figure on disk."""
    path = tmp_path / "dot.png"
    Figure(figsize=(0.1, 0.1)).savefig(path)
    return Picture(path, "a dot & nothing else", "Dot")


def page(picture: Picture) -> str:
    section = Section(
        key="dots",
        title="Dots",
        question="Is there a dot?",
        method="We drew one.",
        findings=[Finding("RMSE 3 < 4", "good"), Finding("It is a dot.")],
        pictures=[picture],
        table=Table("Counts", ["what", "n"], [["dots", "1"], ["lines", "0"]], [[1], []]),
    )
    return report_html(
        title="A report",
        lead="About dots.",
        headlines=[Headline("1", "dots seen", "poor", "dots")],
        sections=[section],
        facts={"model": "none"},
    )


def test_the_page_refers_to_no_other_file(picture: Picture) -> None:
    text = page(picture)
    picture.path.unlink()
    sources = re.findall(r'(?:src|href)="([^"]+)"', text)
    assert sources
    assert all(source.startswith(("data:image/png;base64,", "#")) for source in sources)
    assert "http" not in text


def test_text_is_escaped_and_verdicts_stand_beside_it(picture: Picture) -> None:
    text = page(picture)
    assert "RMSE 3 &lt; 4" in text
    assert "a dot &amp; nothing else" in text
    assert '<span class="badge good">good</span>' in text
    assert '<a class="headline poor" href="#dots">' in text


def test_the_best_cell_of_a_row_is_marked(picture: Picture) -> None:
    assert '<td class="best">1</td>' in page(picture)
    assert page(picture).count('class="best"') == 1


def test_an_image_of_another_kind_is_refused(tmp_path: Path) -> None:
    other = Picture(tmp_path / "figure.pdf", "", "")
    with pytest.raises(ValueError, match="expected an image of type"):
        page(other)
