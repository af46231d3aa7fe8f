"""What several tests of the stages share."""

from collections.abc import Iterator

import pytest

from daskjobs.stages import post
from receiver import Receiver


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    """A server that is told, and soon again when it doesn't answer."""
    monkeypatch.setattr(post, "WAIT", 0.01)
    with Receiver() as receiver:
        yield receiver
