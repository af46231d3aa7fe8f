"""What an object store that is far away costs: python benchmarks/s3.py [--rows N] [--rounds N] [--root FOLDER …]

Requests by stage, and the seconds of each stage on an S3 server (versitygw) behind a proxy that answers after 30 ms and
lets through 80 MB/s a connection, and behind the same proxy without both, in turns. Each stage is a process of its own,
as its pod is. Each ``--root`` is a folder with a daskjobs package, to compare versions; this one's by default.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import which
from urllib.request import urlopen

from measure import MACHINE, Figures, generated

HERE = Path(__file__).parent
GATEWAY = which("versitygw") or which("versitygw", path="/opt/cluster/bin")
STAGES = ("split", "validate", "merge", "clean", "report", "cleanup")
KINDS = ("LIST", "HEAD", "GET", "PUT", "multipart", "part", "DELETE")
KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "testtest", "AWS_DEFAULT_REGION": "us-east-1"}
FAR = ("--delay", "0.03", "--rate", "80e6")


@contextmanager
def served(folder: Path) -> Iterator[dict[str, str]]:
    """Serve the folders of ``folder`` as buckets; give the URLs of the two proxies before the server."""
    if GATEWAY is None:
        sys.exit("put versitygw on PATH")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = os.environ | {"ROOT_ACCESS_KEY": "test", "ROOT_SECRET_KEY": "testtest"}
    command = [GATEWAY, "--port", f"127.0.0.1:{port}", "posix", str(folder)]
    processes = [subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)]
    try:
        while socket.socket().connect_ex(("127.0.0.1", port)):
            time.sleep(0.05)
        urls = {}
        for name, options in (("near", ()), ("far", FAR)):
            command = [sys.executable, str(HERE / "proxy.py"), f"http://127.0.0.1:{port}", *options]
            processes.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
            urls[name] = processes[-1].stdout.readline().strip()  # type: ignore[union-attr]
        yield urls
    finally:
        for each in processes[::-1]:
            each.terminate()
            each.wait()


def waits(used: dict[str, float]) -> float:
    """Return the seconds in which tasks neither computed nor waited for a core: for storage, and for each other."""
    return max(0.0, used["busy_seconds"] - used["cpu_seconds"] - used["queued_seconds"])


def once(
    root: Path, url: str, data: Path, run: str, stages: tuple[str, ...], options: list[str]
) -> dict[str, tuple[Figures, Counter[str]]]:
    """Run the stages, each in a process; return the seconds of each, and its requests by kind."""
    found = {}
    for stage in stages:
        urlopen(f"{url}/-/requests").read()
        given = {"split": ["--input", "s3://bench/orders.csv"], "validate": options}.get(stage, [])
        command = [sys.executable, "-m", "daskjobs", stage, "--run", f"s3://bench/{run}", *given]
        os.environ |= KEYS | {"AWS_ENDPOINT_URL": url, "PYTHONPATH": str(root)}
        # In a process of its own, since it waits for all children, and the servers are this one's.
        alone = "import json, measure, sys; print(json.dumps(measure.measured(sys.argv[1:])[0]))"
        done = subprocess.run([sys.executable, "-c", alone, *command], cwd=HERE, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"{done.stdout}{done.stderr}")
        figures = json.loads(done.stdout)
        facts = data / "bench" / run / stage / "facts.json"
        if facts.exists():
            noted = json.loads(facts.read_text())
            figures["stage"] = noted["seconds"]
            if used := noted.get("resources", {}).get("used"):
                figures["tasks"], figures["waits"] = used["cpu_seconds"], waits(used)
        requests = json.loads(urlopen(f"{url}/-/requests").read())
        found[stage] = figures, Counter(each["kind"] for each in requests)
        if os.environ.get("SHOW") == stage:
            for each in requests:
                print(each["kind"], each["key"], each["range"], each["sent"])
    return found


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--root", type=Path, nargs="+", default=[HERE.parent])
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=STAGES)
    parser.add_argument("--validate", default="", help="options of validate, like '--threads 2'")
    parser.add_argument("--work", type=Path, help="a folder that keeps the orders for the next time")
    options = parser.parse_args()
    stages = tuple(STAGES[: 1 + max(map(STAGES.index, options.stages))])
    found: dict[tuple[Path, str], list[dict[str, tuple[Figures, Counter[str]]]]] = {}
    with tempfile.TemporaryDirectory(dir=options.work) as folder:
        data, kept = Path(folder), (options.work or Path(folder)) / f"orders-{options.rows}"
        if not kept.exists():
            generated(options.rows, kept)
        (data / "bench").mkdir()
        os.link(kept / "orders/orders.csv", data / "bench/orders.csv")
        with served(data) as urls:
            for number in range(options.rounds):
                for root in options.root:
                    for name in list(urls)[:: (-1) ** number]:
                        run = f"run-{name}"
                        found.setdefault((root, name), []).append(
                            once(root, urls[name], data, run, stages, options.validate.split())
                        )
                        subprocess.run(["rm", "-rf", str(data / "bench" / run)], check=True)
    print(f"{MACHINE}, {options.rows:,} rows, medians of {options.rounds} rounds\n")
    print(f"| requests | {' | '.join(KINDS)} | all |\n| --- {'| ---: ' * (len(KINDS) + 1)}|")
    for root in options.root:
        for stage in stages:
            counts = found[root, "far"][-1][stage][1]
            each = " | ".join(str(counts[kind] or "") for kind in KINDS)
            print(f"| {stage} | {each} | {counts.total()} |")
        print()
    print("Seconds of processes, their CPU, and of stages; and of validate's tasks: CPU, and waits for storage.\n")
    names = [f"{what} {name}" for what in ("process", "cpu", "stage") for name in ("near", "far")]
    names += ["ratio", "least to most", "tasks near", "far", "waits near", "far"]
    print(f"| seconds | {' | '.join(names)} |\n| --- {'| ---: ' * len(names)}|")
    for root in options.root:
        for stage in stages:
            runs = {name: [one[stage][0] for one in found[root, name]] for name in ("near", "far")}
            cells = [
                f"{statistics.median(each.get(what, each['wall']) for each in runs[name]):.2f}"
                for what in ("wall", "cpu", "stage")
                for name in runs
            ]
            ratios = sorted(
                far.get("stage", far["wall"]) / near.get("stage", near["wall"])
                for near, far in zip(runs["near"], runs["far"], strict=True)
            )
            cells += [f"{statistics.median(ratios):.2f}", f"{ratios[0]:.2f} to {ratios[-1]:.2f}"]
            cells += [
                f"{statistics.median(each[what] for each in runs[name]):.2f}" if what in runs[name][0] else ""
                for what in ("tasks", "waits")
                for name in runs
            ]
            print(f"| {stage} | {' | '.join(cells)} |")
        print()


if __name__ == "__main__":
    main()
