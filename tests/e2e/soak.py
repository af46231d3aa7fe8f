"""Twenty small workflows with random faults: make soak ARGS="--runs N --seed N --at-once N"

KUBECONFIG names a cluster with Argo and the Dask operator, and the image daskjobs:dev is in it. The same seed draws the
same runs and faults. At the end nothing of any Dask cluster may be left, and every report must be right (byte for byte
that of an undisturbed run on this machine), or absent with its reason; otherwise this exits with 1.
"""

import argparse
import fcntl
import random
import sys
import tempfile
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

from conftest import RESULTS
from daskjobs.stages import STAGES, new_context, run_stage
from daskjobs.stages.run_settings import Settings
from e2e.conftest import GONE_SECONDS, Namespace, Wire, cluster_lock, installed, pods_of
from e2e.faults import FAULTS, OUTAGES, Rules, strike

ALL = FAULTS | OUTAGES
END_SECONDS = 600
ONE_JUDGE = Lock()  # since Dask's configuration and logs are those of the process
COLUMNS = ("run", "fault", "rows", "partitions", "workers", "seconds", "attempts", "workflow", "report", "reason")


@dataclass(frozen=True)
class Drawn:
    """One run of the soak: its number, what it is given, and what strikes it."""

    number: int
    fault: str
    parameters: dict[str, Any]


def draw(runs: int, seed: int) -> list[Drawn]:
    dice = random.Random(seed)
    faults: list[str] = []
    while len(faults) < runs:  # each as often as any other
        faults += dice.sample(list(ALL), len(ALL))
    return [
        Drawn(
            number,
            fault,
            {
                "rows": dice.randrange(500, 20_000),
                "seed": dice.randrange(1000),
                "partitions": dice.randrange(2, 7),
                "workers": dice.randrange(1, 4),
            },
        )
        for number, fault in enumerate(faults[:runs], 1)
    ]


def ordeal(namespace: Namespace, rules: Rules, drawn: Drawn) -> dict[str, Any]:
    """Return the line of the table for a run and its fault; it is a bad one if they can't be seen through."""
    line: dict[str, Any] = {**dict.fromkeys(COLUMNS, ""), "run": drawn.number, "fault": drawn.fault, **drawn.parameters}
    try:
        return line | seen_through(namespace, rules, drawn)
    except Exception as error:  # the other runs are worth their lines all the same
        traceback.print_exc()
        return line | {"reason": f"{type(error).__name__}: {error}", "good": False}


def seen_through(namespace: Namespace, rules: Rules, drawn: Drawn) -> dict[str, Any]:
    """Let a run and its fault have their way; return what became of them."""
    started, fault = time.monotonic(), ALL[drawn.fault]
    line: dict[str, Any] = {"reason": ""}
    workflow, uid = strike(namespace, rules, fault, worker_cpu="20m", **drawn.parameters)
    if fault.ends:
        found = namespace.finished(workflow, END_SECONDS)
        line |= {"workflow": found["status"]["phase"], "reason": found["status"].get("message", "")}
        line["attempts"] = len(pods_of(found, fault.stage))
        for pod in pods_of(found):
            if pod["phase"] != "Succeeded" and not line["reason"]:
                line["reason"] = f"{pod['displayName']}: {pod.get('message', '')}"
    else:
        line |= {"workflow": "deleted", "attempts": "", "reason": "deleted"}
    namespace.until(lambda: namespace.dask_objects(uid), lambda left: left == [], GONE_SECONDS)
    line |= {"seconds": round(time.monotonic() - started), "report": judge(namespace, uid, drawn)}
    line["good"] = line["workflow"] == (fault.ends or "deleted") and (
        line["report"] == "right" or (line["report"] == "absent" and bool(line["reason"]) and fault.ends != "Succeeded")
    )
    return line


def judge(namespace: Namespace, uid: str, drawn: Drawn) -> str:
    """Hold a report against the one of an undisturbed run on this machine."""
    if not namespace.has(uid, RESULTS[0]):
        return "absent"
    with ONE_JUDGE, tempfile.TemporaryDirectory() as folder:
        known = {key: value for key, value in drawn.parameters.items() if key != "workers"}
        run = new_context(Settings.of(run_uri=folder, dashboard="127.0.0.1:0", workers=1, **known))
        for stage in STAGES:
            run_stage(stage, run)
        same = all(namespace.read(uid, name) == (Path(folder) / name).read_bytes() for name in RESULTS)
    return "right" if same else "WRONG"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("runs", 20), ("seed", 7), ("at-once", 4)):
        parser.add_argument(f"--{name}", type=int, default=default)
    chosen, started = parser.parse_args(), time.monotonic()
    print(f"| {' | '.join(COLUMNS)} |\n|{' --- |' * len(COLUMNS)}", flush=True)
    good = True
    with cluster_lock(fcntl.LOCK_EX), installed() as namespace:
        namespace.configure(DASKJOBS_IDLE_TIMEOUT="3600", DASKJOBS_DELETE_TIMEOUT="60")
        rules = Rules(Wire(namespace))
        with ThreadPoolExecutor(chosen.at_once) as pool:
            runs = [pool.submit(ordeal, namespace, rules, drawn) for drawn in draw(chosen.runs, chosen.seed)]
            for run in runs:
                line = run.result()
                good &= line["good"]
                print(f"| {' | '.join(str(line[column]).replace('|', '/')[:120] for column in COLUMNS)} |", flush=True)
        left = namespace.dask_objects()
    took, how = time.monotonic() - started, "good" if good else "BAD"
    print(f"\nseed {chosen.seed}: {len(runs)} runs in {took:.0f} s, {len(left)} objects left, {how}")
    sys.exit(bool(left) or not good)


if __name__ == "__main__":
    main()
