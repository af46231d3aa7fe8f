"""The client that a step's function gets: its own, which it may close, and the default in all of its threads."""

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import dask
from distributed import Client, Security

from daskjobs.cluster.clients import ANSWER_SECONDS, CLOSE_SECONDS
from daskjobs.events import event

_securities: dict[str, Security] = {}  # by the scheduler's address


def call(client: Client, function: Callable[..., object], arguments: Mapping[str, object]) -> object:
    """Call the function with a client of its own, of the same scheduler; an ``async def`` gets an asynchronous one.

    So ``client`` still works after the function has closed its own, or the cluster. While the function runs, its client
    is the default in all threads, and a ``Client()`` without an address connects to the same cluster.
    """
    scheduler: Any = client.scheduler
    address = str(scheduler.address)
    connect = partial(Client, address, security=client.security, timeout=ANSWER_SECONDS)
    with suppress(ValueError):  # else what tasks print with distributed.print would appear twice
        client.unsubscribe_topic("print")
        client.unsubscribe_topic("warn")
    with _found(address, client.security):
        if is_async(function):
            return asyncio.run(_call(connect, function, arguments))
        own = connect()
        try:
            return function(own, **arguments)
        finally:
            _close(own)


def _close(client: Client) -> None:
    """Close the client, unless the function did; a failure here must not hide the function's result."""
    try:
        client.close(timeout=CLOSE_SECONDS)
    except Exception as error:
        event("step.client_lost", level=logging.WARNING, error=error)


def is_async(function: Callable[..., object]) -> bool:
    """Tell whether calling the function returns a coroutine."""
    return asyncio.iscoroutinefunction(function) or asyncio.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004


async def _call(connect: Callable[..., Any], function: Callable[..., Any], arguments: Mapping[str, object]) -> object:
    async with connect(asynchronous=True) as own:
        return await function(own, **arguments)


@contextmanager
def _found(address: str, security: Security) -> Iterator[None]:
    """In this block, `Client()` finds the address, and any client of the address finds its TLS settings."""
    _securities[address] = security
    loader = f"{security_of.__module__}.{security_of.__qualname__}"
    try:
        with dask.config.set({"scheduler-address": address, "distributed.client.security-loader": loader}):
            yield
    finally:
        _securities.pop(address, None)


def security_of(info: dict[str, str]) -> Security | None:
    """Return the TLS settings for the scheduler at an address (Dask calls this), or None for other schedulers."""
    return _securities.get(info["address"])
