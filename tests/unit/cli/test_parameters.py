"""Every option of every command: what is given counts, or is refused with a sentence."""

import itertools
import json
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import inline
from conftest import csv_text, row
from daskjobs.cli import main as cli
from daskjobs.errors import DaskjobsError, UsageError

COMMANDS = [
    (command.name, [each for each in command.params if isinstance(each, click.Option) and not each.is_eager])
    for command in cli.main.commands.values()
]
IDS = [str(command) for command, _ in COMMANDS]
NEEDED = {"explain": ["--row", "1"], "dashboard": ["--workflow", "x"], "step": ["a:b"], "stages": ["merge"]}
MULTIPLE = {"--input", "--columns", "--statuses", "--arg", "--max-drift", "--expect", "--warn", "--max-rejected"}

SECRETS = {"--notify", "--openlineage", "--openlineage-key"}


def refusal(*arguments: str, **environment: str) -> str:
    """Return the sentence with which a command line is refused before it does anything."""
    error = CliRunner(env=environment).invoke(cli.main, arguments).exception
    assert isinstance(error, UsageError), error
    return str(error)


def values(option: click.Option) -> list[str]:
    return [*option.type.choices][:2] if isinstance(option.type, click.Choice) else ["1", "https://me:secret@host/2"]


@pytest.mark.parametrize(("command", "options"), COMMANDS, ids=IDS)
def test_option_given_twice_is_refused_with_both_values_or_takes_several(
    command: str, options: list[click.Option]
) -> None:
    assert {each.opts[0] for each in options if each.multiple} <= MULTIPLE
    for option in options:
        if not option.multiple and not option.is_flag:
            flag, (first, second) = option.opts[0], values(option)
            needed = NEEDED.get(command, [])
            said = refusal(command, *(needed if flag not in needed else []), flag, first, f"{flag}={second}")
            second = second.replace("me:secret@", "")
            both = "" if flag in SECRETS else f", as {first!r} and as {second!r}"
            assert said == f"{flag} is given more than once{both}: give it once"


@pytest.mark.parametrize(("command", "options"), COMMANDS, ids=IDS)
def test_empty_value_or_one_that_no_path_can_be_is_refused(command: str, options: list[click.Option]) -> None:
    for flag in (each.opts[0] for each in options if not each.is_flag):
        assert refusal(command, flag, "") == f"{flag} is empty: give it a value, or leave it out for the default"
        got = "" if flag in SECRETS else ", got '\\x00'"
        assert refusal(command, flag, "\0") == f"{flag} must have no NUL character{got}"


@pytest.mark.parametrize("number", ["1_0", "\u0663"])
def test_number_that_only_python_would_read_is_refused_and_quoted(number: str, monkeypatch: pytest.MonkeyPatch) -> None:
    numeric = click.types.IntParamType | click.types.FloatParamType
    options = [each for _, several in COMMANDS for each in several if isinstance(each.type, numeric)]
    assert {"--rows", "--last", "--row", "--known-days", "--timeout"} <= {each.opts[0] for each in options}
    for option in options:
        context = click.Context(click.Command("x"))
        with pytest.raises((UsageError, click.BadParameter), match=repr(number)):
            option.handle_parse_result(context, {str(option.name): [number]}, [])
        if option.envvar:
            monkeypatch.setenv(str(option.envvar), number)
            with pytest.raises((UsageError, click.BadParameter), match=repr(number)):
                option.handle_parse_result(context, {}, [])


def test_flag_given_twice_counts_once_unless_it_says_both() -> None:
    said = refusal("step", "a:b", "--artifacts", "--no-artifacts")
    assert said == "--artifacts and --no-artifacts are both given: give it once"
    for flag in ("--artifacts", "--no-artifacts"):
        assert refusal("step", "a:b", flag, flag, "--workers", "-1").startswith("--workers must be between")
    assert refusal("doctor", "--network", "--network").startswith("--network needs --cluster kubernetes")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--arg", "n=1", "--arg", "n=two"], "--arg has n more than once, as '1' and as '\"two\"': give it once"),
        (["--args", '{"n": 1, "n": 2}'], "--args has n more than once, as '1' and as '2': give it once"),
        (["--args", '{"n": {"m": 1, "m": 2}}'], "--args has m more than once, as '1' and as '2': give it once"),
    ],
)
def test_argument_of_a_step_given_twice_is_refused(arguments: list[str], said: str) -> None:
    assert refusal("step", "a:b", *arguments) == said


@pytest.mark.parametrize(
    ("arguments", "environment", "said"),
    [
        (["run", "--input", "a.csv", "--rows", "5"], {}, "--rows is for generated orders, and --input names your own"),
        (["split", "--run", "r", "--input", "a.csv", "--seed", "5"], {}, "--seed is for generated orders"),
        (["run", "--rows", "5"], {"DASKJOBS_INPUT": "a.csv"}, "--rows is for generated orders"),
        (["run", "--columns", "price=cost"], {}, "--columns says how your orders are written: name these by --input"),
        (["run", "--rows", "5", "--delimiter", ";"], {}, "--delimiter says how your orders are written"),
        (["run", "--rows", "5", "--statuses", "success=a", "--statuses", "failed=a"], {}, "--statuses must be pairs"),
        (["run", "--input", "a.csv", "--columns", "price=a", "--columns", "price=b"], {}, "--columns must be pairs"),
        (["run", "--input", "a.csv", "--columns", "price=a,quantity=a"], {}, "--columns must be pairs"),
        (["run", "--input", "a.csv", "--input", "./a.csv"], {}, "--input names "),
        (["run", "--input", "*.csv", "--input", "*.csv"], {}, "--input names "),
        (["run"], {"DASKJOBS_INPUT": "a.csv\na.csv"}, "--input names "),
    ],
)
def test_contradiction_is_refused(
    orders_file: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    environment: dict[str, str],
    said: str,
) -> None:
    monkeypatch.chdir(orders_file(row(), name="a.csv").parent)
    with inline.stages_inline():
        assert refusal(*arguments, **environment).startswith(said)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, float]]:
    """Run all stages on files a.csv, b.csv and c.csv with other names of columns; return the report."""
    monkeypatch.chdir(tmp_path)
    header = csv_text().decode().strip().replace("price", "cost").replace("region", "zone")
    for name, count in [("a.csv", 1), ("b.csv", 2), ("c.csv", 4)]:
        rows = [row(status="paid" if number % 2 else "done") for number in range(count)]
        (tmp_path / name).write_bytes(csv_text(*rows, header=header))
    numbers = itertools.count()

    def call(*arguments: str, **environment: str) -> dict[str, float]:
        names = ["--columns", "price=cost", "--columns", "region=zone"]
        statuses = ["--statuses", "success=paid", "--statuses", "success=done"]
        run = f"run-{next(numbers)}"
        with inline.stages_inline():
            done = CliRunner(env=environment).invoke(cli.main, ["run", "--run", run, *names, *statuses, *arguments])
        if isinstance(done.exception, DaskjobsError):
            raise done.exception
        return dict(json.loads((tmp_path / run / "report/analytics_report.json").read_text()))

    return call


def test_every_value_of_an_option_that_takes_several_counts(run: Callable[..., dict[str, float]]) -> None:
    assert run("--input", "a.csv", "--input", "b.csv") == {"orders": 3, "revenue": 63.0}
    assert run("--input", "c.csv", "--input", "[ac].csv") == {"orders": 5, "revenue": 105.0}
    assert run(DASKJOBS_INPUT="a.csv\n\nc.csv\n", DASKJOBS_ROWS="5") == {"orders": 5, "revenue": 105.0}
    assert run("--input", "a.csv", DASKJOBS_INPUT="b.csv\nc.csv") == {"orders": 1, "revenue": 21.0}
    with pytest.raises(DaskjobsError, match=r"--input .*d.csv names no file"):
        run("--input", "a.csv", "--input", "d.csv")


def test_stage_refuses_other_inputs_than_the_run_was_made_with(
    run: Callable[..., dict[str, float]], tmp_path: Path
) -> None:
    run("--input", "a.csv", "--input", "b.csv")
    for inputs in (["b.csv", "a.csv"], ["a.csv", "c.csv"], ["a.csv"]):
        given = [word for each in inputs for word in ("--input", each)]
        error = CliRunner().invoke(cli.main, ["report", "--run", "run-0", *given]).exception
        assert str(error).startswith(f"split was made with --input ['{tmp_path}/a.csv', '{tmp_path}/b.csv']")
    run("--input", "a.csv")
    for name, same in ("a.csv", True), ("./a.csv", True), ("[a].csv", True), ("b.csv", False):
        error = CliRunner().invoke(cli.main, ["report", "--run", "run-1", "--input", name]).exception
        assert (error is None) == same, error
