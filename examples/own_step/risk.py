"""A step with futures: a Monte Carlo simulation of next year's revenue."""

from collections.abc import Mapping

import numpy as np
from distributed import Client


def simulate(
    client: Client, sales: Mapping[str, float], swing: float, paths: int = 100_000, parts: int = 10, seed: int = 7
) -> dict[str, float]:
    """Return the mean of next year's revenue, and the amount that it exceeds with a probability of 95 %.

    Each region's revenue changes by a lognormal factor, whose logarithm has the standard deviation ``swing``. The same
    seed gives the same result, however many workers there are.
    """
    amounts = list(sales.values())
    futures = client.map(_paths, range(parts), amounts=amounts, swing=swing, paths=paths // parts, seed=seed)
    totals = np.concatenate(client.gather(futures))
    return {"mean": round(float(totals.mean()), 2), "exceeded": round(float(np.quantile(totals, 0.05)), 2)}


def _paths(part: int, amounts: list[float], swing: float, paths: int, seed: int) -> np.ndarray:
    """Simulate a part of the paths, on a worker; each part has random numbers of its own."""
    factors = np.random.default_rng([seed, part]).lognormal(0, swing, (paths, len(amounts)))
    return np.asarray(factors @ np.array(amounts))
