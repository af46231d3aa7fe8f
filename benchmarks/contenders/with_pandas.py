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


def read(source: str) -> pd.DataFrame:
    return pd.read_csv(source, dtype=str, keep_default_na=False, engine="pyarrow")


def parsed(orders: pd.DataFrame) -> pd.DataFrame:
    quantity = pd.to_numeric(orders["quantity"].where(orders["quantity"].str.fullmatch(QUANTITY))).astype("Int64")
    when = pd.to_datetime(
        orders["timestamp"].where(orders["timestamp"].str.fullmatch(TIME)), format="%Y-%m-%d %H:%M:%S", errors="coerce"
    )
    price, total = cents(orders["price"]), cents(orders["total_amount"])
    return pd.DataFrame({"quantity": quantity, "price_cents": price, "total_cents": total, "timestamp": when})


def broken(orders: pd.DataFrame, values: pd.DataFrame) -> pd.DataFrame:
    quantity, price, total = values["quantity"], values["price_cents"], values["total_cents"]
    rules = {
        "missing_order_id": orders["order_id"].str.strip() == "",
        "unreadable_quantity": quantity.isna(),
        "quantity_below_one": quantity < 1,
        "unreadable_price": price.isna(),
        "negative_price": price < 0,
        "unreadable_total": total.isna(),
        "wrong_total": quantity * price != total,
        "unknown_status": ~orders["status"].isin(STATUSES),
        "unreadable_timestamp": values["timestamp"].isna(),
    }
    return pd.DataFrame({name: mask.fillna(False).astype(bool) for name, mask in rules.items()})


def reasons(masks: pd.DataFrame) -> pd.Series:
    text = pd.Series("", index=masks.index)
    for name in masks:
        text[masks[name]] = text[masks[name]] + name + ";"
    return text.str.rstrip(";")


def job(orders: pd.DataFrame, folder: str) -> dict[str, int]:
    values = parsed(orders)
    masks = broken(orders, values)
    good = ~masks.any(axis=1)
    repeated = orders["order_id"].where(good).duplicated() & good
    masks["duplicate_order_id"] = repeated
    good &= ~repeated
    rejected = orders[~good].copy()
    rejected.insert(0, "row", rejected.index + 1)
    rejected["reasons"] = reasons(masks[~good])
    rejected.to_csv(f"{folder}/rejected.csv", index=False)
    paid = good & (orders["status"] == "success")
    clean = orders[paid].assign(**{name: values.loc[paid, name] for name in values})
    clean.to_parquet(f"{folder}/clean.parquet", index=False)
    return {"orders": len(clean), "cents": int(clean["total_cents"].sum()), "rejected": len(rejected)}


def main(source: str, folder: str) -> None:
    print(json.dumps(job(read(source), folder)))


if __name__ == "__main__":
    main(*sys.argv[1:])
