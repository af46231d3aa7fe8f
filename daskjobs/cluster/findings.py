"""One result of `daskjobs doctor`."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """Whether one thing is good, and a sentence: what was seen and, if it isn't good, what to do."""

    good: bool
    what: str
