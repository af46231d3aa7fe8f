"""Preloaded by workers that run this package's own code alone: they need no pandas, which takes time and memory."""

from daskjobs.files.arrow import spare_pandas

spare_pandas()
