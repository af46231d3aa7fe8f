"""The options that all stages share, each also an environment variable, and the settings that they make."""

import dataclasses
import os
import secrets
import time
from collections.abc import Callable
from typing import Any

import click

from daskjobs import log
from daskjobs.settings import Settings

DEFAULTS = {f.name: f.default for f in dataclasses.fields(Settings) if f.default is not dataclasses.MISSING}
KINDS: dict[type, Any] = {int: int, float: float}
HELP = {
    "run": "Where this run's files live: a path, file:// or s3:// URI.  [default: runs/<time>-<id>]",
    "rows": "Orders to generate.",
    "seed": "Same seed and rows, same bytes.",
    "input": "Your own orders instead: a CSV file's path or URI, or a glob in quotes.",
    "partitions": "Parts that are checked in parallel.",
    "workers": "Dask workers; 0 is one for each core.",
    "cluster": "Where Dask runs: local, or the address of a scheduler that runs (tcp://host:port).",
    "dashboard": "Address of the Dask dashboard of a local cluster.",
    "timeout": "Seconds that the validation may take.",
    "log_level": "Events to show.  [default: info for a stage, warning for run]",
}


def options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options of every stage, each also an environment variable: DASKJOBS_ROWS for --rows."""
    for name, text in reversed(HELP.items()):
        default = DEFAULTS.get(name)
        command = click.option(
            f"--{name.replace('_', '-')}",
            default=default,
            type=click.Choice(log.LEVELS) if name == "log_level" else KINDS.get(type(default), str),
            envvar=f"DASKJOBS_{name.upper()}",
            show_envvar=True,
            show_default=bool(default),
            help=text,
        )(command)
    return command


def settings(values: dict[str, Any]) -> Settings:
    """Build the settings; paths become absolute, because Dask workers run elsewhere."""
    values = {
        **values,
        "run": values["run"] or f"runs/{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{secrets.token_hex(2)}",
    }
    for name in ("run", "input"):
        if values[name] and "://" not in values[name]:
            values[name] = os.path.abspath(os.path.expanduser(values[name]))
    return Settings(**values)
