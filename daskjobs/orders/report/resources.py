"""The section of the page that says what validate's workers requested and used."""

from dataclasses import dataclass

from daskjobs.orders.report.html import Html, repeated


@dataclass(frozen=True)
class Request:
    """The number of workers, and what each requests; empty if unknown."""

    workers: int = 0
    worker_cpu: str = ""
    worker_memory: str = ""


@dataclass(frozen=True)
class Use:
    """What the workers used: seconds of all workers together, and bytes of the largest process."""

    workers: int
    lost: int
    busy_seconds: float
    cores: float
    cpu_seconds: float
    queued_seconds: float
    memory_bytes: int
    peak_bytes: int


@dataclass(frozen=True)
class ResourcesSection:
    """What validate's workers requested, used, and should request next time, for the page."""

    asked: Request
    used: Use
    next: Request
    advice: list[str]


def resources_section(resources: ResourcesSection) -> Html:
    """Show what the workers requested, what they used, and what they should request next time."""
    asked, used, wanted = resources.asked, resources.used, resources.next
    lost = f" at the end, {used.lost:,} lost" if used.lost else ""
    rows = [
        (
            "Dask workers",
            f"{asked.workers:,}",
            f"{used.workers:,}{lost}, busy for {used.busy_seconds:,.1f} s in all",
            f"{wanted.workers:,}" if wanted.workers else "",
        ),
        (
            "CPU of a worker",
            asked.worker_cpu or "nothing",
            f"{used.cores:.2f} cores while busy, {used.cpu_seconds:,.1f} s in all; {used.queued_seconds:,.1f} s "
            "waiting for a core",
            wanted.worker_cpu,
        ),
        (
            "Memory of a worker's process",
            asked.worker_memory or "nothing",
            f"{_size(used.memory_bytes)} on average, {_size(used.peak_bytes)} at its peak",
            wanted.worker_memory,
        ),
    ]
    return Html(
        '<section id="resources">\n<h2>Resources</h2>\n<table>\n<thead><tr><td></td><th>Requested</th><th>Used</th>'
        "<th>Next time</th></tr></thead>\n<tbody>\n{}</tbody>\n</table>\n<ul>{}</ul>\n"
        '<p class="note">The advice is for the same orders in the same partitions. Memory is the resident memory of '
        "the largest worker process, with its peak since it started; facts.json has each worker's.</p>\n</section>"
    ).format(
        repeated('<tr><th scope="row">{}</th><td>{}</td><td>{}</td><td>{}</td></tr>\n', rows),
        repeated("<li>{}</li>\n", ([sentence] for sentence in resources.advice)),
    )


def _size(count: int) -> str:
    return f"{count / 2**30:,.1f} GiB" if count >= 1 << 30 else f"{count / 2**20:,.1f} MiB"
