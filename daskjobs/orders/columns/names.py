"""What a file calls the columns that a run tells of."""

from collections.abc import Mapping

from daskjobs.orders.plan import Plan
from daskjobs.orders.profiles.columns import others, used
from daskjobs.orders.sources.names import column_names


def names_in_file(plan: Plan, columns: str) -> Mapping[str, str]:
    """Return the names of the first file's columns, by their names in the results; ``columns`` is --columns.

    What a profile makes of several columns, or of none, has no name there.
    """
    if plan.profile:
        return {**used(plan.files[0].columns, plan.profile), **others(plan.files[0].columns, plan.profile)}
    names = column_names(columns)
    return {**names, **{f"{ours}_original": ours for ours in names if ours not in names.values()}}
