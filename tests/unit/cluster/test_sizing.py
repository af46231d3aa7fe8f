from dataclasses import replace
from typing import Any

import pytest
from dask.utils import parse_bytes
from hypothesis import given
from hypothesis import strategies as st

from daskjobs.cluster.connection import Requested
from daskjobs.cluster.sizing import LEAST_BUSY_SECONDS, LEAST_MEMORY, MIB, Used, advise, millicores
from daskjobs.cluster.tuning import DASK_SHARE

REQUESTED = Requested(workers=5, worker_cpu="1", worker_memory="2Gi")
USED = Used(
    workers=5,
    lost=0,
    kept=False,
    start_seconds=10.0,
    busy_seconds=100.0,
    cpu_seconds=90.0,
    queued_seconds=0.0,
    memory_bytes=300 * MIB,
    peak_bytes=1400 * MIB,
)

asked_for = st.builds(
    Requested,
    workers=st.integers(1, 100),
    worker_cpu=st.sampled_from(["100m", "0.25", "1", "2", "1500m"]),
    worker_memory=st.sampled_from(["256Mi", "500M", "1Gi", "2Gi", "3000Mi", "16Gi"]),
)
used_by_all = st.builds(
    Used,
    workers=st.integers(1, 100),
    lost=st.just(0),
    kept=st.just(False),
    start_seconds=st.floats(0, 300),
    busy_seconds=st.floats(0, 1e5),
    cpu_seconds=st.floats(0, 2e5),
    queued_seconds=st.floats(0, 2e5),
    memory_bytes=st.integers(0, 32 << 30),
    peak_bytes=st.integers(0, 32 << 30),
)


def verdicts(requested: Requested, used: Used, tasks: int = 5) -> list[str]:
    return advise(requested, used, tasks).sentences


@given(asked_for, used_by_all, st.integers(1, 500))
def test_memory_advised_keeps_the_peak_below_dasks_limit_when_anything_was_used(
    requested: Requested, used: Used, tasks: int
) -> None:
    value = advise(requested, used, tasks).values["worker_memory"]
    advised = int(parse_bytes(value))
    assert used.peak_bytes < advised * DASK_SHARE or used.peak_bytes == 0
    if value != requested.worker_memory:
        assert advised >= LEAST_MEMORY
        assert advised % (64 * MIB) == 0


@given(asked_for, used_by_all, st.integers(1, 500))
def test_workers_and_cpu_advised_are_of_use_when_anything_was_used(
    requested: Requested, used: Used, tasks: int
) -> None:
    values = advise(requested, used, tasks).values
    assert 1 <= values["workers"] <= min(requested.workers, tasks)
    if used.busy_seconds >= LEAST_BUSY_SECONDS:
        assert 100 <= millicores(values["worker_cpu"]) <= 1000
        assert millicores(values["worker_cpu"]) >= min(1000, used.cores * 1000)


@given(asked_for, used_by_all, st.integers(1, 500))
def test_advice_that_is_taken_fits_when_the_same_is_used_again(requested: Requested, used: Used, tasks: int) -> None:
    first = advise(requested, used, tasks).values
    again = advise(Requested(**first), used, tasks)
    assert again.values == first
    assert not [
        sentence for sentence in again.sentences if " is enough: " in sentence or " is recommended: " in sentence
    ]


def test_advice_says_that_it_fits_when_little_was_left_over() -> None:
    assert verdicts(REQUESTED, USED) == [
        "--workers 5 fits: no worker has more than 1 of the 5 tasks",
        "--worker-cpu 1 fits: a busy worker used 0.90 cores of the 1 that it requested",
        "--worker-memory 2Gi fits: the workers' peak was 1,400 MiB of 2,048 MiB",
    ]


@pytest.mark.parametrize(
    ("used", "sentence"),
    [
        (dict(peak_bytes=512 * MIB), "--worker-memory 768Mi is enough: the workers' peak was 512 MiB of 2,048 MiB"),
        (dict(peak_bytes=0), "--worker-memory 512Mi is enough: the workers' peak was 0 MiB of 2,048 MiB"),
        (dict(peak_bytes=1900 * MIB), "--worker-memory 2688Mi is recommended: the workers' peak was 1,900 MiB of"),
        (dict(cpu_seconds=50.0), "--worker-cpu 0.7 is enough: a busy worker used 0.50 cores of the 1 that"),
        (
            dict(cpu_seconds=30.0, queued_seconds=20.0),
            "--worker-cpu 0.7 is enough: a busy worker used 0.30 cores of the 1 that it requested, and would have",
        ),
        (dict(busy_seconds=4.0), "--worker-cpu 1 stays: all tasks together took 4.0 s, too short to judge it"),
        (
            dict(busy_seconds=12.0),
            "--workers 2 is enough: the work waited 10.0 s for the cluster, and all tasks together took 12.0 s; more",
        ),
    ],
)
def test_advice_names_option_and_value_when_another_would_be_better(used: dict[str, Any], sentence: str) -> None:
    (found,) = [
        said for said in verdicts(REQUESTED, replace(USED, **used), 6) if said.startswith(sentence.split()[0] + " ")
    ]
    assert found.startswith(sentence)


def test_more_cpu_is_advised_when_workers_used_all_that_they_asked_for() -> None:
    used = replace(USED, cpu_seconds=10.0)
    assert advise(replace(REQUESTED, worker_cpu="100m"), used, 5).values["worker_cpu"] == "0.2"


def test_a_whole_core_is_advised_when_a_crowded_node_left_workers_a_tenth() -> None:
    used = replace(USED, cpu_seconds=10.0, queued_seconds=89.0)
    assert advise(replace(REQUESTED, worker_cpu="100m"), used, 5).values["worker_cpu"] == "1"


def test_fewer_workers_are_advised_when_partitions_take_no_more_rounds_on_them() -> None:
    assert verdicts(replace(REQUESTED, workers=4), USED)[0] == (
        "--workers 3 is enough: no worker has more than 2 of the 5 tasks, as with 4"
    )


@pytest.mark.parametrize(
    ("used", "why"),
    [
        (dict(lost=2), "workers that were gone before they could report what they used: 2"),
        (dict(kept=True), "an earlier attempt left results"),
        (dict(workers=0), "no worker reported what it used"),
    ],
)
def test_nothing_is_advised_when_only_a_part_of_the_work_was_seen(used: dict[str, Any], why: str) -> None:
    advice = advise(REQUESTED, replace(USED, **used), 5)
    assert advice.values == {}
    assert why in " ".join(advice.sentences)


def test_no_more_workers_than_cores_are_advised_when_they_run_on_this_machine() -> None:
    advice = advise(Requested(workers=8, cores=2), USED, 16)
    assert advice.values == {"workers": 2}
    assert advice.sentences[0].startswith("--workers 2 is enough: this machine has 2 cores")


def test_nothing_is_advised_when_the_cluster_is_not_the_runs_own() -> None:
    advice = advise(Requested(workers=2), USED, 5)
    assert (advice.values, len(advice.sentences)) == ({}, 1)
