"""A user's own orders, through the whole DAG."""

import gzip
import json

import pytest

from conftest import row
from daskjobs.orders.rules.builtin import SENTENCES
from e2e.conftest import Namespace, pods_of

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
    assert "4 of 10 rows were rejected, more than --max-rejected 0.3 allows" in failed[0]["message"]
    assert "quality" in {artifact["name"] for artifact in failed[0]["outputs"].get("artifacts", [])}
    uid = bad["metadata"]["uid"]
    assert json.loads(namespace.read(uid, "report/quality.json")) == quality
    assert not files.exists(f"daskjobs/runs/{uid}/report/analytics_report.json")
    assert namespace.dask_objects() == []
