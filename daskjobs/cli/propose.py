"""`daskjobs profile propose`: a profile for files that nobody has seen before."""

import os
import shlex

import click

from daskjobs.cli.parameters import option
from daskjobs.cli.terminal import say
from daskjobs.display import shown
from daskjobs.errors import InputError
from daskjobs.files.storage import Storage
from daskjobs.options import refuse_empty, refuse_nul

NEXT = "next: save this as mine.toml, answer each QUESTION in it, and: daskjobs run --input {} --profile mine.toml"


@click.command()
@click.argument("file")
@option(
    "--ignore-table",
    is_flag=True,
    help="Look at Parquet files of a Delta, Iceberg or Hudi table all the same.",
)
def propose(file: str, ignore_table: bool) -> None:
    """Look at the first rows of FILE, and write a profile as it may be read. It is written to stdout, and not applied.

    FILE is a path, a URI or a glob in quotes. Beside each line stands what was seen, and where two readings fit, a
    QUESTION with both. Column names, statuses, currencies and formats are quoted, and no other values.
    """
    from daskjobs.orders.profiles import proposal, reading, sampling  # imported late: they load pyarrow
    from daskjobs.orders.sources.inputs import find_inputs

    refuse_empty("FILE", file)
    refuse_nul("FILE", file)
    try:
        names = list(find_inputs(file, ignore_table))
    except InputError as error:
        raise type(error)(str(error).removeprefix("--input ")) from error
    storage = Storage(os.getcwd())
    presets = {name: reading.parse_profile(text, name) for name, text in reading.presets().items()}
    text = proposal.propose(sampling.take(storage, names), presets, len(names))
    for line in text.splitlines():
        click.echo(line)
    say(NEXT.format(shlex.quote(shown(file))), err=True)
