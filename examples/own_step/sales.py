"""A step with a Dask dataframe: add up orders in Parquet files by region."""

import os
from pathlib import Path

import dask.dataframe as dd
from distributed import Client


def by_region(client: Client, orders: str) -> dict[str, float]:
    """Return the revenue of each region, and leave a table of them as a file.

    ``orders`` is a path, URI or glob of Parquet files with the columns region, quantity and price.
    """
    frame = dd.read_parquet(orders, columns=["region", "quantity", "price"])
    frame["revenue"] = frame["quantity"] * frame["price"]
    table = frame.groupby("region")["revenue"].agg(["count", "sum"])
    table = client.compute(table).result().sort_index()
    table.to_csv(Path(os.environ["DASKJOBS_OUTPUTS"]) / "regions.csv")
    return {str(region): round(float(revenue), 2) for region, revenue in table["sum"].items()}
