"""The job with DuckDB: python with_duckdb.py ORDERS.csv FOLDER"""

import json
import sys

import duckdb

JUDGED = """
CREATE TEMP TABLE judged AS
WITH read AS (
    SELECT row_number() OVER () AS row, *,
        CASE WHEN regexp_full_match(quantity, '-?[0-9]{1,9}') THEN quantity::BIGINT END AS amount,
        CASE WHEN regexp_full_match(price, $money) THEN price::DECIMAL(18, 2) END AS price_read,
        CASE WHEN regexp_full_match(total_amount, $money) THEN total_amount::DECIMAL(18, 2) END AS total_read,
        try_strptime(timestamp, '%Y-%m-%d %H:%M:%S') AS moment
    FROM read_csv($source, all_varchar = true, header = true, nullstr = '\\N' OPTIONS)
), ruled AS (
    SELECT *, list_filter([
        CASE WHEN trim(order_id) = '' THEN 'missing_order_id' END,
        CASE WHEN amount IS NULL THEN 'unreadable_quantity' END,
        CASE WHEN amount < 1 THEN 'quantity_below_one' END,
        CASE WHEN price_read IS NULL THEN 'unreadable_price' END,
        CASE WHEN price_read < 0 THEN 'negative_price' END,
        CASE WHEN total_read IS NULL THEN 'unreadable_total' END,
        CASE WHEN amount * price_read <> total_read THEN 'wrong_total' END,
        CASE WHEN status NOT IN ('success', 'failed', 'pending', 'cancelled', 'refunded') THEN 'unknown_status' END,
        CASE WHEN moment IS NULL THEN 'unreadable_timestamp' END
    ], lambda reason: reason IS NOT NULL) AS reasons
    FROM read
)
SELECT * FROM ruled
"""
REPEATED = """
UPDATE judged SET reasons = ['duplicate_order_id'] FROM (
    SELECT order_id, min(row) AS first FROM judged WHERE len(reasons) = 0 GROUP BY order_id HAVING count(*) > 1
) AS twice WHERE judged.order_id = twice.order_id AND judged.row <> twice.first AND len(judged.reasons) = 0
"""
ORIGINAL = "order_id, user_id, region, product, quantity, price, total_amount, payment_mode, status, timestamp"
CLEAN = "order_id, user_id, region, product, amount, price_read, total_read, payment_mode, status, moment"


def job(db: duckdb.DuckDBPyConnection, source: str, folder: str, options: str = "") -> dict[str, int]:
    """Do the job; ``options`` are further ones of read_csv, such as ", ignore_errors = true"."""
    db.execute(JUDGED.replace("OPTIONS", options), {"source": source, "money": r"-?[0-9]{1,16}(\.[0-9]{1,2})?"})
    db.execute(REPEATED)
    rejected = f"SELECT row, {ORIGINAL}, array_to_string(reasons, ';') AS reasons FROM judged WHERE len(reasons) > 0"
    paid = "FROM judged WHERE len(reasons) = 0 AND status = 'success'"
    db.execute(f"COPY ({rejected} ORDER BY row) TO '{folder}/rejected.csv' (HEADER)")
    db.execute(f"COPY (SELECT {CLEAN} {paid}) TO '{folder}/clean.parquet' (FORMAT parquet)")
    orders, total = db.execute(f"SELECT count(*), sum(total_read) {paid}").fetchone() or (0, 0)
    (count,) = db.execute("SELECT count(*) FROM judged WHERE len(reasons) > 0").fetchone() or (0,)
    return {"orders": orders, "cents": int((total or 0) * 100), "rejected": count}


def main(source: str, folder: str) -> None:
    print(json.dumps(job(duckdb.connect(f"{folder}/work.duckdb"), source, folder)))


if __name__ == "__main__":
    main(*sys.argv[1:])
