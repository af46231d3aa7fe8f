import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from conftest import Command, csv_text, row
from daskjobs import errors
from daskjobs.cli import main as cli
from daskjobs.cli import parameters
from daskjobs.stages import STAGES


@pytest.mark.slow
def test_run_prints_the_reports_numbers_and_path(daskjobs: Command, tmp_path: Path) -> None:
    done = daskjobs("run", "--run", "mine", "--rows", "2000", "--dashboard", "127.0.0.1:0")
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "mine/report/analytics_report.json").read_text())
    assert f"orders     {report['orders']:,}\n" in done.stdout
    assert f"revenue    {report['revenue']:.2f}\n" in done.stdout
    assert re.search(r"rejected   \d+ of 2,000 \(.*negative_price \d+", done.stdout)
    assert "report     mine/report/report.html\n" in done.stdout
    assert re.search(r"dashboard http://127.0.0.1:\d+/\w+/status", done.stderr)
    assert [line.split()[0] for line in done.stderr.splitlines() if line[0] != " "] == [
        n for n in STAGES if n != "cleanup"
    ]
    assert (tmp_path / "mine/cleanup/receipt.json").exists()


@pytest.mark.slow
def test_run_gets_a_directory_of_its_own_when_none_is_given(daskjobs: Command, tmp_path: Path) -> None:
    daskjobs("run", "--rows", "10", "--dashboard", "127.0.0.1:0")
    daskjobs("run", "--rows", "10", "--dashboard", "127.0.0.1:0")
    assert len(list((tmp_path / "runs").iterdir())) == 2


@pytest.mark.slow
def test_stages_alone_come_to_the_report_when_set_by_the_environment(daskjobs: Command, tmp_path: Path) -> None:
    environment = {
        "DASKJOBS_RUN": "mine",
        "DASKJOBS_ROWS": "300",
        "DASKJOBS_PARTITIONS": "3",
        "DASKJOBS_DASHBOARD": "127.0.0.1:0",
    }
    for name in STAGES:
        done = daskjobs(name, **environment)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["stage"] == name
    assert json.loads((tmp_path / "mine/report/quality.json").read_text())["rows"]["in"] == 300
    again = daskjobs("merge", **environment)
    assert json.loads(again.stdout)["skipped"]
    assert "stage.skipped" in again.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["run", "--rows", "-1"], 2, "--rows must be between 0 and 4,000,000,000, got -1"),
        (["run", "--rows", "many"], 2, "'many' is not a valid integer"),
        (["merge"], 2, "daskjobs merge needs --run"),
        (["run", "--input", "nothing.csv"], 10, "nothing.csv names no file"),
        (["run", "--input", "bad.csv"], 10, "has no column user_id"),
        (["run", "--input", "empty.csv"], 10, "is empty; it must begin with a header row"),
        (["run", "--run", "bad.csv/run"], 11, "choose a place that you may use"),
        (["report", "--run", "nothing"], 11, "has no merge/manifest.json: run `daskjobs merge --run"),
        (
            ["run", "--rows", "1", "--cluster", "tcp://127.0.0.1:9"],
            21,
            "no Dask scheduler answers at tcp://127.0.0.1:9",
        ),
    ],
)
def test_failure_is_one_sentence_with_its_exit_code(
    daskjobs: Command, tmp_path: Path, arguments: list[str], code: int, words: str
) -> None:
    (tmp_path / "bad.csv").write_text("order_id,price\n1,2\n")
    (tmp_path / "empty.csv").touch()
    done = daskjobs(*arguments)
    assert done.returncode == code, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.glob("**/report/analytics_report.json"))


def test_bug_shows_its_stack_trace(daskjobs: Command, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import daskjobs.pipeline.context\ndaskjobs.pipeline.context.dump = None\n"
    )
    done = daskjobs("generate", "--run", "x", PYTHONPATH=str(tmp_path))
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "TypeError" in done.stderr


@pytest.mark.slow
def test_run_takes_the_users_orders_by_glob(daskjobs: Command, tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / f"{name}.csv").write_bytes(csv_text(row(), row(status="failed")))
    done = daskjobs("run", "--input", "*.csv", "--run", "mine", "--dashboard", "127.0.0.1:0")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "mine/report/analytics_report.json").read_text()) == {"orders": 2, "revenue": 42.0}


def test_unwritable_run_directory_is_a_sentence_when_the_user_lacks_the_right(
    daskjobs: Command, orders_file: Callable[..., Path]
) -> None:
    done = daskjobs("run", "--run", "/proc/daskjobs", "--input", str(orders_file(row())))
    assert done.returncode in {11, 20}
    assert done.stderr.splitlines()[-1].startswith("daskjobs: could not ")
    assert "Traceback" not in done.stderr


def test_help_names_every_option_with_its_variable_and_every_exit_code() -> None:
    runner = CliRunner()
    text = runner.invoke(cli.main, ["--help"]).output
    for error in errors.DaskjobsError.__subclasses__():
        assert re.search(rf"\b{error.exit_code}\b", text)
    assert set(STAGES) | {"run", "doctor"} <= set(text.split())
    for command in ["run", *STAGES]:
        shown = runner.invoke(cli.main, [command, "--help"]).output
        for name in [option.flag for _, option in parameters.FIELDS] + ["--log-level"]:
            assert name in shown
            if command != "cleanup":  # which works whatever the variables of others say
                assert f"DASKJOBS_{name.removeprefix('--').replace('-', '_').upper()}" in shown


def listed(*arguments: str) -> dict[str, list[str]]:
    """The first word of each entry of a help, by the title of the section that has it."""
    title, sections = "", dict[str, list[str]]()
    for line in CliRunner().invoke(cli.main, [*arguments, "--help"]).output.splitlines():
        if re.fullmatch(r"\w.*:", line):
            title = line.removesuffix(":")
        elif title and (entry := re.match(r"  ([\w-]\S*)", line)):
            sections.setdefault(title, []).append(entry[1])
    return sections


def test_help_tells_what_people_use_from_what_is_for_a_cluster_and_what_pods_run() -> None:
    people, cluster, pods = (listed()[title] for title in cli.COMMANDS)
    assert people == ["run", "profile", "pending", "explain", "history", "step", "dashboard", "doctor"]
    assert cluster == ["cluster", "janitor", "step-cleanup"]
    assert pods == [*STAGES, "stages"]


def test_help_has_the_first_sentence_of_each_command() -> None:
    for sentences in cli.COMMANDS.values():
        for name, sentence in sentences.items():
            assert cli.main.commands[name].get_short_help_str(200) == sentence
            assert cli.main.commands[name].name == name


def test_help_of_a_run_has_the_options_of_its_input_the_run_the_dask_cluster_and_each_backend() -> None:
    found = listed("run")
    assert list(found)[:5] == ["The input", "Earlier runs", "Who is told", "The run", "The Dask cluster"]
    assert {"--run", "--rules", "--as-of", "--max-rejected", "--partitions"} <= set(found["The run"])
    assert {"--known", "--compare"} <= set(found["Earlier runs"])
    assert found["On this machine"] == ["--dashboard"]
    assert {"--input", "--rows"} <= set(found["The input"])
    assert {"--cluster", "--workers"} <= set(found["The Dask cluster"])
    assert {"--worker-memory", "--idle-timeout"} <= set(found["On Kubernetes"])
    assert found["Options"] == ["--log-level", "--outputs", "-h,"]
    assert listed("step")["Options"][0] == "--arg"


def test_doctor_says_that_all_is_well_or_what_is_not(daskjobs: Command, tmp_path: Path) -> None:
    good = daskjobs("doctor", "--run", str(tmp_path))
    assert good.returncode == 0, good.stdout
    assert re.search(r"^ok    Python 3\.", good.stdout, re.M)
    assert re.search(r"^ok    pandas \d", good.stdout, re.M)
    (tmp_path / "file").touch()
    bad = daskjobs("doctor", "--run", str(tmp_path / "file"))
    assert bad.returncode == 11
    assert re.search(r"^FAIL  no right to write to .*file: choose another place with --run", bad.stdout, re.M)
    assert daskjobs("doctor", "--run", str(tmp_path / "file"), "--no-storage").returncode == 0


@pytest.mark.parametrize("arguments", [[], ["--cluster", "kubernetes"], ["--image", "any"]])
def test_network_is_tried_on_kubernetes_alone_in_pods_of_an_image(daskjobs: Command, arguments: list[str]) -> None:
    done = daskjobs("doctor", "--network", *arguments)
    assert done.returncode == 2
    assert "--network needs --cluster kubernetes, and --image for the pods that it starts there" in done.stderr


def test_kubernetes_is_a_sentence_when_its_packages_are_not_installed(daskjobs: Command, tmp_path: Path) -> None:
    (tmp_path / "kr8s.py").write_text("raise ImportError('No module named kr8s')")
    for arguments in (["doctor"], ["cleanup", "--run", "x"]):
        done = daskjobs(*arguments, "--cluster", "kubernetes", PYTHONPATH=str(tmp_path))
        assert done.returncode == 11
        assert "pip install 'daskjobs[kubernetes]'" in done.stderr
        assert "Traceback" not in done.stderr


def test_cleanup_works_whatever_the_variables_of_others_say(daskjobs: Command) -> None:
    others = {"ROWS": "many", "WORKERS": "$(X)", "WORKER_TOLERATIONS": "}", "QUOTING": "no", "START_TIMEOUT": "0"}
    variables = {f"DASKJOBS_{name}": value for name, value in others.items()}
    for arguments in (["cleanup", "--run", "r"], ["step-cleanup"]):
        done = daskjobs(*arguments, **variables)
        assert done.returncode == 0, done.stderr
        assert '"remaining": ' in done.stdout
    assert daskjobs("merge", "--run", "r", **variables).returncode == 2


@pytest.mark.slow
def test_stage_refuses_what_was_made_with_other_settings_than_it_is_given(daskjobs: Command, tmp_path: Path) -> None:
    (tmp_path / "rules.py").write_text("")
    (tmp_path / "mine.csv").write_bytes(csv_text(row()))
    made = ["--rows", "100", "--partitions", "2", "--statuses", "success=paid", "--dashboard", "127.0.0.1:0"]
    assert daskjobs("stages", "generate", "split", "validate", "merge", "--run", "r", *made).returncode == 0
    before = {path: path.read_bytes() for path in tmp_path.glob("r/*/manifest.json")}
    for stage, given, words in [
        ("split", ["--rows", "99"], "generate was made with --rows 100, and this stage is given 99: run `daskjobs gen"),
        ("validate", ["--partitions", "3"], "split was made with --partitions 2, and this stage is given 3: run `dask"),
        ("validate", ["--rows", "99"], "generate was made with --rows 100, and this stage is given 99"),
        ("merge", ["--input", "mine.csv"], "split was made with --input 'none', and this stage is given '"),
        ("merge", ["--statuses", "failed=paid"], "validate was made with --statuses {'paid': 'success'}, and this"),
        ("clean", ["--rules", "rules.py"], "validate was made with --rules 'none', and this stage is given '"),
    ]:
        done = daskjobs(stage, "--run", "r", *given)
        assert (done.returncode, words in done.stderr) == (11, True), done.stderr
    by_environment = daskjobs("merge", "--run", "r", DASKJOBS_PARTITIONS="3")
    assert (by_environment.returncode, "--partitions 2" in by_environment.stderr) == (11, True)
    assert {path: path.read_bytes() for path in tmp_path.glob("r/*/manifest.json")} == before
    for stage, given in (("clean", []), ("report", made)):
        done = daskjobs(stage, "--run", "r", *given)
        assert done.returncode == 0, done.stderr
