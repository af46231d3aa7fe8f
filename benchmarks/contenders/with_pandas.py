"""The job with pandas 3: python with_pandas.py ORDERS.csv FOLDER"""

import json
import sys

import pandas as pd

MONEY, QUANTITY = r"-?[0-9]{1,16}(?:\.[0-9]{1,2})?", r"-?[0-9]{1,9}"
TIME = r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}"
STATUSES = ["success", "failed", "pending", "cancelled", "refunded"]


def cents(text: pd.Series) -> pd.Series:
    readable = text.where(text.str.fullmatch(MONEY))
    return (pd.to_numeric(readable) * 100).round().astype("Int64")


def main(source: str, folder: str) -> None:
    orders = pd.read_csv(source, dtype=str, keep_default_na=False, engine="pyarrow")
    quantity = pd.to_numeric(orders["quantity"].where(orders["quantity"].str.fullmatch(QUANTITY))).astype("Int64")
    price, total = cents(orders["price"]), cents(orders["total_amount"])
    when = pd.to_datetime(
        orders["timestamp"].where(orders["timestamp"].str.fullmatch(TIME)), format="%Y-%m-%d %H:%M:%S", errors="coerce"
    )
    broken = {
        "missing_order_id": orders["order_id"].str.strip() == "",
        "unreadable_quantity": quantity.isna(),
        "quantity_below_one": quantity < 1,
        "unreadable_price": price.isna(),
        "negative_price": price < 0,
        "unreadable_total": total.isna(),
        "wrong_total": quantity * price != total,
        "unknown_status": ~orders["status"].isin(STATUSES),
        "unreadable_timestamp": when.isna(),
    }
    masks = pd.DataFrame({name: mask.fillna(False).astype(bool) for name, mask in broken.items()})
    good = ~masks.any(axis=1)
    repeated = orders["order_id"].where(good).duplicated() & good
    masks["duplicate_order_id"] = repeated
    good &= ~repeated
    rejected = orders[~good].copy()
    reasons = pd.Series("", index=rejected.index)
    for name in masks:
        hit = masks.loc[rejected.index, name]
        reasons[hit] = reasons[hit] + name + ";"
    rejected.insert(0, "row", rejected.index + 1)
    rejected["reasons"] = reasons.str.rstrip(";")
    rejected.to_csv(f"{folder}/rejected.csv", index=False)
    paid = good & (orders["status"] == "success")
    clean = orders[paid].assign(
        quantity=quantity[paid], price_cents=price[paid], total_cents=total[paid], timestamp=when[paid]
    )
    clean.to_parquet(f"{folder}/clean.parquet", index=False)
    print(json.dumps({"orders": len(clean), "cents": int(clean["total_cents"].sum()), "rejected": len(rejected)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
