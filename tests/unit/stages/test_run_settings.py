"""Settings are refused when they are built, with one sentence and exit code 2."""

import socket
from pathlib import Path
from typing import Any

import dask
import pytest
from click.testing import CliRunner
from distributed import Security

import daskjobs
from daskjobs.cli import main as cli
from daskjobs.cluster import addresses
from daskjobs.cluster.backends import connect, settings_kinds
from daskjobs.cluster.local import LocalSettings
from daskjobs.cluster.settings import ClusterSettings
from daskjobs.errors import ClusterError, ConfigError, UsageError
from daskjobs.options import MOST_TEXT, options
from daskjobs.orders.sources.names import column_names
from daskjobs.stages.run_settings import Settings

OPTIONS = {field.name: option for field, option in [*options(Settings), *options(*settings_kinds())]}
BOUNDS = {name: option.bounds for name, option in OPTIONS.items() if option.bounds}


@pytest.mark.parametrize("name", BOUNDS)
def test_number_is_refused_when_it_is_beyond_its_bounds(name: str) -> None:
    least, most = BOUNDS[name]
    for good in BOUNDS[name]:
        Settings.of(run_uri="run", **{"backend": "kubernetes", "known": "runs", name: good})
    for bad in (least - 1, most + 1, float("nan"), float("inf"), -float("inf"), 10**400):
        with pytest.raises(
            UsageError, match=rf"^{OPTIONS[name].flag} must be between {least:,} and {most:,}, got "
        ) as raised:
            Settings.of(run_uri="run", **{"backend": "kubernetes", "known": "runs", name: bad})
        assert len(str(raised.value)) < 150


def test_local_workers_are_bounded_by_what_one_machine_can_start() -> None:
    Settings.of(run_uri="run", workers=128)
    with pytest.raises(UsageError, match="--workers must be at most 128 with --cluster local, got 129"):
        Settings.of(run_uri="run", workers=129)


@pytest.mark.parametrize(
    ("value", "words"), [("x" * (MOST_TEXT + 1), "at most 4,096 characters, got 4,097"), ("a\0b", "no NUL character")]
)
@pytest.mark.parametrize("name", ["run_uri", "input", "columns", "rules", "delimiter"])
def test_text_is_refused_when_it_is_too_long_or_has_a_nul(name: str, value: str, words: str) -> None:
    with pytest.raises(UsageError, match=f"^{OPTIONS[name].flag} must have {words}"):
        Settings.of(**{"run_uri": "run", name: value})


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("localhost", "no port"),
        ("none", "no port"),
        ("", "no host"),
        (":8787", "no host"),
        ("127.0.0.1:abc", "a number from 0 to 65535"),
        ("127.0.0.1:99999999", "a number from 0 to 65535"),
        ("127.0.0.1:-1", "a number from 0 to 65535"),
        ("[::1]:8787", "no IPv6"),
        ("[::1", "Invalid IPv6"),
        ("http://127.0.0.1:8787", "more than a host and a port"),
        ("127.0.0.1:8787/", "more than a host and a port"),
        ("user:password@127.0.0.1:8787", "more than a host and a port"),
        ("\x1b[31m:1", r"it is more than"),
        (f"{'x' * 254}:1", "more than 253 characters"),
    ],
)
@pytest.mark.parametrize(("name", "before"), [("dashboard", ""), ("backend", "tcp://"), ("backend", "tls://")])
def test_address_is_refused_when_it_is_no_host_and_port(name: str, before: str, value: str, why: str) -> None:
    with pytest.raises(UsageError, match=f"^{OPTIONS[name].flag} must be .*host:port.*{why}"):
        Settings.of(run_uri="run", **{name: before + value})


@pytest.mark.parametrize("value", ["moon", "tcp", "http://127.0.0.1:8786", "tcp://127.0.0.1:0", "Local", ""])
def test_cluster_is_refused_when_it_is_none_of_those_that_there_are(value: str) -> None:
    with pytest.raises(UsageError, match="^--cluster must be local or .*kubernetes or .*tcp://host:port or tls://"):
        Settings.of(run_uri="run", backend=value)


@pytest.mark.parametrize("address", ["192.0.2.200:8787", "nohost.invalid:8787", "a..b:8787"])
def test_dashboard_is_a_sentence_when_this_machine_has_no_such_address(address: str) -> None:
    with (
        pytest.raises(
            ConfigError, match=f"^--dashboard can't listen on {address}: .*; give an address of this machine"
        ),
        connect(LocalSettings(dashboard=address)),
    ):
        pass


def test_dashboard_gets_another_port_when_its_own_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert addresses.free(f"127.0.0.1:{taken.getsockname()[1]}") == "127.0.0.1:0"


@pytest.mark.slow
def test_tls_scheduler_is_a_sentence_when_there_are_no_certificates(tmp_path: Path) -> None:
    settings = ClusterSettings("tls://127.0.0.1:9")
    with pytest.raises(ConfigError, match=r"set distributed\.comm\.tls\.ca-file.* or DASK_.*TLS__CLIENT__KEY"):
        connect(settings).__enter__()
    files = {name: str(tmp_path / name) for name in ("ca-file", "cert", "key")}
    tls = "distributed.comm.tls"
    wanted = {
        f"{tls}.ca-file": files["ca-file"],
        f"{tls}.client.cert": files["cert"],
        f"{tls}.client.key": files["key"],
    }
    with dask.config.set(wanted):
        with pytest.raises(ConfigError, match=r"can't use .*ca-file.*No such file"):
            connect(settings).__enter__()
        pair = Security.temporary()
        for name, text in (("ca-file", pair.tls_ca_file), ("cert", pair.tls_client_cert), ("key", pair.tls_client_key)):
            Path(files[name]).write_text(text)
        with pytest.raises(ClusterError, match="no Dask scheduler answers at tls://127.0.0.1:9"):
            connect(settings).__enter__()


@pytest.mark.parametrize("name", ["run", "input", "rules", "delimiter", "columns", "dashboard", "cluster"])
def test_empty_text_is_refused_on_the_command_line_and_is_no_value_in_the_environment(name: str) -> None:
    refused = CliRunner().invoke(cli.main, ["run", f"--{name}", ""])
    assert isinstance(refused.exception, UsageError)
    assert str(refused.exception) == f"--{name} is empty: give it a value, or leave it out for the default"
    taken = CliRunner().invoke(cli.main, ["run", "--rows", "-1"], env={f"DASKJOBS_{name.upper()}": ""})
    assert "--rows must be" in str(taken.exception)


def test_control_characters_are_shown_escaped() -> None:
    with pytest.raises(UsageError) as raised:
        Settings.of(run_uri="run", dashboard="\x1b[31m:1\n")
    assert r"got '\x1b[31m:1\n'" in str(raised.value)


def test_text_that_is_no_unicode_is_refused_but_for_paths() -> None:
    Settings("r\udcff", input="\udcff.csv", rules="\udcff.py")
    with pytest.raises(UsageError, match=r"^--encoding must be text in the terminal's encoding, got '\\udcff'"):
        Settings.of(run_uri="run", encoding="\udcff")


@pytest.mark.parametrize(
    "run", ["ftp://127.0.0.1:9/a", "zip://a", "http://127.0.0.1:9/x", "memory://x", "://", "a://b"]
)
def test_run_is_refused_where_its_files_could_not_be_written_whole(run: str) -> None:
    with pytest.raises(UsageError, match="^--run must be a path, or a URI of file:// or s3://, got "):
        Settings(run)


@pytest.mark.parametrize("run", ["file://", "file:///", "file://localhost", "file://localhost/", "s3://", "s3:///"])
def test_run_is_refused_when_its_uri_names_no_folder(run: str) -> None:
    with pytest.raises(UsageError, match=f"^--run must name a folder, got '{run}'"):
        Settings(run)


def test_pair_that_is_said_twice_is_no_contradiction() -> None:
    Settings("run", columns="price=cost,status=state,price=cost", statuses="success=paid, success=paid")
    assert column_names("price=cost, price = cost") == {"price": "cost"}
    for columns in ("price=cost,price=net", "price=cost,status=cost"):
        with pytest.raises(UsageError, match="^--columns must be pairs"):
            Settings("run", columns=columns)


def test_run_is_refused_when_it_is_a_chain() -> None:
    for run in ("a::b", "simplecache::s3://b/x"):
        with pytest.raises(UsageError, match="^--run must be"):
            Settings(run)


@pytest.mark.parametrize(
    ("given", "threads"),
    [
        ({"run_uri": "s3://b/run"}, 2),
        ({"run_uri": "s3://b/run", "backend": "kubernetes"}, 2),
        ({"run_uri": "s3://b/run", "threads": 1}, 1),
        ({"run_uri": "s3://b/run", "rules": "r.py"}, 1),
        ({"run_uri": "s3://b/run", "backend": "tcp://h:1"}, 1),
        ({"run_uri": "/runs/1"}, 1),
        ({"run_uri": "file:///runs/1", "threads": 3}, 3),
    ],
)
def test_workers_have_a_second_thread_where_one_would_wait_for_a_store(given: dict[str, Any], threads: int) -> None:
    """Not with rules of one's own, which may end a worker, nor where the workers run already."""
    assert Settings.of(**given).cluster.threads == threads


@pytest.mark.parametrize("nothing", [{}, [], ()])
@pytest.mark.parametrize("name", [field.name for field, option in options(Settings) if option.read])
def test_an_empty_list_or_mapping_is_the_default(name: str, nothing: Any) -> None:
    assert getattr(Settings("run", **{name: nothing}), name) == getattr(Settings("run"), name)


def test_empty_options_of_a_call_are_as_those_that_are_left_out(tmp_path: Path) -> None:
    nothing: dict[str, Any] = {field.name: [] for field, option in options(Settings) if option.read}
    assert {"columns", "statuses", "expect", "warn", "max_rejected", "max_drift"} == nothing.keys()
    # Of generated orders, --columns itself is refused, and --max-drift without --compare.
    assert daskjobs.run_orders(rows=7, run=tmp_path / "run", **nothing).rows.rows_in == 7


@pytest.mark.parametrize(
    ("name", "given", "text"),
    [
        ("columns", {"price": "unit_price", "status": "state"}, "price=unit_price,status=state"),
        ("columns", ["price=unit_price", "status=state"], "price=unit_price,status=state"),
        ("columns", [{"price": "unit = price"}, {"status": "state"}], "price=unit = price,status=state"),
        ("statuses", {"success": ["paid", "done"], "failed": "lost"}, "success=paid,success=done,failed=lost"),
        (
            "statuses",
            ("success=paid", {"success": ("done",), "failed": "lost"}),
            "success=paid,success=done,failed=lost",
        ),
    ],
)
def test_names_of_columns_and_statuses_may_be_a_mapping_or_several_texts(name: str, given: Any, text: str) -> None:
    assert getattr(Settings("run", input="o.csv", **{name: given}), name) == text


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (
            {"columns": 7},
            "--columns must be pairs like price=unit_price,status=state, as a text, several or a mapping, got 7",
        ),
        ({"columns": {"price": 7}}, "--columns must have names without a comma, got 7"),
        ({"columns": {"price": "a,b"}}, "--columns must have names without a comma, got 'a,b': name it in a profile"),
        ({"columns": {"price": ["a", "b"]}}, "--columns must be pairs like .* each of our names at most once"),
        ({"columns": {"price": "a\0"}}, "--columns must have no NUL character"),
        ({"columns": {"preis": "a"}}, "--columns must be pairs like"),
        ({"statuses": {"success": [7]}}, "--statuses must have names without a comma, got 7"),
        ({"statuses": {"success": "a", "failed": "a"}}, "--statuses must be pairs like"),
    ],
)
def test_names_that_make_no_sense_are_refused(given: dict[str, Any], why: str) -> None:
    with pytest.raises(UsageError, match=f"^{why}"):
        Settings("run", input="o.csv", **given)
