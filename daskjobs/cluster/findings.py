"""What a doctor says of one thing."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at, what was seen, and what to do where it isn't good."""

    good: bool
    what: str
