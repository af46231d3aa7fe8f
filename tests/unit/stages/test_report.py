import json
import re
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from conftest import Pipeline, row
from daskjobs.errors import InputError
from daskjobs.version import __version__

OWN = ("split", "validate", "merge", "clean", "report")


def test_report_is_orders_and_revenue_to_the_cent_when_floats_would_err(
    pipeline: Pipeline, orders_file: Callable[..., Path], tmp_path: Path
) -> None:
    rows = [row(quantity="1", price="0.10", total_amount="0.10") for _ in range(3)] + [
        row(quantity="1", price="9007199254740993.01", total_amount="9007199254740993.01")
    ]
    pipeline(*OWN, input=str(orders_file(*rows)))
    text = (tmp_path / "run/report/analytics_report.json").read_text()
    assert text == '{"orders": 4, "revenue": 9007199254740993.31}\n'
    assert json.loads(text, parse_float=Decimal)["revenue"] == Decimal("9007199254740993.31")


def test_report_says_so_when_the_revenue_is_beyond_what_is_certain(
    pipeline: Pipeline, orders_file: Callable[..., Path], tmp_path: Path
) -> None:
    most = "9999999999999999.99"
    rows = [row(quantity="1", price=most, total_amount=most) for _ in range(2)]
    with pytest.raises(InputError, match=r"revenue is 19999999999999999.98, beyond"):
        pipeline(*OWN, input=str(orders_file(*rows)))
    assert not (tmp_path / "run/report/analytics_report.json").exists()


def test_quality_scores_every_rule_one_when_data_is_generated(pipeline: Pipeline, tmp_path: Path) -> None:
    pipeline(rows=5000)
    quality = json.loads((tmp_path / "run/report/quality.json").read_text())
    assert quality["scores"].keys() == {"negative_price", "wrong_total", "failed_transaction"}
    for score in quality["scores"].values():
        assert (score["precision"], score["recall"]) == (1.0, 1.0)
        assert score["true_positives"] > 50
    counts = quality["rows"]
    assert counts["in"] == counts["valid"] + counts["rejected"] == 5000
    assert counts["valid"] == counts["paid"] + counts["unpaid"]
    assert {line["reason"] for line in quality["reasons"]} == {"negative_price", "wrong_total"}


# What was renamed in the JSON of results, by its name up to 0.5.0. All else in a run's results kept its bytes.
RENAMED = {"quarantined": "rejected", "clean": "paid"}


def test_json_has_a_version_and_the_new_words_where_old_ones_were(pipeline: Pipeline, tmp_path: Path) -> None:
    pipeline(rows=100)
    quality = json.loads((tmp_path / "run/report/quality.json").read_text())
    assert quality["version"] == 2
    merged, cleaned, reported = (
        json.loads((tmp_path / f"run/{stage}/manifest.json").read_text())["rows"] for stage in OWN[2:]
    )
    for rows in (quality["rows"], merged, merged["partitions"][0], cleaned, reported):
        assert rows.keys() & {*RENAMED.values()}
        assert not rows.keys() & RENAMED.keys()


def test_quality_has_no_scores_when_orders_are_the_users_own(
    pipeline: Pipeline, orders_file: Callable[..., Path], tmp_path: Path
) -> None:
    pipeline(*OWN, input=str(orders_file(row(), row(status="lost"))))
    quality = json.loads((tmp_path / "run/report/quality.json").read_text())
    assert quality["scores"] == {}
    assert quality["reasons"][0]["rows"] == 1


@pytest.mark.parametrize("rows", [0, 1])
def test_every_file_is_written_when_there_is_hardly_a_row(pipeline: Pipeline, tmp_path: Path, rows: int) -> None:
    pipeline(rows=rows)
    report = json.loads((tmp_path / "run/report/analytics_report.json").read_text())
    assert report["orders"] == rows
    assert "<h1>" in (tmp_path / "run/report/report.html").read_text()


def test_page_is_self_contained_and_escapes_what_users_wrote(
    pipeline: Pipeline, orders_file: Callable[..., Path], tmp_path: Path
) -> None:
    pipeline(*OWN, input=str(orders_file(row(region="</script><img src=x onerror=alert(1)>"))))
    page = (tmp_path / "run/report/report.html").read_text()
    assert "</script><img" not in page
    assert not re.search(r"<(script|img|iframe)[^>]* src=|<link", page)
    assert 'name="viewport"' in page
    assert "Revenue by region" in page


def test_run_json_says_how_each_stage_ran(pipeline: Pipeline, tmp_path: Path) -> None:
    pipeline(workers=2)
    stages = json.loads((tmp_path / "run/report/facts.json").read_text())["stages"]
    assert stages["validate"]["workers"] == 2
    assert all(stages[name]["seconds"] >= 0 for name in ("generate", "split", "validate", "merge", "clean"))


@pytest.mark.parametrize(
    "noted", [{}, {"asked": 7}, {"asked": {}, "used": {"workers": "<b>"}, "next": {}, "advice": []}]
)
def test_page_has_no_resources_when_the_facts_of_validate_are_not_what_it_writes(
    pipeline: Pipeline, tmp_path: Path, noted: dict[str, object]
) -> None:
    pipeline("generate", "split", "validate", "merge", "clean", "report")
    path, page = tmp_path / "run/validate/facts.json", tmp_path / "run/report/report.html"
    assert 'id="resources"' in page.read_text()
    path.write_text(json.dumps({**json.loads(path.read_text()), "resources": noted}))
    page.unlink()
    pipeline("report")
    assert 'id="resources"' not in page.read_text()


def test_page_says_first_which_file_and_run_it_is_of_and_when_it_was_read(
    pipeline: Pipeline, orders_file: Callable[..., Path], tmp_path: Path
) -> None:
    pipeline(*OWN, input=str(orders_file(row(), row(status="lost"))))
    page = (tmp_path / "run/report/report.html").read_text()
    said = dict(re.findall(r"<div><dt>(.*?)</dt><dd>(.*?)</dd></div>", page.partition("</dl>")[0]))
    started = json.loads((tmp_path / "run/split/facts.json").read_text())["started"]
    assert said["File"].endswith(".csv")
    assert (said["Rows"], said["Run"]) == ("2", str(tmp_path / "run"))
    assert said["Date"] == f"{started[:10]} {started[11:16]} UTC"
    assert said["Made by"] == f"daskjobs {__version__}"


def test_page_of_generated_orders_says_so_with_their_seed(pipeline: Pipeline, tmp_path: Path) -> None:
    pipeline(rows=10, seed=8)
    assert "<dd>generated, with the seed 8</dd>" in (tmp_path / "run/report/report.html").read_text()
