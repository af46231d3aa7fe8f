"""Get the next items of an iterator in a thread, while the caller works on the one before."""

from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")
END: Any = object()


def ahead(items: Iterable[T], count: int = 1) -> Generator[T, None, None]:
    """Yield the same items; up to ``count`` of the next ones are got in a thread meanwhile.

    An error of ``items`` is raised where its item would have been yielded. When this generator ends, by whatever, so
    has the thread, and ``items``, if it is a generator, is closed; use `contextlib.closing` where the caller may end
    before the items do.
    """
    iterator = iter(items)
    waiting = deque[Future[T]]()
    pool = ThreadPoolExecutor(1)
    try:
        waiting.extend(pool.submit(next, iterator, END) for _ in range(count))
        while (item := waiting.popleft().result()) is not END:
            waiting.append(pool.submit(next, iterator, END))
            yield item
            del item  # else it would be held while the next one is awaited
    finally:
        pool.shutdown(cancel_futures=True)
        close = getattr(iterator, "close", None)
        if close:
            close()
