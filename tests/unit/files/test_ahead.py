import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from daskjobs.files.ahead import ahead


class Source:
    """Numbers from 0 on, up to which one was asked for, and whether the generator was closed."""

    def __init__(self, end: int, fails: bool = False) -> None:
        self.end, self.fails, self.asked, self.closed = end, fails, -1, False
        self.threads = set[threading.Thread]()
        self.next_asked = threading.Event()

    def __iter__(self) -> Iterator[int]:
        try:
            for item in range(self.end):
                self.asked = item
                self.threads.add(threading.current_thread())
                self.next_asked.set()
                yield item
            if self.fails:
                raise OSError("gone")
        finally:
            self.closed = True

    def ended(self) -> bool:
        return self.closed and not any(thread.is_alive() for thread in self.threads)


@pytest.mark.parametrize("count", [1, 3])
def test_items_come_in_their_order_and_the_thread_ends_with_them(count: int) -> None:
    source = Source(100)
    assert list(ahead(source, count)) == list(range(100))
    assert source.ended()
    assert list(ahead([])) == []


def test_next_item_is_got_while_the_caller_has_one_and_no_more_than_asked_for() -> None:
    source = Source(100)
    with closing(ahead(source, 2)) as items:
        assert next(items) == 0
        while source.asked < 2:
            assert source.next_asked.wait(10)
            source.next_asked.clear()
        assert next(items) == 1
    assert source.asked <= 3
    assert source.ended()


def test_error_is_raised_behind_the_items_before_it() -> None:
    source, seen = Source(3, fails=True), list[int]()
    with pytest.raises(OSError, match="gone"):
        seen.extend(ahead(source))
    assert (seen, source.ended()) == ([0, 1, 2], True)


def test_thread_ends_and_the_generator_is_closed_when_the_caller_fails() -> None:
    source = Source(100)

    def work() -> None:
        with closing(ahead(source)) as items:
            for item in items:
                raise ValueError(item)

    with pytest.raises(ValueError, match="0"):
        work()
    assert source.ended()
