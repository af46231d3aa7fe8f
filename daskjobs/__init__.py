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

Use a Dask cluster for anything else. Its workers are on this machine or, in a pod, in pods of an ephemeral cluster:

    with daskjobs.dask_cluster(workers=5, worker_memory="2Gi") as client:
        total = client.submit(sum, [1, 2, 3]).result()

Everything is imported when it is first used, so `import daskjobs` is quick.
"""

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
    "Settings",
    "StorageError",
    "UsageError",
    "__version__",
    "dask_cluster",
    "rule",
    "run_orders",
]

if not TYPE_CHECKING:  # else type checkers would accept every name

    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return globals().setdefault(name, _lazy(name))

    def __dir__() -> list[str]:
        return sorted(__all__)


def _lazy(name: str) -> object:
    """Import a public name."""
    if name == "ClusterSettings":
        from daskjobs.cluster.settings import ClusterSettings

        return ClusterSettings
    if name == "OrdersResult":
        from daskjobs.stages.run_orders import OrdersResult

        return OrdersResult
    if name == "Settings":
        from daskjobs.stages.run_settings import Settings

        return Settings
    if name == "dask_cluster":
        from daskjobs.cluster.public import dask_cluster

        return dask_cluster
    if name == "rule":
        from daskjobs.orders.rules.functions import rule

        return rule
    from daskjobs.stages.run_orders import run_orders

    return run_orders
