"""Where orders may lie, and how much of them is in memory."""

import gzip
import json
import subprocess
import sys
from pathlib import Path

import pyarrow.csv
import pyarrow.parquet as pq
import pytest

import inline
from conftest import TESTS, Pipeline, csv_text, row
from daskjobs.files.storage import Storage
from daskjobs.orders.schema import COLUMNS
from daskjobs.orders.sources.names import column_names, our_names


@pytest.mark.slow
def test_orders_and_rules_are_read_when_they_are_in_s3(pipeline: Pipeline, tmp_path: Path, s3: str) -> None:
    folder = Storage(f"{s3}/{tmp_path.name}")
    for name in "ab":
        folder.put(f"{name}.csv.gz", gzip.compress(csv_text(row(), row(price="x"), row(region="south"))))
    folder.put("c.parquet", (CORPUS / "parquet_of_texts.parquet").read_bytes())
    folder.put(
        "rules.py", b"def no_lamps(orders):\n    return (orders['product'] == 'lamp') & (orders['region'] != 'south')\n"
    )
    options = {"run_uri": f"{folder.root}/run", "input": f"{folder.root}/*[zt]", "rules": f"{folder.root}/rules.py"}
    manifests = pipeline(*inline.STAGES, **options)
    assert manifests["merge"].rows["reasons"] == {"no_lamps": 7, "unreadable_price": 2, "negative_price": 1}
    assert json.loads(folder.read("run/report/quality.json"))["rows"]["rejected"] == 7
    assert folder.read("run/merge/rejected-00001.csv").count(b"\n") == 3


CORPUS = TESTS / "corpus"

MEMORY = """
import sys
from pathlib import Path
from daskjobs.stages import new_context
from daskjobs.stages.run_settings import Settings
from daskjobs.stages import run_stage

def kib(name):
    return int(Path("/proc/self/status").read_text().split(name)[1].split()[0])

def run(where, input):
    settings = Settings.of(run_uri=where, input=input, partitions=1, workers=1, dashboard="127.0.0.1:0")
    for name in ("split", "validate", "merge", "clean", "report"):
        run_stage(name, new_context(settings))

run(sys.argv[1] + "-small", sys.argv[2])
before = kib("VmHWM:")
run(sys.argv[1], sys.argv[3])
print(kib("VmHWM:") - before)
"""


@pytest.mark.slow
@pytest.mark.timeout(400)  # of a busy machine, which changes how long it takes and not how much memory
@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak from /proc")
@pytest.mark.parametrize("kind", ["csv.gz", "parquet"])
def test_memory_hardly_grows_when_the_input_does(pipeline: Pipeline, tmp_path: Path, kind: str) -> None:
    plain = tmp_path / "run/orders/orders.csv"
    paths = {}
    for rows in (1_000_000, 3_000_000):
        pipeline("generate", rows=rows)
        paths[rows] = tmp_path / f"{rows}.{kind}"
        if kind == "parquet":
            pq.write_table(pyarrow.csv.read_csv(plain), paths[rows], row_group_size=500_000)
        else:
            paths[rows].write_bytes(gzip.compress(plain.read_bytes(), 1))
    command = [sys.executable, "-c", MEMORY, str(tmp_path / "big"), *map(str, paths.values())]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    # Two thirds of the file would come on top if it were held. Each million rows of one partition take some 20 MB.
    assert int(done.stdout) * 1024 < plain.stat().st_size * 0.55


def test_columns_go_by_our_names_when_they_are_mapped() -> None:
    theirs = ["id", "price", "cost", *COLUMNS[1:5], *COLUMNS[6:]]
    ours = our_names(theirs, column_names(" order_id = id , price=cost"), "x.csv")
    assert ours == ["order_id", "price_original", "price", *COLUMNS[1:5], *COLUMNS[6:]]
