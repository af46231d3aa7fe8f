"""A function of somebody's, called with a client of a real Dask cluster on this machine."""

import json
import os
import pickle
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from daskjobs.cluster import call
from daskjobs.cluster.backends import connect
from daskjobs.cluster.call import Call, remove_step, run_step
from daskjobs.cluster.connection import Connection, Workload
from daskjobs.cluster.kubernetes import KubernetesSettings
from daskjobs.cluster.kubernetes.naming import PART_OF, selector
from daskjobs.cluster.local import LocalSettings
from daskjobs.cluster.results import kept_by_argo
from daskjobs.cluster.settings import ClusterSettings
from daskjobs.errors import ConfigError, DaskjobsError, FunctionError, LostWorkError, UsageError
from kubeapi import kube_api

SETTINGS = LocalSettings(workers=1, dashboard="127.0.0.1:0")
MODULE = """
import os
from pathlib import Path

from distributed import get_client
import helper
from daskjobs.errors import InputError

def build(client, day, times=2):
    assert get_client() is client
    (Path(os.environ["DASKJOBS_OUTPUTS"]) / "made.txt").write_text(day)
    return {"day": day, "doubled": client.submit(helper.double, times).result()}

def fails_in_a_task(client):
    client.submit(helper.fail).result()

def ends_its_workers(client):
    client.submit(os._exit, 1).result()

def shuts_down(client, fail=False):
    result = client.submit(helper.double, 1).result()
    client.shutdown()
    if fail:
        raise ValueError("my own error")
    return result

def waits(client):
    import time
    time.sleep(100)

def exits(client):
    raise SystemExit(3)

def knows_daskjobs(client):
    raise InputError("there are no orders today")

def returns(client, what):
    import numpy as np
    import pandas as pd
    return {
        "numbers": {"mean": np.float32(0.5), "nan": np.nan},
        "long": "x" * 131072,
        "table": pd.DataFrame({"a": [1, 2]}),
        "object": {"set": object},
        "future": client.submit(helper.double, 1),
        "lock": __import__("threading").Lock(),
    }[what]

class Steps:
    @staticmethod
    def one(client):
        return 1

number = 7
"""
SHIPPED = """
import json
from pathlib import Path

class Box:
    def __init__(self, value):
        self.value = value

def double(box):
    four = json.loads((Path(__file__).parent / "data.json").read_text())
    return Box(2 * four), __file__

def build(client):
    box, there = client.submit(double, Box(4)).result()
    return {"value": box.value, "here": __file__, "there": there}
"""
HELPER = """
def double(x):
    return 2 * x

def fail():
    raise ValueError("nothing was delivered")
"""

ODD = {  # modules that end otherwise than by an exception, or raise when they are looked at
    "unread": "import json\ndef build(client:\n",
    "imports": "import unread\n",
    "nulls": "\0",
    "exits": "raise SystemExit(0)\n",
    "stops": "raise KeyboardInterrupt\n",
    "odd": """def __getattr__(name):
    raise RuntimeError(f"no {name}")
class Meta(type):
    def __getattr__(cls, name):
        raise SystemExit(f"no {name}")
class Named(metaclass=Meta):
    def __repr__(self):
        raise RuntimeError("no repr")
shown = Named()
def defaults(client, day, shown=shown):
    pass
""",
}


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A folder with somebody's modules, which no other test imports."""
    (tmp_path / "code").mkdir()
    (tmp_path / "code/theirs.py").write_text(MODULE)
    (tmp_path / "code/helper.py").write_text(HELPER)
    (tmp_path / "code/broken.py").write_text("import json\n1 / 0\n")
    (tmp_path / "code/lacking.py").write_text("import a_package_that_nobody_has\n")
    for name, text in ODD.items():
        (tmp_path / f"code/{name}.py").write_text(text)
    monkeypatch.setattr(sys, "path", sys.path[:])
    for name in ("theirs", "helper", "broken", "lacking", *ODD):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setenv("DASKJOBS_OUTPUTS", "")
    monkeypatch.chdir(tmp_path)
    return str(tmp_path / "code")


def test_function_gets_a_client_and_its_result_facts_pages_and_files_are_kept(code: str, tmp_path: Path) -> None:
    outputs = tmp_path / "outputs"
    said: list[str] = []
    result = run_step(Call("theirs:build", {"day": "monday", "times": 4}, code), SETTINGS, outputs, said.append)
    assert json.loads(result) == {"day": "monday", "doubled": 8}
    assert {path.name for path in outputs.iterdir()} == {"files", "cluster.json", "performance.html"}
    assert (outputs / "files/made.txt").read_text() == "monday"
    assert "<html" in (outputs / "performance.html").read_text()[:500]
    facts = json.loads((outputs / "cluster.json").read_text())
    assert (facts["cluster"], facts["workers"]) == ("local", 1)
    assert "token=" in said[0]
    assert "token" not in facts["dashboard"]


def test_files_go_to_the_working_directory_when_there_are_no_outputs(code: str, tmp_path: Path) -> None:
    run_step(Call("theirs:build", {"day": "monday"}, code), SETTINGS)
    assert (tmp_path / "made.txt").exists()
    assert os.environ["DASKJOBS_OUTPUTS"] == ""  # as it was before


def test_exception_names_the_line_of_the_functions_own_package(code: str, tmp_path: Path) -> None:
    with pytest.raises(FunctionError) as raised:
        run_step(Call("theirs:fails_in_a_task", {}, code), SETTINGS, tmp_path / "outputs")
    line = HELPER.splitlines().index('    raise ValueError("nothing was delivered")') + 1
    assert (
        str(raised.value)
        == f"theirs:fails_in_a_task failed in {code}/helper.py, line {line}: ValueError: nothing was delivered"
    )
    assert isinstance(raised.value.__cause__, ValueError)
    assert {path.name for path in (tmp_path / "outputs").iterdir()} == {"cluster.json", "performance.html"}


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("ends_its_workers", LostWorkError, "its worker died each of the 3 times that it was tried"),
        ("waits", LostWorkError, "theirs:waits was still at work after 1 s: allow more with --timeout"),
        ("exits", FunctionError, "SystemExit: 3"),
    ],
)
def test_exit_code_says_whether_a_second_attempt_can_help(
    code: str, name: str, kind: type[DaskjobsError], words: str
) -> None:
    settings = replace(SETTINGS, timeout=1 if name == "waits" else 60)
    with pytest.raises(kind, match=words):
        run_step(Call(f"theirs:{name}", {}, code), settings)


def test_error_of_daskjobs_keeps_its_kind(code: str) -> None:
    with pytest.raises(DaskjobsError, match="there are no orders today") as raised:
        run_step(Call("theirs:knows_daskjobs", {}, code), SETTINGS)
    assert raised.value.exit_code == 10


def test_function_that_returned_has_succeeded_whatever_became_of_the_cluster(code: str, tmp_path: Path) -> None:
    assert run_step(Call("theirs:shuts_down", {}, code), SETTINGS, tmp_path / "outputs") == "2"
    with pytest.raises(FunctionError, match="line .*: ValueError: my own error$"):
        run_step(Call("theirs:shuts_down", {"fail": True}, code), SETTINGS)


def test_failure_after_the_functions_end_hides_neither_its_result_nor_its_error(
    code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it is: here a bug of ours, when the cluster's end is told."""
    nothing: Any = None

    @contextmanager
    def breaks_at_the_end(*given: Any) -> Iterator[Connection]:
        with connect(*given) as connection:
            try:
                yield connection
            finally:
                nothing.identity()

    monkeypatch.setattr(call, "connect", breaks_at_the_end)
    assert run_step(Call("theirs:Steps.one", {}, code), SETTINGS) == "1"
    with pytest.raises(FunctionError, match="SystemExit: 3"):
        run_step(Call("theirs:exits", {}, code), SETTINGS)


def test_result_that_is_no_result_parameter_is_kept_as_a_file_or_is_a_sentence(
    code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of them with one cluster."""
    with connect(SETTINGS, Workload(processes=True)) as connection:
        monkeypatch.setattr(call, "connect", lambda *_: nullcontext(connection))
        said: list[str] = []
        assert run_step(Call("theirs:returns", {"what": "numbers"}, code), SETTINGS, None, said.append) == (
            '{"mean": 0.5, "nan": null}'
        )
        assert "1 number of the result is null, since JSON has no nan" in said[-1]
        files = tmp_path / "outputs/files"
        for what, words in (
            (
                "long",
                f"131,074 bytes of JSON, and a result has at most 131,072; it is kept as {files}/result.json; ret",
            ),
            ("table", f"a DataFrame that can't be written as JSON: .*; it is kept as {files}/result.parquet"),
            ("object", f"a dict that can't be written as JSON: JSON has no type; it is kept as {files}/result.pkl"),
            ("future", "returned no result: a Future is no result yet: return future.result()"),
            ("lock", "it is lost, since it can't be pickled either: TypeError: cannot pickle '_thread.lock' object"),
        ):
            with pytest.raises(FunctionError, match=words):
                run_step(Call("theirs:returns", {"what": what}, code), SETTINGS, tmp_path / "outputs")
        assert json.loads((files / "result.json").read_text()) == "x" * 131072
        assert pd.read_parquet(files / "result.parquet")["a"].tolist() == [1, 2]
        assert pickle.loads((files / "result.pkl").read_bytes()) == {"set": object}


@pytest.mark.parametrize(
    ("named", "arguments", "kind", "words"),
    [
        ("theirs.build", {}, UsageError, "must be given as module:function, .* got 'theirs.build'"),
        ("nobodys:build", {}, ConfigError, "there is no module nobodys: it is neither in .*/code nor installed"),
        ("nobodys.deep:build", {}, ConfigError, "there is no module nobodys: "),
        ("theirs:bild", {}, ConfigError, "the module theirs has no function bild: theirs has .*build, fails_in_a_task"),
        ("theirs:number", {}, ConfigError, "theirs:number is no function: it is '7'"),
        ("theirs:build", {}, UsageError, r"missing a required argument: 'day'; it is theirs:build\(client, day"),
        ("theirs:build", {"dya": 1, "day": 2}, UsageError, "got an unexpected keyword argument 'dya'"),
        ("broken:build", {}, FunctionError, "broken:build failed in .*/broken.py, line 2: ZeroDivisionError"),
        ("lacking:build", {}, FunctionError, "lacking.py, line 1: ModuleNotFoundError: No module named 'a_package"),
        ("unread:build", {}, FunctionError, r"unread:build failed in .*/code/unread.py, line 2: SyntaxError: '\(' was"),
        ("imports:build", {}, FunctionError, r"imports:build failed in .*/code/unread.py, line 2: SyntaxError"),
        ("nulls:build", {}, FunctionError, "nulls:build failed: SyntaxError: source code .* null bytes"),
        ("exits:build", {}, FunctionError, "exits:build failed in .*/exits.py, line 1: SystemExit: 0"),
        ("stops:build", {}, FunctionError, "stops:build failed in .*/stops.py, line 1: KeyboardInterrupt"),
        ("odd:build", {}, FunctionError, "odd:build failed in .*/odd.py, line 2: RuntimeError: no build"),
        ("odd:Named.build", {}, FunctionError, "odd:Named.build failed in .*/odd.py, line 5: SystemExit: no build"),
        ("odd:shown", {}, FunctionError, "odd:shown failed in .*/odd.py, line 8: RuntimeError: no repr"),
        ("odd:defaults", {}, FunctionError, "odd:defaults failed in .*/odd.py, line 8: RuntimeError: no repr"),
        ("theirs:number.deep", {}, ConfigError, "the module theirs has no function number.deep: number has none"),
    ],
)
def test_call_that_makes_no_sense_starts_no_cluster(
    code: str, named: str, arguments: dict[str, Any], kind: type[DaskjobsError], words: str
) -> None:
    nowhere = ClusterSettings("tcp://127.0.0.1:9")  # would be another error, had it been tried
    with pytest.raises(kind, match=words):
        run_step(Call(named, arguments, code), nowhere)


def test_code_that_names_no_folder_is_told(code: str) -> None:
    with pytest.raises(ConfigError, match="it is neither in /nowhere, which is no folder, nor installed; give --code"):
        run_step(Call("nobodys:build", {}, "/nowhere"), SETTINGS)


def test_method_of_a_class_can_be_called(code: str) -> None:
    assert run_step(Call("theirs:Steps.one", {}, code), SETTINGS) == "1"


@pytest.mark.parametrize("what", ["folder", "zip", "path"])
def test_code_elsewhere_is_given_to_all_processes_as_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """With the data beside it. A class of it travels to the scheduler and the worker, and back."""
    (tmp_path / "there").mkdir()
    (tmp_path / f"there/shipped_{what}.py").write_text(SHIPPED)
    (tmp_path / "there/data.json").write_text("4")
    monkeypatch.setattr(sys, "path", sys.path[:])
    code = f"file://{tmp_path}/there"
    if what != "folder":
        shutil.make_archive(str(tmp_path / "code"), "zip", tmp_path / "there")
        code = f"file://{tmp_path}/code.zip" if what == "zip" else f"{tmp_path}/code.zip"
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    result = json.loads(run_step(Call(f"shipped_{what}:build", {}, code), SETTINGS))
    left = [each.name for each in (tmp_path / "tmp").iterdir()]
    assert [name for name in left if not name.startswith("pymp-")] == []  # multiprocessing's, until this process ends
    assert result["value"] == 8
    assert result["here"] != result["there"]
    assert all(path.endswith(f"modules/shipped_{what}.py") for path in (result["here"], result["there"]))


def test_code_that_is_not_there_or_no_zip_file_is_a_sentence_and_not_tried_again(tmp_path: Path) -> None:
    (tmp_path / "bad.zip").write_text("no zip file")
    for code in (f"file://{tmp_path}/no.zip", f"file://{tmp_path}/no", f"{tmp_path}/no.zip"):
        with pytest.raises(ConfigError, match="there is no .*/no.*: give --code a folder, or a zip file"):
            run_step(Call("shipped:build", {}, code), SETTINGS)
    for code in (f"file://{tmp_path}/bad.zip", f"{tmp_path}/bad.zip"):
        with pytest.raises(ConfigError, match="bad.zip is neither a folder nor a zip file .*: File is not a zip file"):
            run_step(Call("shipped:build", {}, code), SETTINGS)


DASKS_LOG = """2026-11-25 01:02:03,456 - distributed.nanny - INFO -         Start Nanny at: 'tls://10.0.0.1:1'
said by a task
  and this too
2026-11-25 01:02:04,456 - distributed.batched - INFO - Batched Comm Closed
Traceback (most recent call last):
  File "batched.py", line 115, in _background_send
    nbytes = yield coro
tornado.iostream.StreamClosedError: Stream is closed
The above exception was the direct cause of the following exception:
Traceback (most recent call last):
distributed.comm.core.CommClosedError: in <TLS (closed)>: Stream is closed
said after a trace
2026-11-25 01:02:05,456 - mine - WARNING - logged by a task
2026-11-25 01:02:06,456 - distributed.worker - ERROR - Compute Failed
Key:       fail-1
State:     executing
Traceback: '  File "x.py", line 1'
said at the end"""


def test_what_tasks_print_is_shown_without_what_dask_logs_and_kept_with_it(
    code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def with_logs(*given: Any) -> Iterator[Connection]:
        with connect(*given) as connection:
            yield replace(connection, last_logs=lambda _: {"worker-1": DASKS_LOG, "scheduler": ""})

    monkeypatch.setattr(call, "connect", with_logs)
    said: list[str] = []
    run_step(Call("theirs:Steps.one", {}, code), SETTINGS, tmp_path / "outputs", said.append)
    assert said[1:] == [
        f"worker-1: {line}"
        for line in (
            "said by a task",
            "  and this too",
            "said after a trace",
            "2026-11-25 01:02:05,456 - mine - WARNING - logged by a task",
            "said at the end",
        )
    ]
    assert (tmp_path / "outputs/logs/worker-1.log").read_text() == f"{DASKS_LOG}\n"


def test_removal_is_tried_again_while_kubernetes_does_not_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(call, "AGAIN_SECONDS", (0.01, 0.01))
    with kube_api() as kube:
        monkeypatch.setenv("KUBECONFIG", str(kube.kubeconfig(tmp_path)))
        settings = KubernetesSettings("kubernetes", namespace=kube.namespace, workflow_uid="w", key="k")
        kube.add("DaskCluster", "dv-w-k", {**PART_OF, **selector(settings)})
        looks = 0

        def fail_twice(plural: str) -> None:
            nonlocal looks
            looks += plural == "daskclusters"
            if looks < 3:
                raise ConnectionError("the API server is gone")

        kube.before_list = fail_twice
        assert [each.name for each in remove_step(settings).objects] == ["dv-w-k"]
        assert kube.names("DaskCluster") == []


@pytest.mark.parametrize("text", ["$(AWS_SECRET_ACCESS_KEY) $$", "{{=1+41}}", "{{{{{", "\x7f", '\\$ \\{{ "$" ü'])
def test_result_stays_as_it_is_when_argo_and_kubernetes_hand_it_on(text: str) -> None:
    value = {text: [text, {"a": {"b": text}}]}
    document = kept_by_argo(json.dumps(value))
    assert json.loads(document) == value
    assert not re.search(r"\$|\{\{|[^ -~]", document)
