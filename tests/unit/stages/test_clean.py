from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from conftest import Pipeline, row
from daskjobs.errors import StorageError
from daskjobs.orders.schema import COLUMNS

BEFORE = ("generate", "split", "validate", "merge")


def cleaned(folder: Path) -> pa.Table:
    return pa.concat_tables(
        pq.read_table(path) for path in sorted((folder / "run/validate").glob("part-*/paid.parquet"))
    )


@pytest.mark.slow
def test_only_paid_orders_are_kept_and_the_others_counted_by_status(
    pipeline: Pipeline, orders_file: Callable[..., Path], tmp_path: Path
) -> None:
    statuses = ["success", "failed", "success", "refunded", "failed"]
    path = orders_file(*(row(order_id=f"A{n}", status=status) for n, status in enumerate(statuses)))
    rows = pipeline("split", "validate", "merge", "clean", input=str(path), partitions=2)["clean"].rows
    assert rows == {"in": 5, "paid": 2, "unpaid": 3, "unpaid_by_status": {"failed": 2, "refunded": 1}}
    assert cleaned(tmp_path)["order_id"].to_pylist() == ["A0", "A2"]


def test_orders_keep_types_and_cents_when_they_are_cleaned(
    pipeline: Pipeline, orders_file: Callable[..., Path], tmp_path: Path
) -> None:
    pipeline("split", "validate", "merge", "clean", input=str(orders_file(row(price="0.1", total_amount="0.20"))))
    table = cleaned(tmp_path)
    assert table.schema.names == list(COLUMNS)
    assert table["total_amount"].to_pylist() == [Decimal("0.20")]
    assert table["quantity"].to_pylist() == [2]
    assert pa.types.is_timestamp(table.schema.field("timestamp").type)


def test_summary_adds_up_to_the_orders_by_day_region_and_product(pipeline: Pipeline, tmp_path: Path) -> None:
    pipeline(*BEFORE, "clean", rows=3000)
    orders = cleaned(tmp_path).to_pylist()
    expected: Counter[tuple[str, str]] = Counter()
    for order in orders:
        for dimension in ("region", "product"):
            expected[dimension, order[dimension]] += order["total_amount"]
        expected["day", order["timestamp"].date().isoformat()] += order["total_amount"]
    summary = pq.read_table(tmp_path / "run/clean/summary.parquet").to_pylist()
    assert {(line["dimension"], line["value"]): line["revenue"] for line in summary} == expected
    assert sum(line["orders"] for line in summary) == 3 * len(orders)


def test_clean_fails_with_a_sentence_when_a_byte_of_the_data_has_changed(pipeline: Pipeline, tmp_path: Path) -> None:
    pipeline(*BEFORE)
    path = tmp_path / "run/validate/part-00003/paid.parquet"
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 1
    path.write_bytes(data)
    with pytest.raises(StorageError, match=r"part-00003/paid.parquet is damaged"):
        pipeline("clean")
    assert not (tmp_path / "run/clean/manifest.json").exists()
