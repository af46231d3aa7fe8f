"""Compares a run with an earlier one, for drift.json."""

from daskjobs.orders.report.drift import VERSION, Compared, Drift
from daskjobs.series.drift import came_back, limits, measures
from daskjobs.series.numbers import Tallied, again, drift_of, left_out, of_run, paired
from daskjobs.series.runs import GoodRun


def compare(run: GoodRun | None, now: Tallied, max_drift: str, why: str, last: bool) -> Drift:
    """Return how much a run differs from an earlier ``run``; ``why`` says that there is none.

    With ``last``, what has come back to what it was before the earlier run, which had drifted itself, isn't over again.
    Raises StorageError or ConfigError when the earlier run's files can't be read.
    """
    if run is None:
        return Drift(VERSION, None, why, [])
    before = of_run(run)
    earlier, current = paired(before, now)
    allowed = limits(max_drift)
    found = measures(earlier, current, allowed)
    then = drift_of(run) if last else None
    if then and then.before:
        found = came_back(found, then.measures, measures(then.before, again(then.before, now), allowed))
    return Drift(VERSION, Compared(run.uri, run.sha256, run.day), "", found, left_out(before, now), earlier)
