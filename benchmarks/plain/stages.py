"""The stages of the plain flow, each a pod with pandas: python stages.py STAGE, files in and out in /tmp/work."""

import sys
from pathlib import Path

import pandas as pd
from with_pandas import broken, cents, parsed, read, reasons

WORK = Path("/tmp/work")
PARTS = 5


def save(orders: pd.DataFrame, name: str) -> None:
    orders.to_csv(WORK / name, index=False)


def split() -> None:
    orders = read(str(WORK / "orders.csv"))
    orders.insert(0, "row", range(1, len(orders) + 1))
    for part in range(PARTS):
        save(orders.iloc[len(orders) * part // PARTS : len(orders) * (part + 1) // PARTS], f"part-{part}.csv")


def validate() -> None:
    orders = read(str(WORK / "part.csv"))
    masks = broken(orders, parsed(orders))
    good = ~masks.any(axis=1)
    save(orders[good], "valid.csv")
    save(orders[~good].assign(reasons=reasons(masks[~good])), "rejected.csv")


def merge() -> None:
    valid = pd.concat([read(str(WORK / f"valid-{part}.csv")) for part in range(PARTS)], ignore_index=True)
    rejected = pd.concat([read(str(WORK / f"rejected-{part}.csv")) for part in range(PARTS)], ignore_index=True)
    repeated = valid["order_id"].duplicated()
    rejected = pd.concat([rejected, valid[repeated].assign(reasons="duplicate_order_id")], ignore_index=True)
    save(valid[~repeated], "merged.csv")
    save(rejected, "rejected.csv")
    (WORK / "rejected").write_text(str(len(rejected)))


def clean() -> None:
    orders = read(str(WORK / "merged.csv"))
    save(orders[orders["status"] == "success"], "clean.csv")


def report() -> None:
    orders = read(str(WORK / "clean.csv"))
    revenue = int(cents(orders["total_amount"]).sum())
    (WORK / "orders").write_text(str(len(orders)))
    (WORK / "revenue").write_text(f"{revenue // 100}.{revenue % 100:02d}")


def cleanup(folder: str) -> None:
    import s3fs

    files = s3fs.S3FileSystem()
    files.rm([name for name in files.find(folder) if not name.endswith(("clean.csv", "rejected.csv"))])


if __name__ == "__main__":
    stage, *arguments = sys.argv[1:]
    WORK.mkdir(exist_ok=True)
    globals()[stage](*arguments)
