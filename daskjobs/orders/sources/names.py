"""Maps the user's names of columns and statuses to ours: --columns, --statuses, and a file's header."""

from collections import Counter

from daskjobs.errors import InputError, UsageError
from daskjobs.orders.header import first_row
from daskjobs.orders.profiles import Profile
from daskjobs.orders.schema import COLUMNS, STATUSES


def column_names(text: str) -> dict[str, str]:
    """Return a dictionary from our columns to the user's.

    >>> column_names("price=unit_price,status=state")
    {'price': 'unit_price', 'status': 'state'}
    """
    pairs = _pairs(text)
    names = dict(pairs)
    once = len(names) == len(set(names.values())) == len(pairs)
    if not once or not all(ours in COLUMNS and theirs for ours, theirs in pairs):
        raise UsageError(
            f"--columns must be pairs like price=unit_price,status=state, with each of our names at most once "
            f"({', '.join(COLUMNS)}) and each of the file's at most once, got {text!r}"
        )
    return names


def status_names(text: str) -> dict[str, str]:
    """Return a dictionary from the user's statuses to ours.

    >>> status_names("success=paid,success=complete,cancelled=canceled")
    {'paid': 'success', 'complete': 'success', 'canceled': 'cancelled'}
    """
    pairs = _pairs(text)
    names = {theirs: ours for ours, theirs in pairs}
    if len(names) < len(pairs) or not all(ours in STATUSES and theirs for ours, theirs in pairs):
        raise UsageError(
            f"--statuses must be pairs like success=paid,cancelled=canceled, each of one of our statuses "
            f"({', '.join(STATUSES)}) and one of the file's, which can stand for only one of ours, got {text!r}"
        )
    return names


def _pairs(text: str) -> list[tuple[str, str]]:
    """Return the sides of each pair in text like 'a=b, c=d'; a repeated pair counts once."""
    pairs = [pair.partition("=") for pair in text.split(",") if pair.strip()]
    return list(dict.fromkeys((ours.strip(), theirs.strip()) for ours, _, theirs in pairs))


def our_names(header: list[str], wanted: dict[str, str], name: str) -> list[str]:
    """Return a file's columns under our names.

    ``wanted`` is what `column_names` returns. A column whose name is given to another one by that gets the suffix
    '_original'. A column without a name, as Excel writes them at the right, is named by its number: column_11. Raises
    InputError when one of our columns is missing, or occurs twice.
    """
    back = {theirs: ours for ours, theirs in wanted.items()}
    named = [column or f"column_{number}" for number, column in enumerate(header, 1)]
    columns = [back.get(column, f"{column}_original" if column in wanted else column) for column in named]
    missing = [wanted.get(column, column) for column in COLUMNS if column not in columns]
    if taken := next((column for column in missing if column in header and column not in wanted), ""):
        raise InputError(
            f"{name} has one column {taken}, and --columns makes it {back[taken]}: say there which column is {taken}, "
            f"too ({taken}=…)"
        )
    if missing:
        known = {wanted.get(column, column) for column in COLUMNS}
        raise InputError(
            f"{name} has no column {', '.join(missing)}: its first row {first_row(header, known)}; it must name "
            f"{', '.join(COLUMNS)}, or --columns must say which of its columns these are (price=unit_price), or "
            "--profile how the file is written: `daskjobs profile propose FILE` proposes one"
        )
    twice = [column for column, times in Counter(columns).items() if times > 1]
    if twice:
        raise InputError(f"{name} has the column {', '.join(twice)} more than once; give each column a name of its own")
    return columns


def needed_names(profile: Profile) -> dict[str, list[str]]:
    """Return the names of a file's columns that a profile uses for each of ours, and for the order under an empty text.

    >>> needed_names(Profile("mine", columns={"price": Column(names=["Preis", "Einzelpreis"])}))["price"]
    ['Preis', 'Einzelpreis']
    """
    found = {ours: profile.column(ours).sources for ours in COLUMNS}
    return found | {"": [name for name in (profile.order.refunds, profile.order.currency) if name]}
