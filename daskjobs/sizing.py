"""What the workers should ask for next time: pure, from what was asked and used to sentences and values."""

from dataclasses import dataclass, field
from math import ceil
from typing import Any

from dask.utils import parse_bytes

from daskjobs.resource import DASK_SHARE

HEADROOM = 1.25  # the next orders are a little different, and what was used is a measurement
MIB = 1 << 20
MEMORY_STEP, LEAST_MEMORY = 64 * MIB, 512 * MIB  # Python, Arrow, pandas and Dask take half of the least before any row
WORTH = 0.75  # of the memory asked for: above it, a lower value is not worth a change
LEAST_MILLICORES, MILLICORES = 100, 1000  # a worker has one thread
LEAST_QUEUE = 0.05  # of a core: less is not worth a word
LEAST_BUSY_SECONDS = 5.0  # below it, imports and connections are most of the CPU that was used


@dataclass(frozen=True)
class Asked:
    """What a run asked for: workers, and what each requests, as options of the same names; empty where nothing was.

    ``cores`` are this machine's, where the workers run on it.
    """

    workers: int
    worker_cpu: str = ""
    worker_memory: str = ""
    cores: int = 0


@dataclass(frozen=True)
class Used:
    """What the workers used while the work lasted: time of all together, resident memory of the largest.

    ``busy_seconds`` is the time inside tasks, ``queued_seconds`` the part of it for which threads waited for a core.
    ``memory_bytes`` is the mean of what Dask sampled, ``peak_bytes`` the most that a worker's process ever held, its
    start included, its nanny left out. ``lost`` workers were there at the start and could not be asked at the end;
    ``kept`` says that partitions may have been done before.
    """

    workers: int
    lost: int
    kept: bool
    start_seconds: float
    busy_seconds: float
    cpu_seconds: float
    queued_seconds: float
    memory_bytes: int
    peak_bytes: int

    @property
    def cores(self) -> float:
        """The mean number of cores that a worker used while it was busy."""
        return self.cpu_seconds / self.busy_seconds if self.busy_seconds else 0.0


@dataclass
class Advice:
    """Sentences for people, and the values to ask for next time, by option; none where nothing can be said."""

    sentences: list[str] = field(default_factory=list)
    values: dict[str, Any] = field(default_factory=dict)

    def add(self, option: str, value: Any, why: str, more: int | None) -> None:
        """Advise a value of an option, with the reason; ``more`` is how much more than asked; None: not judged."""
        verdict = "stays" if more is None else "would be better" if more > 0 else "would do" if more < 0 else "fits"
        self.values[option] = value
        self.sentences.append(f"--{option.replace('_', '-')} {value} {verdict}: {why}")


def advise(asked: Asked, used: Used, partitions: int) -> Advice:
    """Say what the same work should ask for next time; asked for so, the same use gets the same advice.

    Nothing is advised from a part of the work: it would be too little for the whole.
    """
    advice = Advice()
    part = _part(used)
    if part:
        advice.sentences.append(f"nothing to advise: {part}")
    elif asked.cores:
        why = f"this machine has {asked.cores} cores"
        advised = min(asked.workers, asked.cores)
        advice.add("workers", advised, why, advised - asked.workers)
    elif not asked.worker_cpu:
        advice.sentences.append("nothing to advise: the cluster is not the run's own, and is sized where it starts")
    else:
        _workers(advice, asked, used, partitions)
        _cpu(advice, asked, used)
        _memory(advice, asked, used)
    return advice


def _part(used: Used) -> str:
    """Say why the use that was seen is not that of the whole work, if it isn't."""
    if not used.workers:
        return "no worker said what it used"
    if used.lost:
        return f"workers that were gone before they could say what they used: {used.lost}"
    return "an attempt before left results, and what was kept of them was not done again" if used.kept else ""


def _workers(advice: Advice, asked: Asked, used: Used, partitions: int) -> None:
    """Advise as many workers as keep the work as long as the wait for the cluster, and no more than its rounds need.

    More could only shorten what is the smaller part; and 5 partitions take two rounds on 3 workers as on 4.
    """
    worthwhile = used.busy_seconds >= used.start_seconds * asked.workers
    enough = asked.workers if worthwhile else max(1, ceil(used.busy_seconds / used.start_seconds))
    rounds = ceil(partitions / enough)
    advised = ceil(partitions / rounds)
    why = f"no worker has more than {rounds} of the {partitions} partitions"
    if enough < asked.workers:
        why = (
            f"validate waited {used.start_seconds:.1f} s for the cluster, and all tasks together took "
            f"{used.busy_seconds:.1f} s; more workers shorten only the smaller part"
        )
    elif advised < asked.workers:
        why += f", as with {asked.workers}"
    advice.add("workers", advised, why, advised - asked.workers)


def _cpu(advice: Advice, asked: Asked, used: Used) -> None:
    """Advise the mean of a busy worker with headroom, in tenths of a core, and one core at most: it has one thread.

    What it would have used had a core been free counts too: on a crowded node, what it got says too little.
    """
    before = millicores(asked.worker_cpu)
    if used.busy_seconds < LEAST_BUSY_SECONDS:
        why = f"all tasks together took {used.busy_seconds:.1f} s, too short to judge it"
        advice.add("worker_cpu", asked.worker_cpu, why, None)
        return
    wanted = used.cores + used.queued_seconds / used.busy_seconds
    advised = min(MILLICORES, max(LEAST_MILLICORES, ceil(wanted * HEADROOM * 10) * 100))
    value = asked.worker_cpu if advised == before else f"{advised / 1000:g}"
    why = f"a busy worker used {used.cores:.2f} cores of the {before / 1000:g} that it asked for"
    why += f", and would have used {wanted:.2f} had they been free" if wanted > used.cores + LEAST_QUEUE else ""
    advice.add("worker_cpu", value, why, advised - before)


def _memory(advice: Advice, asked: Asked, used: Used) -> None:
    """Advise what keeps the peak, with headroom, below Dask's limit, which is a share of the container's.

    The rest of the container is for the nanny, which watches the worker from a process beside it.
    """
    before = int(parse_bytes(asked.worker_memory))
    advised = max(LEAST_MEMORY, ceil(used.peak_bytes * HEADROOM / DASK_SHARE / MEMORY_STEP) * MEMORY_STEP)
    if before * WORTH < advised < before:
        advised = before
    value = asked.worker_memory if advised == before else f"{advised // MIB}Mi"
    why = f"the workers' peak was {used.peak_bytes / MIB:,.0f} MiB of {before / MIB:,.0f} MiB"
    advice.add("worker_memory", value, why, advised - before)


def millicores(cpu: str) -> int:
    """Return a Kubernetes CPU quantity, like 1, 0.5 or 700m, in thousandths of a core."""
    return ceil(float(cpu[:-1])) if cpu.endswith("m") else ceil(round(float(cpu) * 1000, 6))
