"""What a type checker says of the public API; never run. See tests/unit/test_public.py."""

from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import assert_type

import pandas as pd
from distributed import Client

import daskjobs


@daskjobs.rule("The order is of more than 100 pieces.")
def bulk(orders: pd.DataFrame) -> pd.Series:
    return orders["quantity"] > 100


@daskjobs.rule("The order is of more than {most} pieces, on a day to come.", name="many", most=100)
def early(orders: pd.DataFrame, most: int, context: daskjobs.RuleContext) -> pd.Series:
    assert_type(context.as_of, date)
    return (orders["quantity"] > most) & (orders["timestamp"] > pd.Timestamp(context.as_of))


def runs() -> None:
    result = daskjobs.run_orders("orders/*.csv.gz", run="runs/mine", rules=[bulk])
    assert_type(result, daskjobs.OrdersResult)
    assert_type(result.orders, int)
    assert_type(result.revenue, Decimal)
    assert_type(result.rejected, pd.DataFrame)
    assert_type(result.report, str)
    assert_type(result.rows.rejected, int)
    assert_type(result.explain(7, source="a.csv").reasons, dict[str, str])
    result.explain(7, source=Path("a.csv"))
    result.explain("7")  # type: ignore[arg-type]
    daskjobs.run_orders(Path("a.csv"), run=Path("runs"), rules=Path("mine.py"), backend="tcp://host:8786", workers=2)
    daskjobs.run_orders(rows=1000, seed=3, max_rejected=0.5)
    daskjobs.run_orders(
        "a.csv", max_rejected={"wrong_total": 0.01, "*": "5%"}, warn=["wrong_total"], expect={"rows": 5}
    )
    daskjobs.run_orders("a.csv", rules=[early], as_of=date(2026, 11, 29))
    daskjobs.run_orders("a.csv", rules=[early], as_of="2026-11-29")
    daskjobs.run_orders("a.csv", rules=[early], as_of=20261129)  # type: ignore[arg-type]
    daskjobs.run_orders("a.csv", profile="shopify", currency="EUR")
    daskjobs.run_orders("a.csv", profile=Path("mine.toml"))
    daskjobs.run_orders("a.csv", profile=7)  # type: ignore[arg-type]
    daskjobs.run_orders(["a.csv", Path("b.csv")], run=None)
    daskjobs.run_orders(Path().glob("*.csv"))
    daskjobs.run_orders(pd.DataFrame())
    daskjobs.run_orders(7)  # type: ignore[arg-type]
    daskjobs.run_orders([7])  # type: ignore[list-item]
    daskjobs.run_orders(rowz=1000)  # type: ignore[call-arg]
    daskjobs.run_orders(rows="1000")  # type: ignore[arg-type]
    daskjobs.run_orders("a.csv", "runs/mine")  # type: ignore[call-arg]
    result.orders = 3  # type: ignore[misc]


def settings() -> None:
    assert_type(daskjobs.Settings(run_uri="runs/mine", input="a.csv").cluster, daskjobs.ClusterSettings)
    assert_type(daskjobs.__version__, str)


def clusters() -> None:
    with daskjobs.dask_cluster(workers=5, worker_memory="2Gi") as client:
        assert_type(client, Client)
    daskjobs.dask_cluster(workers="5")  # type: ignore[arg-type]
    daskjobs.dask_cluster(worker=5)  # type: ignore[call-arg]


def errors() -> int:
    try:
        daskjobs.run_orders("nothing.csv")
    except (daskjobs.InputError, daskjobs.UsageError) as error:
        return error.exit_code
    except daskjobs.DaskjobsError as error:
        assert_type(error, daskjobs.DaskjobsError)
    return 0


daskjobs.run_order()  # type: ignore[attr-defined]
