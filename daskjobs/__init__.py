"""Order analytics one can trust to the cent: Argo orchestrates, Dask parallelizes.

Run all stages over orders, on this machine:

    result = daskjobs.run_orders("orders/*.csv.gz", run="runs/mine")
    result.orders, result.revenue         two numbers, exact to the cent
    result.rejected                       a table of the rejected rows, with all reasons
    result.explain(7)                     what became of row 7

The orders may be a list of paths, URIs and globs, or a table such as a DataFrame. `run_orders(rows=50_000)` generates
and checks 50,000 orders.

Add a rule of your own, a function from a frame of orders to a boolean for each row:

    @daskjobs.rule("The order has more than 100 items.")
    def bulk(orders):
        return orders["quantity"] > 100

    result = daskjobs.run_orders("orders.csv", rules=[bulk])

A rule must not ask the clock. One that needs a date takes the context, whose `as_of` is the same in each attempt:

    @daskjobs.rule("The order is of a day to come.")
    def early(orders, context):
        return orders["timestamp"].dt.date > context.as_of

Use a Dask cluster for anything else. Its workers are on this machine or, in a pod, in pods of an ephemeral cluster:

    with daskjobs.dask_cluster(workers=5, worker_memory="2Gi") as client:
        total = client.submit(sum, [1, 2, 3]).result()

Everything is imported when it is first used, so `import daskjobs` is quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from daskjobs.errors import (
    ClusterError,
    ConfigError,
    DaskjobsError,
    FunctionError,
    InputError,
    LostWorkError,
    StorageError,
    UsageError,
)
from daskjobs.version import __version__

if TYPE_CHECKING:
    from daskjobs.cluster.public import dask_cluster
    from daskjobs.cluster.settings import ClusterSettings
    from daskjobs.orders.rules.contract import RuleContext
    from daskjobs.orders.rules.functions import rule
    from daskjobs.stages.run_orders import OrdersResult, run_orders
    from daskjobs.stages.run_settings import Settings

__all__ = [
    "ClusterError",
    "ClusterSettings",
    "ConfigError",
    "DaskjobsError",
    "FunctionError",
    "InputError",
    "LostWorkError",
    "OrdersResult",
    "RuleContext",
    "Settings",
    "StorageError",
    "UsageError",
    "__version__",
    "dask_cluster",
    "rule",
    "run_orders",
]

_LAZY = {
    "ClusterSettings": "daskjobs.cluster.settings",
    "OrdersResult": "daskjobs.stages.run_orders",
    "RuleContext": "daskjobs.orders.rules.contract",
    "Settings": "daskjobs.stages.run_settings",
    "dask_cluster": "daskjobs.cluster.public",
    "rule": "daskjobs.orders.rules.functions",
    "run_orders": "daskjobs.stages.run_orders",
}  # the modules that are imported when one of these names is used

if not TYPE_CHECKING:  # else type checkers would accept every name

    def __getattr__(name: str) -> object:
        if name not in _LAZY:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(_LAZY[name]), name)

    def __dir__() -> list[str]:
        return sorted(__all__)
