"""Prints lines for people."""

import os

import click

from daskjobs.display import escaped


def say(text: str, err: bool = False) -> None:
    """Print one line, with control characters escaped: data and file names may hold any."""
    click.echo(escaped(text), err=err)


def short(path: str) -> str:
    """Return a path relative to the working directory, if it is inside it."""
    return os.path.relpath(path) if path.startswith(os.getcwd() + os.sep) else path
