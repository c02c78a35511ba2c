"""What each question of the demonstration leaves behind."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hybrid_land.report import Headline, Section

Say = Callable[[str], None]  # called with a sentence as the work goes on


@dataclass(frozen=True)
class Part:
    """The numbers of one question, its section of the page, and its headline."""

    metrics: dict[str, Any]
    section: Section
    headline: Headline
