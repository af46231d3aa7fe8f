"""The client that a step's function gets: one of its own, which it may close, and which all of its threads find."""

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

_securities: dict[str, Security] = {}  # by the address of the scheduler that needs it


def call(client: Client, function: Callable[..., object], arguments: Mapping[str, object]) -> object:
    """Call the function with a client of its own, of the same scheduler; an ``async def`` gets an asynchronous one.

    So a function may close its client, or end the cluster, and ``client`` can still be asked. While it runs, its client
    is the default one in all threads, and a ``Client()`` without an address is one of the same cluster.
    """
    scheduler: Any = client.scheduler
    address = str(scheduler.address)
    connect = partial(Client, address, security=client.security, timeout=ANSWER_SECONDS)
    with suppress(ValueError):  # or what tasks print by distributed's own print would be printed twice
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
    """Close the client, unless the function did; what goes wrong now changes nothing of what it has done."""
    try:
        client.close(timeout=CLOSE_SECONDS)
    except Exception as error:
        event("step.client_lost", level=logging.WARNING, error=error)


def is_async(function: Callable[..., object]) -> bool:
    """Tell whether a call of the function gives a coroutine."""
    return asyncio.iscoroutinefunction(function) or asyncio.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004


async def _call(connect: Callable[..., Any], function: Callable[..., Any], arguments: Mapping[str, object]) -> object:
    async with connect(asynchronous=True) as own:
        return await function(own, **arguments)


@contextmanager
def _found(address: str, security: Security) -> Iterator[None]:
    """Let a client that is made without an address, or without its security, find both."""
    _securities[address] = security
    loader = f"{security_of.__module__}.{security_of.__qualname__}"
    try:
        with dask.config.set({"scheduler-address": address, "distributed.client.security-loader": loader}):
            yield
    finally:
        _securities.pop(address, None)


def security_of(info: dict[str, str]) -> Security | None:
    """Return what a client of the scheduler at this address needs, as Dask asks for it; None for a stranger's."""
    return _securities.get(info["address"])
