"""Recommends what workers should request in the next run, from what they requested and used; no I/O."""

from dataclasses import dataclass, field
from math import ceil

from dask.utils import parse_bytes

from daskjobs.cluster.connection import Requested
from daskjobs.cluster.tuning import DASK_SHARE

HEADROOM = 1.25  # for measurement errors, and for a somewhat different input next time
MIB = 1 << 20
MEMORY_STEP, LEAST_MEMORY = 64 * MIB, 512 * MIB  # Python, Arrow, pandas and Dask alone take half of the least
WORTH = 0.75  # of the requested memory: a recommendation above it is not worth a change
LEAST_MILLICORES, MILLICORES = 100, 1000  # a worker has one thread
LEAST_QUEUE = 0.05  # of a core: less is not mentioned
LEAST_BUSY_SECONDS = 5.0  # below it, most of the CPU time goes to imports and connections


@dataclass(frozen=True)
class Used:
    """What the workers used during the work: times are sums over all workers, memory is the largest worker's.

    ``busy_seconds`` is the time inside tasks, ``queued_seconds`` the part of it in which threads waited for a core.
    ``memory_bytes`` is the mean of Dask's samples, ``peak_bytes`` the peak resident memory of a worker's process,
    including its start, without its nanny. ``lost`` workers were there at the start and did not answer at the end;
    ``kept`` says that an earlier attempt may have done some of the work.
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
    """Sentences for people, and the recommended values for the next run, by option, if any."""

    sentences: list[str] = field(default_factory=list)
    values: dict[str, int | str] = field(default_factory=dict)

    def add(self, option: str, value: int | str, why: str, more: int | None) -> None:
        """Recommend a value for an option; ``more`` is the difference from the requested value, None if not judged."""
        verdict = "stays" if more is None else "is recommended" if more > 0 else "is enough" if more < 0 else "fits"
        self.values[option] = value
        self.sentences.append(f"--{option.replace('_', '-')} {value} {verdict}: {why}")


def advise(requested: Requested, used: Used, tasks: int) -> Advice:
    """Recommend what the same work should request next time; a run that follows the advice gets the same advice again.

    A measurement that covers only part of the work gives no recommendation, because it would be too low.
    """
    advice = Advice()
    part = _part(used)
    if part:
        advice.sentences.append(f"nothing to advise: {part}")
    elif requested.cores:
        why = f"this machine has {requested.cores} cores"
        advised = min(requested.workers, requested.cores)
        advice.add("workers", advised, why, advised - requested.workers)
    elif not requested.worker_cpu:
        advice.sentences.append("nothing to advise: the cluster ran before, and whoever starts it sets its size")
    else:
        _workers(advice, requested, used, tasks)
        _cpu(advice, requested, used)
        _memory(advice, requested, used)
    return advice


def _part(used: Used) -> str:
    """Say why the measurement covers only part of the work, or return an empty text."""
    if not used.workers:
        return "no worker reported what it used"
    if used.lost:
        return f"workers that were gone before they could report what they used: {used.lost}"
    return "an earlier attempt left results, so only the rest of the work was measured" if used.kept else ""


def _workers(advice: Advice, requested: Requested, used: Used, tasks: int) -> None:
    """Recommend the fewest workers that make computing no longer than the start of the cluster and add no round.

    More workers would shorten only the smaller part of the time. 5 tasks take two rounds on 3 workers as on 4.
    """
    worthwhile = used.busy_seconds >= used.start_seconds * requested.workers
    enough = requested.workers if worthwhile else max(1, ceil(used.busy_seconds / used.start_seconds))
    rounds = ceil(tasks / enough)
    advised = ceil(tasks / rounds)
    why = f"no worker has more than {rounds} of the {tasks} tasks"
    if enough < requested.workers:
        why = (
            f"the work waited {used.start_seconds:.1f} s for the cluster, and all tasks together took "
            f"{used.busy_seconds:.1f} s; more workers shorten only the smaller part"
        )
    elif advised < requested.workers:
        why += f", as with {requested.workers}"
    advice.add("workers", advised, why, advised - requested.workers)


def _cpu(advice: Advice, requested: Requested, used: Used) -> None:
    """Recommend a busy worker's mean use plus headroom, in tenths of a core, at most one core for its one thread.

    Waiting for a core counts as use, because on a crowded node a worker gets less than it could use.
    """
    before = millicores(requested.worker_cpu)
    if used.busy_seconds < LEAST_BUSY_SECONDS:
        why = f"all tasks together took {used.busy_seconds:.1f} s, too short to judge it"
        advice.add("worker_cpu", requested.worker_cpu, why, None)
        return
    wanted = used.cores + used.queued_seconds / used.busy_seconds
    advised = min(MILLICORES, max(LEAST_MILLICORES, ceil(wanted * HEADROOM * 10) * 100))
    value = requested.worker_cpu if advised == before else f"{advised / 1000:g}"
    why = f"a busy worker used {used.cores:.2f} cores of the {before / 1000:g} that it requested"
    why += f", and would have used {wanted:.2f} had they been free" if wanted > used.cores + LEAST_QUEUE else ""
    advice.add("worker_cpu", value, why, advised - before)


def _memory(advice: Advice, requested: Requested, used: Used) -> None:
    """Recommend memory that keeps the peak, plus headroom, below Dask's limit, which is a share of the container's.

    The rest of the container's memory is for the nanny, the process that watches the worker.
    """
    before = int(parse_bytes(requested.worker_memory))
    advised = max(LEAST_MEMORY, ceil(used.peak_bytes * HEADROOM / DASK_SHARE / MEMORY_STEP) * MEMORY_STEP)
    if before * WORTH < advised < before:
        advised = before
    value = requested.worker_memory if advised == before else f"{advised // MIB}Mi"
    why = f"the workers' peak was {used.peak_bytes / MIB:,.0f} MiB of {before / MIB:,.0f} MiB"
    advice.add("worker_memory", value, why, advised - before)


def millicores(cpu: str) -> int:
    """Return a Kubernetes CPU quantity, like 1, 0.5 or 700m, in thousandths of a core."""
    return ceil(float(cpu[:-1])) if cpu.endswith("m") else ceil(round(float(cpu) * 1000, 6))
