"""`daskjobs profile`: which presets there are, and where a profile of one's own begins."""

import click

from daskjobs.cli.propose import propose
from daskjobs.cli.streams import check_written
from daskjobs.cli.terminal import say


@click.group()
def profile() -> None:
    """List the presets for --profile, print one, or propose a profile for your files."""


@profile.command("list")
def list_presets() -> None:
    """Print the name of each preset, and whose files it is for."""
    from daskjobs.orders.profiles.reading import about, presets  # imported late: it loads pyarrow

    texts = presets()
    width = max(map(len, texts), default=0)
    for name, text in texts.items():
        say(f"{name:{width}}  {about(text)}")
    check_written()


@profile.command()
@click.argument("name")
def show(name: str) -> None:
    """Print a preset as it is: daskjobs profile show shopify > mine.toml."""
    from daskjobs.orders.profiles.reading import preset  # imported late: it loads pyarrow

    click.echo(preset(name).encode(), nl=False)
    check_written()


profile.add_command(propose)
