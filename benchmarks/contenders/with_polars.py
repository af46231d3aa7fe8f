"""The job with Polars, streaming: python with_polars.py ORDERS.csv FOLDER"""

import json
import sys

import polars as pl

MONEY, QUANTITY = r"^-?[0-9]{1,16}(\.[0-9]{1,2})?$", r"^-?[0-9]{1,9}$"
TIME = r"^[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}$"
COLUMNS = ["order_id", "user_id", "region", "product", "quantity", "price", "total_amount", "payment_mode", "status",
           "timestamp"]  # fmt: skip
STATUSES = ["success", "failed", "pending", "cancelled", "refunded"]


def cents(name: str) -> pl.Expr:
    readable = pl.when(pl.col(name).str.contains(MONEY)).then(pl.col(name))
    return (readable.cast(pl.Float64) * 100).round().cast(pl.Int64)


def read(source: str, **options: bool) -> pl.LazyFrame:
    return pl.scan_csv(source, infer_schema=False, empty_string_is_null=False, row_index_name="row", **options)


def job(read: pl.LazyFrame, folder: str) -> dict[str, int]:
    readable = pl.when(pl.col("quantity").str.contains(QUANTITY)).then(pl.col("quantity"))
    orders = read.with_columns(
        amount=readable.cast(pl.Int64),
        price_cents=cents("price"),
        total_cents=cents("total_amount"),
        when=pl.when(pl.col("timestamp").str.contains(TIME))
        .then(pl.col("timestamp"))
        .str.to_datetime("%Y-%m-%d %H:%M:%S", strict=False),
    )
    broken = {
        "missing_order_id": pl.col("order_id").str.strip_chars() == "",
        "unreadable_quantity": pl.col("amount").is_null(),
        "quantity_below_one": pl.col("amount") < 1,
        "unreadable_price": pl.col("price_cents").is_null(),
        "negative_price": pl.col("price_cents") < 0,
        "unreadable_total": pl.col("total_cents").is_null(),
        "wrong_total": pl.col("amount") * pl.col("price_cents") != pl.col("total_cents"),
        "unknown_status": ~pl.col("status").is_in(STATUSES),
        "unreadable_timestamp": pl.col("when").is_null(),
    }
    reasons = pl.concat_str(
        [pl.when(mask).then(pl.lit(name)) for name, mask in broken.items()], separator=";", ignore_nulls=True
    )
    judged = orders.with_columns(reasons=reasons)
    first = judged.filter(pl.col("reasons") == "").group_by("order_id").agg(first=pl.col("row").min())
    # The ids that occur once are by far the most: only where there are others do they need a second look.
    twice = (
        judged.filter(pl.col("reasons") == "")
        .group_by("order_id")
        .len()
        .filter(pl.col("len") > 1)
        .collect(engine="streaming")
    )
    if len(twice):
        judged = (
            judged.join(first, on="order_id", how="left")
            .with_columns(
                reasons=pl.when((pl.col("reasons") == "") & (pl.col("row") != pl.col("first")))
                .then(pl.lit("duplicate_order_id"))
                .otherwise(pl.col("reasons"))
            )
            .drop("first")
        )
    rejected = judged.filter(pl.col("reasons") != "").select(pl.col("row") + 1, *COLUMNS, "reasons")
    paid = judged.filter((pl.col("reasons") == "") & (pl.col("status") == "success"))
    clean = paid.select(*COLUMNS[:4], "amount", "price_cents", "total_cents", *COLUMNS[7:9], "when")
    writes = [
        rejected.sink_csv(f"{folder}/rejected.csv", lazy=True),
        clean.sink_parquet(f"{folder}/clean.parquet", lazy=True),
        paid.select(orders=pl.len(), cents=pl.col("total_cents").sum()),
        rejected.select(rejected=pl.len()),
    ]
    *_, sums, count = pl.collect_all(writes, engine="streaming")
    return sums.row(0, named=True) | count.row(0, named=True)


def main(source: str, folder: str) -> None:
    print(json.dumps(job(read(source), folder)))


if __name__ == "__main__":
    main(*sys.argv[1:])
