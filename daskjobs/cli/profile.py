"""`daskjobs profile`: which presets there are, and where a profile of one's own begins."""

import click

from daskjobs.cli.propose import propose


@click.group()
def profile() -> None:
    """List the presets for --profile, print one, or propose a profile for your files."""


profile.add_command(propose)
