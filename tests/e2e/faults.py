"""What breaks a workflow while it validates: each waits for its moment, then strikes once.

Tests and soak.py use the same. The moments are requests that the wire holds, so they last until the fault has struck.
"""

import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from e2e.conftest import Namespace, Wire, no_operator, over

PHASE_SECONDS = 240  # until a run has come to a phase, other runs beside it
KILL = "kill -9 -1"  # all processes of a container but its first, which is Argo's executor or tini
FOREVER = "86400"
OUTAGE_SECONDS = 20
ONE_OPERATOR = Lock()  # for all runs of a cluster


def argo(*arguments: str) -> str:
    program = shutil.which("argo") or shutil.which("argo", path=os.environ.get("ARGO_HOME", "/opt/argo"))
    assert program, "argo is neither in PATH nor in $ARGO_HOME"
    done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, f"argo {' '.join(arguments)}: {done.stdout}{done.stderr}"
    return done.stdout


@dataclass
class Rules:
    """How a wire is broken at the moment, for several runs at once."""

    wire: Wire
    rules: list[str] = field(default_factory=list)
    lock: Lock = field(default_factory=Lock)

    @contextmanager
    def broken(self, rule: str) -> Iterator[None]:
        self._change(self.rules.append, rule)
        try:
            yield
        finally:
            self._change(self.rules.remove, rule)

    def _change(self, change: Callable[[str], None], rule: str) -> None:
        with self.lock:
            change(rule)
            self.wire.does(*self.rules)


@dataclass(frozen=True)
class Case:
    """One run that a fault is to strike."""

    namespace: Namespace
    rules: Rules
    workflow: str
    uid: str

    def over(self) -> bool:
        return over(self.namespace.get("workflow", self.workflow))

    def await_held(self, request: str) -> None:
        """Wait until the run makes a request, which the wire holds."""
        held = f"held {request}\n"
        self.until(lambda: held in self.rules.wire.said() or self.over(), f"a request for {request}")

    def until(self, good: Callable[[], object], what: str) -> None:
        deadline = time.monotonic() + PHASE_SECONDS
        while not good():
            assert time.monotonic() < deadline, f"{self.workflow}: not within {PHASE_SECONDS} s: {what}"
            time.sleep(0.3)

    def clusters(self) -> list[str]:
        return self.namespace.kubectl("get", "daskclusters", "-l", f"daskjobs/run={self.uid}", "-o", "name").split()

    def pods(self, component: str) -> list[str]:
        label = f"daskjobs/run={self.uid},dask.org/component={component}"
        return self.namespace.kubectl("get", "pods", "-l", label, "-o", "name").split()

    def kill_stage(self, template: str) -> None:
        label = f"workflows.argoproj.io/workflow={self.workflow}"
        running = self.namespace.kubectl(
            "get", "pods", "-l", label, "--field-selector=status.phase=Running", "-o", "name"
        ).split()
        (pod,) = [pod for pod in running if re.search(rf"{self.workflow}-{template}-\d+$", pod)]
        self.namespace.kubectl("exec", pod, "-c", "main", "--", "sh", "-c", KILL, check=False)

    def kill_pods(self, component: str, some: slice = slice(None)) -> None:
        found = self.pods(component)
        assert found
        self.namespace.kubectl("delete", "--grace-period=0", "--force", *found[some])

    def evict_pods(self, component: str) -> None:
        for pod in self.pods(component):
            self.namespace.evict(pod)

    def argo(self, verb: str) -> None:
        argo(verb, self.workflow, "-n", self.namespace.name)


Strike = Callable[[Case], object]
GENERATING = "{uid}/generate/manifest"
BEFORE = "PUT /daskjobs/runs/{uid}/split/manifest"
DURING, AFTER = "{uid}/validate/part-00001/paid", "{uid}/validate/performance"
DELETING = "PUT /daskjobs/runs/{uid}/validate/manifest"
MERGING = "PUT /daskjobs/runs/{uid}/merge/manifest"


@dataclass(frozen=True)
class Fault:
    """A request at which it strikes, or none to strike as soon as there is a DaskCluster; and what it does."""

    strike: Strike
    moment: str = DURING
    ends: str = "Succeeded"  # the workflow's phase, or nothing where it is gone
    stage: str = "validate"  # the template that it strikes
    tried: int = 2  # attempts of that: one, or at least so many
    spec: dict[str, Any] = field(default_factory=dict)  # of the workflow

    @property
    def kills(self) -> bool:
        return isinstance(self.strike, Kill)


@dataclass(frozen=True)
class Kill:
    """Kill the pod of a stage."""

    stage: str

    def __call__(self, case: Case) -> None:
        case.kill_stage(self.stage)


def killed(stage: str, moment: str = DURING, **spec: Any) -> Fault:
    return Fault(Kill(stage), moment, stage=stage, spec=spec)


def _deadline(case: Case) -> None:
    case.until(case.over, "the deadline")


def _no_storage(case: Case) -> None:
    with case.rules.broken("refuse"):
        time.sleep(OUTAGE_SECONDS)


def _no_operator(case: Case) -> None:
    with ONE_OPERATOR, no_operator():
        time.sleep(OUTAGE_SECONDS)


def _delete(case: Case) -> None:
    case.namespace.kubectl("delete", "workflow", case.workflow, "--wait=false")


FAULTS = {
    "generate killed while the cluster is pending": killed("generate", GENERATING),
    "validate killed before it takes the cluster over": killed("validate", BEFORE),
    "validate killed while it runs": killed("validate"),
    "validate killed while its cluster is deleted": killed("validate", DELETING),
    "merge killed while it runs": killed("merge", MERGING),
    "compact's first pod killed while it validates": killed("generate-split-validate", entrypoint="compact"),
    "a worker killed": Fault(lambda case: case.kill_pods("worker", slice(1)), tried=1),
    "all workers killed": Fault(lambda case: case.kill_pods("worker"), tried=1),
    "all workers evicted": Fault(lambda case: case.evict_pods("worker"), tried=1),
    "the scheduler killed before the tasks": Fault(lambda case: case.kill_pods("scheduler"), "", tried=0),
    "the scheduler killed during the tasks": Fault(lambda case: case.kill_pods("scheduler")),
    "the scheduler killed after the tasks": Fault(lambda case: case.kill_pods("scheduler"), AFTER, tried=1),
    "argo stop": Fault(lambda case: case.argo("stop"), ends="Failed", tried=1),
    "argo terminate": Fault(lambda case: case.argo("terminate"), ends="Failed", tried=1),
    "the workflow's deadline": Fault(_deadline, ends="Failed", tried=1, spec={"activeDeadlineSeconds": 100}),
    "kubectl delete workflow": Fault(_delete, ends="", tried=0),
}


# What strikes all runs of a namespace, and what strikes none.
OUTAGES = {
    "the storage gone for 20 s": Fault(_no_storage),
    "the operator gone for 20 s": Fault(_no_operator, tried=1),
    "nothing": Fault(lambda case: None, tried=1),
}


def strike(namespace: Namespace, rules: Rules, fault: Fault, **parameters: object) -> tuple[str, str]:
    """Submit a run, let a fault strike it at its moment, and let it go on; return its name and uid."""
    waits = {"suspend": True} if fault.moment else {}  # a quick run would be over before the wire holds anything
    workflow = namespace.submit(spec={**fault.spec, **waits}, **parameters)
    case = Case(namespace, rules, workflow, namespace.uid(workflow))
    if not fault.moment:
        case.until(lambda: case.clusters() and case.pods("scheduler"), "a DaskCluster")
        fault.strike(case)
        return case.workflow, case.uid
    moment = fault.moment.format(uid=case.uid)
    with rules.broken(f"hold {moment}"):
        namespace.kubectl("patch", "workflow", workflow, "--type=merge", "-p", '{"spec": {"suspend": false}}')
        case.await_held(moment)
        fault.strike(case)
        if not fault.kills:
            time.sleep(2)  # that Kubernetes and Dask notice
    return case.workflow, case.uid
