"""How a run's end is told, from whole runs and real posts."""

import copy
import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from conftest import Command, row
from daskjobs.errors import ClusterError, ConfigError, DaskjobsError, StorageError, UsageError
from daskjobs.files.documents import to_json
from daskjobs.files.storage import Storage
from daskjobs.pipeline import ending
from daskjobs.stages import STAGES, new_context, report, run_all, run_stage, told
from daskjobs.stages.news import MOST_TEXT, News, marked, text
from daskjobs.stages.outcome import Outcome, of_argo, of_error
from daskjobs.stages.run_orders import run_orders
from daskjobs.stages.run_settings import Context, Settings
from receiver import Receiver

SECRET = "T0X/B1X/s3cr3t"
SENTENCE = 'row "7" says <!channel> & <https://evil|click> $(HOME) {{workflow.uid}} \\ ü'


def context_of(server: Receiver, run: Path | str, **given: Any) -> Context:
    values = {"rows": 200, "dashboard": "127.0.0.1:0", "notify": f"{server.url}/{SECRET}", **given}
    return new_context(Settings.of(run_uri=str(run), **values, given=frozenset(given)))


def fails_at(stage: str, error: BaseException) -> Callable[[str, Context], Any]:
    """Run stages as they are, but fail at one of them."""

    def run(name: str, context: Context) -> Any:
        if name == stage:
            with context.held() as held, held.making(name):
                raise error
        return run_stage(name, context)

    return run


def assert_no_secret_in(folder: Path, *texts: str) -> None:
    found = [path for path in folder.rglob("*") if path.is_file() and b"s3cr3t" in path.read_bytes()]
    assert not found
    assert not any("s3cr3t" in text for text in texts)


def test_good_run_is_told_once_with_its_numbers(server: Receiver, tmp_path: Path) -> None:
    run = tmp_path / "2026-11-30"
    context = context_of(server, run, as_of="2026-11-30")
    run_all(context)
    quality = json.loads((run / "report/quality.json").read_text())
    report = (run / "report/analytics_report.json").read_text()
    (came,) = server.came
    body = came.body
    assert came.path == f"/{SECRET}"
    assert (body["result"], body["run"], body["day"]) == ("succeeded", str(run), "2026-11-30")
    assert report == f'{{"orders": {body["orders"]}, "revenue": {body["revenue"]}}}\n'
    assert (body["rows"], body["rejected"]) == (200, quality["rows"]["rejected"])
    assert body["rejected_share"] == round(body["rejected"] / 200, 6)
    assert body["report"] == str(run / "report/report.html")
    assert body["text"].split("\n") == [
        "daskjobs succeeded: 2026-11-30, 2026-11-30",
        f"{body['orders']} orders, revenue {body['revenue']}",
        f"{body['rejected']} of 200 rows rejected ({body['rejected_share']:.2%})",
        f"report: {run}/report/report.html",
    ]
    run_all(context)  # nothing has changed
    run_stage("cleanup", context)
    assert len(server.came) == 1
    assert_no_secret_in(run, repr(context), repr(context.settings))


def test_other_result_of_the_same_run_is_told_again(
    server: Receiver, tmp_path: Path, orders_file: Callable[..., Path]
) -> None:
    context = context_of(server, tmp_path / "run", rows=50_000, input=str(orders_file(row())))
    run_all(context)
    orders_file(row(), row(total_amount="20.00"))
    run_all(context)
    assert [(each.body["orders"], each.body["rejected"]) for each in server.came] == [(1, 0), (1, 1)]


@pytest.mark.parametrize("stage", [name for name in STAGES if name != "cleanup"])
def test_failure_is_told_with_its_stage_and_sentence(
    server: Receiver, tmp_path: Path, stage: str, caplog: pytest.LogCaptureFixture
) -> None:
    context = context_of(server, tmp_path / "run")
    with pytest.raises(StorageError):
        run_all(context, fails_at(stage, StorageError(SENTENCE)))
    (came,) = server.came
    assert (came.body["result"], came.body["stage"]) == ("failed", stage)
    assert came.body["sentence"] == SENTENCE
    assert "<" not in came.body["text"]
    assert "&lt;!channel&gt; &amp; &lt;https://evil|click&gt;" in came.body["text"]
    assert ("rows" in came.body) == (stage in ("clean", "report"))
    assert "orders" not in came.body
    assert_no_secret_in(tmp_path, caplog.text)


def test_same_failure_of_another_attempt_is_told_again_and_then_the_success(server: Receiver, tmp_path: Path) -> None:
    context = context_of(server, tmp_path / "run")
    for _ in range(2):
        with pytest.raises(ClusterError):
            run_all(context, fails_at("validate", ClusterError("no worker came")))
    run_all(context)
    assert [each.body["result"] for each in server.came] == ["failed", "failed", "succeeded"]


def test_run_that_is_refused_tells_no_numbers_of_the_one_before(server: Receiver, tmp_path: Path) -> None:
    run_all(context_of(server, tmp_path / "run"))
    with pytest.raises(ConfigError):
        run_all(context_of(server, tmp_path / "run"), fails_at("merge", ConfigError("no")))
    with pytest.raises(ConfigError):
        run_all(context_of(server, tmp_path / "other", rows=3), fails_at("generate", ConfigError("no")))
    assert "rejected" not in server.came[2].body


def test_account_of_too_many_rejected_rows_is_told(
    server: Receiver, tmp_path: Path, orders_file: Callable[..., Path]
) -> None:
    given = {"input": str(orders_file(row(), row(total_amount="20.00"))), "max_rejected": 0.1}
    with pytest.raises(DaskjobsError) as raised:
        run_all(context_of(server, tmp_path / "run", rows=50_000, **given))
    (came,) = server.came
    assert (came.body["stage"], came.body["sentence"]) == ("report", str(raised.value))
    assert (came.body["rows"], came.body["rejected"], came.body["rejected_share"]) == (2, 1, 0.5)


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ([404], "127.0.0.1 answers 404"),
        ([302], "127.0.0.1 answers 302, a redirect"),
        ([500] * 9, "127.0.0.1 answers 500, 4 times"),
    ],
)
def test_notification_that_fails_is_a_warning_and_the_next_cleanup_tries_again(
    server: Receiver, tmp_path: Path, answers: list[int], said: str, caplog: pytest.LogCaptureFixture
) -> None:
    server.answers = answers
    context = context_of(server, tmp_path / "run")
    run_all(context)
    assert f'notify.failed error="{said}' in caplog.text.replace(f"run={tmp_path / 'run'} ", "")
    assert_no_secret_in(tmp_path, caplog.text)
    server.answers, server.came = [], []
    run_stage("cleanup", replace(context, outcome=Outcome()))
    assert [each.body["result"] for each in server.came] == ["succeeded"]


def test_command_succeeds_though_nobody_takes_the_notification(daskjobs: Command, tmp_path: Path) -> None:
    with Receiver(answers=[403] * 9) as server:
        address = {"DASKJOBS_NOTIFY": f"{server.url}/{SECRET}", "DASKJOBS_OPENLINEAGE": f"{server.url}/{SECRET}"}
        here = ("--dashboard", "127.0.0.1:0", "--rows", "50", "--run", "run")
        done = daskjobs("run", *here, **address, DASKJOBS_OPENLINEAGE_KEY="k-s3cr3t")
        assert done.returncode == 0, done.stderr
        assert "WARNING notify.failed" in done.stderr
        assert "WARNING openlineage.failed" in done.stderr
        late = daskjobs("cleanup", *here, **address, DASKJOBS_LOG_LEVEL="debug")
        assert late.returncode == 0
        assert_no_secret_in(tmp_path, done.stdout, done.stderr, late.stdout, late.stderr)


@pytest.mark.parametrize("bad", ["hooks.example.com/s3cr3t", "https://", "ht!tp://s3cr3t x"])
def test_address_that_is_none_ends_a_run_before_it_begins_but_no_cleanup(
    daskjobs: Command, tmp_path: Path, bad: str
) -> None:
    for flag in ("notify", "openlineage"):
        done = daskjobs("run", "--rows", "5", "--run", "run", f"--{flag}", bad)
        assert done.returncode == 2, done.stderr
        assert f"--{flag} must be an address like https://" in done.stderr
        assert not (tmp_path / "run").exists()
        cleaned = daskjobs("cleanup", "--run", f"run-{flag}", **{f"DASKJOBS_{flag.upper()}": bad})
        assert cleaned.returncode == 0, cleaned.stderr
        assert f"WARNING {flag}.failed" in cleaned.stderr
        assert (tmp_path / f"run-{flag}/cleanup/receipt.json").exists()
        assert "s3cr3t" not in done.stderr + cleaned.stderr + done.stdout + cleaned.stdout


def test_slack_is_given_a_text_alone(server: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(told, "TEXT_ALONE", ("127.0.0.1",))
    run_all(context_of(server, tmp_path / "run"))
    assert list(server.came[0].body) == ["text"]


def test_python_gives_the_address_as_a_keyword_and_no_pickle_or_copy_shows_it(server: Receiver, tmp_path: Path) -> None:
    address = f"{server.url}/{SECRET}"
    result = run_orders(rows=50, run=tmp_path / "run", notify=address, dashboard="127.0.0.1:0")
    assert [each.body["result"] for each in server.came] == ["succeeded"]
    assert b"s3cr3t" not in pickle.dumps(result)
    assert "s3cr3t" not in repr(result) + repr(copy.deepcopy(result)) + str(vars(result)["_context"])
    assert pickle.loads(pickle.dumps(result)).explain(7).row == 7
    with pytest.raises(UsageError, match="did you mean notify=…") as raised:
        run_orders(rows=5, **{"notfy": address})
    assert "s3cr3t" not in str(raised.value)
    for wrong in (7, [address], f"{address}\0", f"{address}\udcff"):
        with pytest.raises(UsageError, match="^--notify must ") as raised:
            run_orders(rows=5, run=tmp_path / "run", notify=wrong)
        assert "s3cr3t" not in str(raised.value)


def test_cleanup_by_hand_tells_what_the_manifests_say(server: Receiver, tmp_path: Path) -> None:
    context = context_of(server, tmp_path / "run")
    for name in ("generate", "split", "validate"):
        run_stage(name, context)
    run_stage("cleanup", context)
    for name in ("merge", "clean", "report", "cleanup"):
        run_stage(name, context)
    first, second = (each.body for each in server.came)
    assert (first["result"], first["stage"], first.get("rows")) == ("failed", "merge", None)
    assert second["result"] == "succeeded"


def test_cleanup_tells_what_it_knows_when_files_are_damaged(server: Receiver, tmp_path: Path) -> None:
    context = context_of(server, tmp_path / "run")
    run_all(replace(context, settings=replace(context.settings, notify="")))
    (tmp_path / "run/report/quality.json").write_text("{}")
    run_stage("cleanup", replace(context, outcome=Outcome()))
    (came,) = server.came
    assert (came.body["result"], came.body.get("orders")) == ("succeeded", None)
    (tmp_path / "run/cleanup/told.json").write_text("no JSON")
    run_stage("cleanup", replace(context, outcome=Outcome()))
    assert len(server.came) == 2


def test_drift_that_is_over_is_told_from_the_vouched_file(server: Receiver, tmp_path: Path) -> None:
    news = News(1, "succeeded", "/runs/1", drift=[f"{number} rows fewer" for number in range(14)])
    lines = text(news).split("\n")
    assert lines[1:] == [*(f"drift: {number} rows fewer" for number in range(10)), "4 more", "run: /runs/1"]


def test_what_other_options_find_out_is_told_without_a_row(
    server: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As quality.json has it with --expect, --known and --warn."""
    more = {
        "sent": [{"what": "rows", "by": "--expect", "sent": "200", "received": "200", "missing": "0"},
                 {"what": "ids", "by": "x", "sent": "9", "received": "7", "missing": "",
                  "unread": 1, "first": [{"row": 3, "source": "ann@x.org"}]}],
        "seen_before": {"runs": 2, "rows": 3, "same": 2, "other": 1, 
                        "corrections": 1, "corrected_orders": "-1", "corrected_revenue": "-21.00",
                        "first": [{"source": "a.csv", "row": 7, "order_id": "ann@x.org", "kind": "same", "columns": [],
                                   "run": "n1", "earlier_source": None, "earlier_row": None}]},
        "warned": [{"reason": "wrong_total", "rows": 4, "rule": "…", "first": [{"row": 7, "source": "ann@x.org"}]}],
    }  # fmt: skip
    dumped = report.dump
    monkeypatch.setattr(report, "dump", lambda value: dumped({**to_json(value), **more}))
    run_all(context_of(server, tmp_path / "run"))
    (came,) = server.came
    assert came.body["seen_before"]["other"] == 1
    assert came.body["warned"] == {"wrong_total": 4}
    assert "first" not in json.dumps(came.body)
    assert "ann@x.org" not in json.dumps(came.body)
    assert came.body["text"].split("\n")[3:-1] == [
        "3 seen before (2 the same again, 1 with other values)",
        "corrected: -1 orders and -21.00 of earlier runs",
        "all that was sent was received",
        "warned: wrong_total, 4 rows",
    ]


def test_text_is_bounded_and_ends_with_where_the_report_is() -> None:
    news = News(1, "failed", "/runs/1", sentence="x" * 9000, warnings=["w" * 5000] * 40, report="/runs/1/r.html")
    said = text(news)
    assert len(said) <= MOST_TEXT
    assert said.endswith("\nreport: /runs/1/r.html")


def test_nobody_is_mentioned_by_a_text() -> None:
    assert marked("@channel <@U1> @Everyone a@b.c") == "@\u200bchannel &lt;@U1&gt; @\u200bEveryone a@b.c"


def gos(text: str) -> str:
    """A text as Go's strconv.Quote writes it, and then flows/pipeline.yaml."""
    quoted = json.dumps(text, ensure_ascii=False).replace("\u200b", "\\u200b").replace("\U000e0001", "\\U000e0001")
    return quoted.replace("$", "\\u0024").replace("{", "\\u007b")


def node(name: str, message: str = "", at: str = "2026-11-30T03:00:00Z", template: str = "") -> dict[str, str]:
    return {"displayName": name, "message": message, "templateName": template, "phase": "Failed", "finishedAt": at}


def test_argo_tells_the_last_attempt_of_the_stage_that_failed() -> None:
    failures = [
        node("daskjobs-x7", "", "2026-11-30T03:09:00Z"),
        node("validate", "No more retries left", "2026-11-30T03:08:00Z"),
        node("validate(1)", f"main: Error (exit code 21): validate: {SENTENCE}", "2026-11-30T03:08:00Z"),
        node("validate(0)", "Error (exit code 21): validate: another", "2026-11-30T03:02:00Z"),
    ]
    for order in (failures, failures[::-1]):
        told = of_argo("Failed", gos(json.dumps(order, ensure_ascii=False)))
        assert told == Outcome(True, "validate", f"validate: {SENTENCE}", "2026-11-30T03:08:00Z")


@pytest.mark.parametrize("text", ["", "null", '"null"', '"[{"', '"{}"', "[1]", '"[1, null, {}]"', "(" * 400, '"\\x00"'])
def test_failures_that_say_nothing_are_a_failure_without_a_sentence(text: str) -> None:
    outcome = of_argo("Error", text)
    assert outcome is not None
    assert outcome.failed
    assert outcome.sentence == ""


def test_invisible_characters_of_a_message_are_visible() -> None:
    told = of_argo("Failed", gos(json.dumps([node("merge(0)", "a\u200b\U000e0001\nb")], ensure_ascii=False)))
    assert told is not None
    assert told.sentence == "a\\u200b\\U000e0001\\nb"


def test_argo_that_tells_nothing_leaves_it_to_the_manifests() -> None:
    assert of_argo("", "") is None
    assert of_argo("Succeeded", '"null"') == Outcome()


def test_cleanup_of_a_workflow_names_it_and_its_stage(daskjobs: Command, server: Receiver, tmp_path: Path) -> None:
    pod = {
        "DASKJOBS_WORKFLOW": "daskjobs-x7",
        "DASKJOBS_WORKFLOW_UID": "11111111-2222-3333-4444-555555555555",
        "DASKJOBS_NAMESPACE": "orders",
        "DASKJOBS_NOTIFY": f"{server.url}/{SECRET}\n",
        "DASKJOBS_WORKFLOW_STATUS": "Failed",
        "DASKJOBS_WORKFLOW_FAILURES": gos(json.dumps([node("merge(0)", f"Error (exit code 22): {SENTENCE}")])),
        "DASKJOBS_KNOWN_DAYS": "seven",  # what makes no sense to a stage
    }
    for _ in range(2):  # Argo tries cleanup again
        done = daskjobs("cleanup", "--run", "run", **pod)
        assert done.returncode == 0, done.stderr
    (came,) = server.came
    assert came.body["workflow"] == {"name": "daskjobs-x7", "uid": pod["DASKJOBS_WORKFLOW_UID"], "namespace": "orders"}
    assert (came.body["stage"], came.body["sentence"]) == ("merge", SENTENCE)
    assert came.body["text"].startswith("daskjobs failed: daskjobs-x7 in orders")
    assert_no_secret_in(tmp_path, done.stdout, done.stderr)


def test_run_in_s3_is_told_once(server: Receiver, s3: str, tmp_path: Path) -> None:
    context = context_of(server, f"{s3}/{tmp_path.name}")
    run_all(context)
    run_all(context)
    assert [each.body["report"] for each in server.came] == [f"{s3}/{tmp_path.name}/report/report.html"]
    assert b"s3cr3t" not in Storage(f"{s3}/{tmp_path.name}").read("cleanup/told.json")


def test_sentence_of_an_exception_is_what_a_terminal_would_say() -> None:
    assert of_error("merge", StorageError("disk is full")).sentence == "disk is full"
    assert of_error("merge", ValueError("https://me:pw@host/x")).sentence == "ValueError: https://host/x"
    stopped = of_error("validate", ending.Stopped(15))
    assert (stopped.stopped, stopped.sentence) == (True, "stopped by SIGTERM")
