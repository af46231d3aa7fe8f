import csv
import io
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from conftest import Command, Pipeline
from daskjobs.orders import generated
from daskjobs.orders.schema import COLUMNS
from daskjobs.pipeline.lease import LOCK, MARKER
from daskjobs.stages import generate
from manifests import ROOT

# The bytes of seed 7 at 1,000 rows are a promise: a change of them is a change of the data.
SHA_1000 = "90f20e32637dfa2df94fe0eae1c5245802fd72bf88fc3b8432d2282e03c1874b"


def orders(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO((folder / "orders/orders.csv").read_text())))


def test_bytes_are_the_promised_ones_when_seed_and_rows_are_the_same(pipeline: Pipeline) -> None:
    manifest = pipeline("generate", rows=1000, seed=7)["generate"]
    assert manifest.outputs[generate.ORDERS].sha256 == SHA_1000
    assert pipeline("generate", where="other", rows=1000, seed=8)["generate"].outputs != manifest.outputs


def test_truth_names_every_anomaly_and_no_other_row(pipeline: Pipeline, tmp_path: Path) -> None:
    pipeline("generate", rows=20_000)
    rows = orders(tmp_path / "run")
    assert list(rows[0]) == list(COLUMNS)
    seen = {name: set() for name in ("negative_price", "wrong_total", "failed_transaction")}
    for number, order in enumerate(rows, 1):
        price, total = Decimal(order["price"]), Decimal(order["total_amount"])
        facts = (price < 0, int(order["quantity"]) * price != total, order["status"] == "failed")
        for name, fact in zip(seen, facts, strict=True):
            if fact:
                seen[name].add(number)
    truth = pq.read_table(tmp_path / "run" / generate.TRUTH).to_pylist()
    assert {name: {line["row"] for line in truth if line[name]} for name in seen} == seen
    shares = {name: len(found) / len(rows) for name, found in seen.items()}
    assert shares == pytest.approx({"negative_price": 0.02, "wrong_total": 0.02, "failed_transaction": 0.05}, rel=0.15)


def test_blocks_join_without_a_seam_when_rows_span_several(pipeline: Pipeline, tmp_path: Path) -> None:
    pipeline("generate", rows=generated.BLOCK_ROWS + 3)
    rows = orders(tmp_path / "run")
    assert [int(order["order_id"]) for order in rows] == list(
        range(generated.FIRST_ORDER, generated.FIRST_ORDER + len(rows))
    )
    assert [order["timestamp"] for order in rows] == sorted(order["timestamp"] for order in rows)


def test_only_a_header_is_written_when_there_are_no_rows(pipeline: Pipeline, tmp_path: Path) -> None:
    pipeline("generate", rows=0)
    assert (tmp_path / "run" / generate.ORDERS).read_text() == ",".join(COLUMNS) + "\n"


def test_nothing_is_generated_when_the_input_is_given(pipeline: Pipeline, tmp_path: Path) -> None:
    assert pipeline("generate", input="mine.csv")["generate"].skipped
    assert {path.name for path in (tmp_path / "run").iterdir()} == {MARKER, LOCK}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak from /proc")
def test_memory_stays_bounded_when_rows_are_many(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from daskjobs.stages import new_context, run_stage;"
        "from daskjobs.stages.run_settings import Settings;"
        "run_stage('generate', new_context(Settings(sys.argv[1], rows=2_000_000)));"
        "print(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True, timeout=100
    )
    assert int(done.stdout) * 1024 < 400 << 20


def test_orders_are_generated_when_the_flow_gives_no_input(daskjobs: Command, tmp_path: Path) -> None:
    (template,) = yaml.safe_load_all((ROOT / "flows/pipeline.yaml").read_text())
    parameters = {each["name"]: each.get("value") for each in template["spec"]["arguments"]["parameters"]}
    assert parameters["input"] == ""
    done = daskjobs("generate", "--run", "run", "--rows", "10", DASKJOBS_INPUT="", DASKJOBS_STATUSES="")
    assert (done.returncode, (tmp_path / "run/orders/orders.csv").read_bytes().count(b"\n")) == (0, 11)
