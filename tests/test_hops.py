"""How long Argo's controller takes from task to task, read off a workflow's status."""

from typing import Any

import pytest

from daskjobs.doctor_kubernetes import hops


def pod(started: int, finished: int) -> dict[str, Any]:
    return {
        "type": "Pod",
        "startedAt": f"2026-01-01T00:00:{started:02}Z",
        "finishedAt": f"2026-01-01T00:00:{finished:02}Z",
    }


@pytest.mark.parametrize(
    ("nodes", "waits"),
    [
        ([], []),
        ([pod(0, 5)], []),
        ([pod(0, 4), pod(0, 5), pod(10, 14), pod(21, 25)], [5, 7]),  # of two side by side, the later one counts
        ([pod(0, 5), pod(5, 9), {"type": "DAG", "startedAt": "2026-01-01T00:00:00Z", "finishedAt": None}], [0]),
    ],
)
def test_waits_are_those_along_the_longest_way(nodes: list[dict[str, Any]], waits: list[float]) -> None:
    assert hops({str(number): node for number, node in enumerate(nodes)}) == waits
