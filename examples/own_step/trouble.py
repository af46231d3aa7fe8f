"""Functions that fail, to see what your workflow does then."""

import json
import os
import sys
import time

from distributed import Client


def error(client: Client, message: str = "nothing was delivered today") -> None:
    """Raise an exception in a task: exit code 12, and no further attempt."""
    client.submit(_raise, message).result()


def leave(client: Client) -> None:
    """End a task by sys.exit: exit code 12, as for any exception."""
    client.submit(sys.exit, 3, pure=False).result()


def close(client: Client, end_cluster: bool = False) -> int:
    """Close the client, or end the cluster, before the function does: it has its result, and succeeds."""
    print("tasks print into the log of the step")
    result = client.submit(_say, "said by a task", pure=False).result()
    client.shutdown() if end_cluster else client.close()
    return int(result)


def idle(client: Client, seconds: float, again: bool = True) -> str:
    """Leave the cluster without work for longer than its idle timeout, and then use it ``again``: exit code 21."""
    client.submit(_say, "before").result()
    time.sleep(seconds)
    if again:
        client.submit(_say, "after", pure=False).result()
    return "the result of the function itself"


def flood(client: Client, tasks: int = 150_000) -> int:
    """Give the scheduler more tasks than it has memory for: exit code 11, and no further attempt."""
    return len(client.gather(client.map(lambda number, _: number, range(tasks), [b"x" * 2000] * tasks)))


def poison(client: Client) -> None:
    """End each worker that takes the task: exit code 22, and a further attempt, which ends in the same way."""
    client.submit(os._exit, 1, pure=False).result()


def wait(client: Client, seconds: float = 60.0, each: float = 1.0) -> float:
    """Keep one worker busy, in tasks of ``each`` seconds: time to kill a pod, or to look at the dashboard."""
    begun = time.monotonic()
    while (waited := time.monotonic() - begun) < seconds:
        client.submit(time.sleep, each, pure=False).result()
    return round(waited, 1)


def crowd(client: Client, tasks: int = 60) -> int:
    """Have many tasks of a second wait for workers, and return how many workers there are in the end."""
    client.gather(client.map(time.sleep, [1] * tasks, pure=False))
    return len(client.scheduler_info(n_workers=-1)["workers"])


def hoard(client: Client, pieces: int = 25, megabytes: int = 20) -> int:
    """Hold more data than the workers have memory for, and return how many bytes Dask has written to their disks."""
    held = client.map(os.urandom, [megabytes << 20] * pieces, pure=False)
    client.gather(client.map(len, held))
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    return sum(int(worker["metrics"]["spilled_bytes"]["disk"]) for worker in workers)


def _say(message: str) -> int:
    print(message)
    return len(message)


def echo(_: Client, value: object, taken: object = None, length: int = 0) -> list[object]:
    """Return what was given, how long something else was, and a text of some length: what a workflow hands on."""
    return [value, len(json.dumps(taken)), "x" * length]


def swell(_: Client, megabytes: int = 1000) -> int:
    """Take more memory in the step's own pod than `step-memory` allows: 137, OOMKilled, and no further attempt."""
    return len(b"x" * (megabytes << 20))


def _raise(message: str) -> None:
    raise ValueError(message)
