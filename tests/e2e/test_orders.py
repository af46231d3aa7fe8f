"""A user's own orders, through the whole DAG."""

import gzip
import json
import tomllib
from decimal import Decimal

import pytest

from conftest import row
from daskjobs.orders.rules.builtin import SENTENCES
from e2e.conftest import ROOT, Namespace, pods_of

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600), pytest.mark.usefixtures("argo")]

HEADER = "order_id;user_id;region;product;quantity;unit_price;total_amount;payment_mode;status;timestamp"
RULES = b'def no_desks(orders):\n    """Desks are not sold any more."""\n    return orders["product"] == "desk"\n'


def test_own_orders_are_reported_or_refused_after_the_account_when_they_are_in_s3(namespace: Namespace) -> None:
    files = namespace.files()
    for name in "ab":
        rows = [row(region="Zürich"), row(product="desk"), row(price="10.505"), row(status="failed"), row()]
        text = "\n".join([HEADER, *(line.replace(",", ";") for line in rows)])
        files.pipe(f"daskjobs/mine/{name}.csv.gz", gzip.compress(text.encode("cp1252")))
    files.pipe("daskjobs/mine/rules.py", RULES)
    options = {
        "input": "s3://daskjobs/mine/*.csv.gz",
        "encoding": "cp1252",
        "columns": "price=unit_price",
        "rules": "s3://daskjobs/mine/rules.py",
        "workers": 2,
    }
    names = [namespace.submit(**options, max_rejected=share) for share in ("0.4", "0.3")]
    good, bad = (namespace.finished(name) for name in names)
    assert good["status"]["phase"] == "Succeeded", json.dumps(good["status"])[:3000]
    quality = json.loads(namespace.read(good["metadata"]["uid"], "report/quality.json"))
    assert quality["rows"] == {"in": 10, "valid": 6, "rejected": 4, "paid": 4, "unpaid": 2}
    rules = {line["reason"]: line["rule"] for line in quality["reasons"]}
    assert rules == {"no_desks": "Desks are not sold any more.", "unreadable_price": SENTENCES["unreadable_price"]}
    assert bad["status"]["phase"] == "Failed"
    failed = [node for node in pods_of(bad) if node["phase"] == "Failed"]
    assert [(node["templateName"], node["outputs"]["exitCode"]) for node in failed] == [("report", "10")]
    assert "4 of 10 rows were rejected, and --max-rejected 0.3 allows 3: 1 too many" in failed[0]["message"]
    assert "quality" in {artifact["name"] for artifact in failed[0]["outputs"].get("artifacts", [])}
    uid = bad["metadata"]["uid"]
    assert json.loads(namespace.read(uid, "report/quality.json")) == quality
    assert not files.exists(f"daskjobs/runs/{uid}/report/analytics_report.json")
    assert namespace.dask_objects() == []


SURROUNDED = b"""
from pathlib import Path

from known import names

NAMES = (Path(__file__).parent / "names.txt").read_text().split()


def unknown_place(orders):
    return ~orders["region"].isin([*NAMES, *names()])
"""


def test_shops_export_is_reported_by_a_preset_and_by_a_profile_and_rules_in_s3(namespace: Namespace) -> None:
    """The sample of docs/exports.md, by its preset, and by a copy of that beside rules with a module and a table."""
    files, exports = namespace.files(), ROOT / "examples/exports"
    expected = tomllib.loads((exports / "expected.toml").read_text())["shopify"]
    files.put(str(exports / "shopify.csv"), "daskjobs/shop/shopify.csv")
    files.put(str(ROOT / "daskjobs/orders/profiles/presets/shopify.toml"), "daskjobs/shop/mine.toml")
    beside = {"rules.py": SURROUNDED, "known.py": b"def names():\n    return ['DE']\n", "names.txt": b"US"}
    for name, text in beside.items():
        files.pipe(f"daskjobs/shop/{name}", text)
    options = {"input": "s3://daskjobs/shop/shopify.csv", "workers": 1, "worker_cpu": "20m", "partitions": 3}
    own = {"profile": "s3://daskjobs/shop/mine.toml", "rules": "s3://daskjobs/shop/rules.py"}
    names = [namespace.submit(**options, **each) for each in ({"profile": "shopify"}, own)]
    workflows = [namespace.finished(name) for name in names]
    for workflow in workflows:
        assert workflow["status"]["phase"] == "Succeeded", json.dumps(workflow["status"])[:3000]
    uids = [each["metadata"]["uid"] for each in workflows]
    reports = [json.loads(namespace.read(uid, "report/analytics_report.json"), parse_float=Decimal) for uid in uids]
    total = Decimal(expected["revenue"])
    assert reports[0] == {"orders": expected["orders"], "revenue": total}
    assert reports[1] == {"orders": expected["orders"] - 1, "revenue": total - Decimal("45.90")}  # #1003, sent to CA
    first, second = (json.loads(namespace.read(uid, "report/quality.json")) for uid in uids)
    assert (first["profile"], first["gross"], first["net"]) == ("shopify", expected["gross"], expected["revenue"])
    assert {each["reason"]: each["rows"] for each in second["reasons"]} == {
        "unknown_place": 3,
        "unreadable_quantity": 1,
    }
    assert namespace.dask_objects() == []
