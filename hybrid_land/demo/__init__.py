"""The whole job on the packaged samples: from ECLand's own output to one page."""

from hybrid_land.demo.job import demo

__all__ = ["demo"]
