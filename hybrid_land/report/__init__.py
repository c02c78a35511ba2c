"""The report of a run: one HTML page that needs nothing else, in words and figures."""

from hybrid_land.report.builder import (
    Finding,
    Headline,
    Picture,
    Section,
    Table,
    Verdict,
    report_html,
)

__all__ = ["Finding", "Headline", "Picture", "Section", "Table", "Verdict", "report_html"]
