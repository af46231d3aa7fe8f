"""`daskjobs profile propose`: a profile for files that nobody has seen before."""

import os
import shlex
from datetime import UTC, datetime

import click

from daskjobs.cli.parameters import option
from daskjobs.cli.streams import check_written
from daskjobs.cli.terminal import say
from daskjobs.display import shown
from daskjobs.errors import InputError, UsageError
from daskjobs.files.storage import Storage
from daskjobs.options import refuse_empty, refuse_nul

NEXT = "next: save this as mine.toml, answer each QUESTION in it, and: daskjobs run {} --profile mine.toml"


@click.command()
@click.argument("files", nargs=-1, metavar="FILE…")
@option("--ignore-table", is_flag=True, help="Look at files of a Delta, Iceberg or Hudi table all the same.")
def propose(files: tuple[str, ...], ignore_table: bool) -> None:
    """Look at the first rows of FILE, and write a profile as it may be read. It is written to stdout, and not applied.

    FILE is a path, a URI or a glob in quotes. Beside each line stands what was seen, and where two readings fit, a
    QUESTION with both. Column names, statuses, currencies and formats are quoted, and no other values.
    """
    from daskjobs.orders.proposals import proposal, sampling  # imported late: they load pyarrow
    from daskjobs.orders.sources.inputs import find_inputs

    if not files:
        raise UsageError("daskjobs profile propose needs a file of orders: its path, its URI, or a glob in quotes")
    names = dict[str, None]()
    for file in files:
        refuse_empty("FILE", file)
        refuse_nul("FILE", file)
        try:
            names |= dict.fromkeys(find_inputs(file, ignore_table))
        except InputError as error:
            raise type(error)(str(error).removeprefix("--input ")) from error
    pieces = sampling.take(Storage(os.getcwd()), list(names))
    for line in proposal.propose(pieces, len(names), datetime.now(UTC).date()).splitlines():
        click.echo(line)
    check_written()
    say(NEXT.format(" ".join(f"--input {shlex.quote(shown(file))}" for file in files)), err=True)
