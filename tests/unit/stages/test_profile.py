"""A profile in a run: what it is hashed into, which options win over it, and files of which no row is understood."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

import daskjobs
import inline
from conftest import csv_text, row
from daskjobs.cli import main as cli
from daskjobs.errors import ConfigError, UsageError
from daskjobs.orders.profiles import reading
from daskjobs.pipeline.context import AccountedError
from daskjobs.stages import new_context, run_stage
from daskjobs.stages.run_settings import Settings

TEXT = """
[file]
delimiter = ";"

[columns]
price = "Preis"
region = {constant = "EU"}

[status]
success = "bezahlt"
"""
HEADER = "order_id;user_id;product;quantity;Preis;total_amount;payment_mode;status;timestamp"
ROWS = ("A1;U1;lamp;2;10.50;21.00;card;bezahlt;2025-03-01", "A2;U1;lamp;1;10.50;10.50;card;paid;2025-03-01")


@pytest.fixture
def shop(tmp_path: Path) -> tuple[str, Path]:
    """A file of a shop, and its profile: one of its two orders has a status that the profile doesn't know."""
    (tmp_path / "shop.csv").write_bytes(csv_text(*ROWS, header=HEADER))
    (tmp_path / "shop.toml").write_text(TEXT)
    return str(tmp_path / "shop.csv"), tmp_path / "shop.toml"


def stages(folder: Path, *names: str, **settings: object) -> list[bool]:
    """Run stages in a folder; return which of them had nothing to do."""
    with inline.stages_inline():
        context = [new_context(Settings.of(run_uri=str(folder), **settings, given=frozenset(settings))) for _ in names]
        return [run_stage(name, each).skipped for name, each in zip(names, context, strict=True)]


def test_edited_profile_redoes_the_run_from_split_on_and_the_same_one_keeps_it(
    shop: tuple[str, Path], tmp_path: Path
) -> None:
    orders, path = shop
    both = {"input": orders, "profile": str(path)}
    assert stages(tmp_path / "run", "split", "validate", "merge", **both) == [False, False, False]
    assert stages(tmp_path / "run", "split", "validate", "merge", **both) == [True, True, True]
    path.write_text(f"# A comment says nothing else.\n{TEXT}")
    assert stages(tmp_path / "run", "split", "validate", **both) == [True, True]
    path.write_text(TEXT.replace('"EU"', '"US"'))
    assert stages(tmp_path / "run", "split", "validate", "merge", **both) == [False, False, False]


def test_later_stage_needs_no_profile_and_refuses_another_one(shop: tuple[str, Path], tmp_path: Path) -> None:
    orders, path = shop
    stages(tmp_path / "run", "split", "validate", input=orders, profile=str(path), statuses="success=paid")
    assert stages(tmp_path / "run", "validate", "merge") == [True, False]
    assert stages(tmp_path / "run", "merge", profile=str(path), statuses="success=paid") == [True]
    with pytest.raises(ConfigError, match=r"split was made with --statuses \{'paid': 'success'\}, and this stage"):
        stages(tmp_path / "run", "merge", statuses="failed=paid")
    with pytest.raises(ConfigError, match="split was made with --currency '', and this stage is given 'EUR'"):
        stages(tmp_path / "run", "merge", currency="eur")
    path.write_text(TEXT.replace('"EU"', '"US"'))
    with pytest.raises(ConfigError, match="split was made with --profile '[0-9a-f]{64}', and this stage is given"):
        stages(tmp_path / "run", "merge", profile=str(path))
    path.unlink()  # split has read it
    assert stages(tmp_path / "run", "merge", profile=str(path)) == [True]


def test_run_without_a_profile_refuses_one_at_a_later_stage(shop: tuple[str, Path], tmp_path: Path) -> None:
    (tmp_path / "plain.csv").write_bytes(csv_text(row()))
    stages(tmp_path / "run", "split", input=str(tmp_path / "plain.csv"))
    with pytest.raises(ConfigError, match="split was made with --profile 'none', and this stage is given"):
        stages(tmp_path / "run", "validate", profile=str(shop[1]))


def test_variables_of_a_profile_mean_nothing_where_orders_are_generated(tmp_path: Path) -> None:
    names = ("generate", "split", "validate")
    assert stages(tmp_path / "run", *names, rows=20, profile="nothing", currency="EUR") == [False] * 3
    assert stages(tmp_path / "run", *names, rows=20) == [True] * 3


def test_options_win_over_the_profile(shop: tuple[str, Path], tmp_path: Path) -> None:
    orders, path = shop

    def counted(**options: str) -> tuple[int, str]:
        results = inline.run(tmp_path / "run", orders, profile=str(path), **options)
        report = json.loads(results["report/analytics_report.json"], parse_float=str)
        return report["orders"], report["revenue"]

    assert counted() == (1, "21.00")
    assert counted(statuses="success=paid") == (2, "31.50")
    assert counted(statuses="success=paid,failed=bezahlt") == (1, "10.50")
    path.write_text(TEXT.replace(";", "|").replace('"Preis"', '"Price"'))
    assert counted(delimiter=";", columns="price=Preis") == (1, "21.00")
    path.write_text(TEXT.replace("[columns]", 'quoting = "none"\nencoding = "utf-16"\n[columns]'))
    assert counted(encoding="utf-8", quoting="rfc4180") == (1, "21.00")


def test_profile_is_a_path_a_uri_or_the_name_of_a_preset(
    shop: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, path = shop
    monkeypatch.chdir(tmp_path)
    kept = {given: Settings.of(run_uri="r", profile=given).profile for given in ("shopify", "s3://b/shop.toml")}
    assert kept == {"shopify": "shopify", "s3://b/shop.toml": "s3://b/shop.toml"}
    for given in ("shop.toml", Path("shop.toml"), "./shop.toml"):
        assert Settings.of(run_uri="r", profile=given).profile == str(path)
    assert Settings.of(run_uri="r", profile=Path("shopify")).profile == str(tmp_path / "shopify")
    with pytest.raises(UsageError, match="^--profile is empty"):
        daskjobs.run_orders("a.csv", profile="")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"input": "a.csv", "currency": "EUR"}, "^--currency needs --profile: a profile says which column"),
        ({"rows": 5, "profile": "shopify"}, "^--profile says how your orders are written: name these by --input"),
    ],
)
def test_option_is_refused_where_it_means_nothing(options: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        daskjobs.run_orders(**options)  # type: ignore[arg-type]


def test_split_refuses_a_currency_without_a_profile(shop: tuple[str, Path], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="^--currency needs --profile"):
        stages(tmp_path / "run", "split", input=shop[0], currency="EUR")
    with pytest.raises(UsageError, match="^--currency EUR needs the column of currencies, and the profile .*shop.toml"):
        stages(tmp_path / "run", "split", input=shop[0], profile=str(shop[1]), currency="EUR")


def test_profile_in_a_folder_of_the_run_is_refused(shop: tuple[str, Path], tmp_path: Path) -> None:
    stages(tmp_path / "run", "split", input=shop[0], profile=str(shop[1]))
    (tmp_path / "run/split/shop.toml").write_text(TEXT)
    with pytest.raises(ConfigError, match="^--profile .*shop.toml is among the files of .*run, which this run may"):
        stages(tmp_path / "run", "split", input=shop[0], profile=str(tmp_path / "run/split/shop.toml"))


def test_secret_of_a_profiles_uri_is_not_shown(shop: tuple[str, Path], tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        stages(tmp_path / "run", "split", input=shop[0], profile="https://me:secret@127.0.0.1:1/shop.toml?token=secret")
    assert "https://127.0.0.1:1/shop.toml" in str(raised.value)
    assert "secret" not in str(raised.value)


def test_preset_that_there_is_not_is_a_usage_error() -> None:
    error = CliRunner().invoke(cli.main, ["profile", "show", "nothing-like-it"]).exception
    assert isinstance(error, UsageError)
    assert str(error) == "there is no preset 'nothing-like-it': `daskjobs profile list` names all of them"


def test_preset_is_printed_byte_by_byte(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    text = '# A shop: "é€".\n[file]\ndelimiter = "\\t"\n'
    (tmp_path / "shop.toml").write_text(text)
    monkeypatch.setattr(reading, "PRESETS", tmp_path)
    runner = CliRunner()
    assert runner.invoke(cli.main, ["profile", "show", "shop"]).stdout_bytes == text.encode()
    assert runner.invoke(cli.main, ["profile", "list"]).output == 'shop  A shop: "é€".\n'


# Files of which no row is understood.
BAD = [row(price="10.50 EUR"), row(status="bezahlt"), ",,,"]


def report(folder: Path, pattern: str) -> str:
    """Run a run; return what it says where it ends with its account, or nothing."""
    names = ("split", "validate", "merge", "clean", "report")
    try:
        stages(folder, *names, input=pattern, partitions=3)
    except AccountedError as error:
        return str(error)
    return ""


def test_run_of_which_no_row_is_valid_names_the_proposal(tmp_path: Path) -> None:
    (tmp_path / "my orders.csv").write_bytes(csv_text(*BAD))
    said = report(tmp_path / "run", str(tmp_path / "my orders.csv"))
    assert said.startswith("3 of 3 rows were rejected, every one of them (")
    assert f"`daskjobs profile propose '{tmp_path}/my orders.csv'` says how it may be read" in said


def test_file_of_which_no_row_is_understood_ends_the_run_though_others_are_right(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(csv_text(*(row() for _ in range(20))))
    for name in "bcdef":
        (tmp_path / f"{name}.csv").write_bytes(csv_text(*BAD))
    said = report(tmp_path / "run", str(tmp_path / "*.csv"))
    named = ", ".join(f"{tmp_path}/{name}.csv" for name in "bcd")
    assert said.startswith(
        f"no row of {named} and 2 more files was understood (unknown_status 5, unreadable_price 5, wrong_"
    )
    assert f"`daskjobs profile propose {tmp_path}/b.csv` says how it may be read" in said
    quality = json.loads((tmp_path / "run/report/quality.json").read_text())
    assert quality["rows"] == {"in": 35, "valid": 20, "rejected": 15, "paid": 20, "unpaid": 0}
    assert not (tmp_path / "run/report/analytics_report.json").exists()
    assert len((tmp_path / "run/merge/manifest.json").read_text()) < 5_000


def test_long_file_that_is_not_understood_is_found_across_partitions_and_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daskjobs.orders.sources.lines.BLOCK_BYTES", 300)
    bad = [row(price="10.50 EUR") for _ in range(60)]
    (tmp_path / "a.csv").write_bytes(csv_text(row()))
    (tmp_path / "b.csv").write_bytes(csv_text(*bad))
    assert report(tmp_path / "run", str(tmp_path / "*.csv")).startswith(f"no row of {tmp_path}/b.csv was understood")
    for at in (0, 30, 59):  # one row that is understood makes it another file
        (tmp_path / "b.csv").write_bytes(csv_text(*bad[:at], row(), *bad[at + 1 :]))
        assert not report(tmp_path / "run", str(tmp_path / "*.csv"))


@pytest.mark.parametrize(
    "bad", [{"quantity": "0"}, {"total_amount": "7.00"}, {"price": "-10.50", "total_amount": "-21.00"}]
)
def test_file_whose_rows_are_understood_and_rejected_does_not_end_the_run(tmp_path: Path, bad: dict[str, str]) -> None:
    (tmp_path / "a.csv").write_bytes(csv_text(row()))
    (tmp_path / "b.csv").write_bytes(csv_text(row(**bad), row(**bad)))
    assert not report(tmp_path / "run", str(tmp_path / "*.csv"))
    quality = json.loads((tmp_path / "run/report/quality.json").read_text())
    assert (quality["rows"]["rejected"], quality["warnings"]) == (2, [])


def test_single_row_that_is_not_understood_is_a_warning_where_it_is_all_of_its_file(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(csv_text(row()))
    (tmp_path / "b.csv").write_bytes(csv_text(row(price="x")))
    assert not report(tmp_path / "run", str(tmp_path / "*.csv"))
    quality = json.loads((tmp_path / "run/report/quality.json").read_text())
    assert quality["warnings"] == [f"the single row of {tmp_path}/b.csv was not understood (unreadable_price 1)"]
    (tmp_path / "c.csv").write_bytes(csv_text(row(price="x")))
    assert not report(tmp_path / "run", str(tmp_path / "*.csv"))
    quality = json.loads((tmp_path / "run/report/quality.json").read_text())
    named = f"{tmp_path}/b.csv, {tmp_path}/c.csv"
    assert quality["warnings"] == [f"the single row of each of {named} was not understood (unreadable_price 2)"]
