"""The options that all stages share, each also an environment variable, and the settings that they make."""

import dataclasses
import os
import secrets
import time
from collections.abc import Callable
from typing import Any

import click
from click.core import ParameterSource

from daskjobs import log
from daskjobs.errors import UsageError
from daskjobs.settings import Settings

DEFAULTS = {f.name: f.default for f in dataclasses.fields(Settings) if f.default is not dataclasses.MISSING}
KINDS: dict[type, Any] = {int: int, float: float, bool: bool}
HELP = {
    "run": "Where this run's files live: a path, file:// or s3:// URI.  [default: runs/<time>-<id>]",
    "rows": "Orders to generate.",
    "seed": "Same seed and rows, same bytes.",
    "input": "Your own orders instead: the path or URI of a CSV or Parquet file, or a glob in quotes.",
    "delimiter": "What separates the input's fields: one character, or tab.  [default: found in the header]",
    "quoting": "What a quote is in the input: rfc4180 (fields may stand in quotes), none (a character like others), or "
    "backslash (as rfc4180, and a backslash escapes the next character).",
    "encoding": "The input's text encoding, like cp1252 or utf-16.  [default: UTF-8]",
    "columns": "Which of the input's columns stand for ours: price=unit_price,status=state.",
    "statuses": "Which of the input's statuses stand for ours: success=paid,success=complete,cancelled=canceled.",
    "rules": "Rules of your own: the path or URI of a Python file.",
    "max_rejected": "Fail when more than this share of the rows is rejected, from 0 to 1.",
    "partitions": "Parts that are checked in parallel; 0 is five, or a multiple of ten for large orders.",
    "workers": "Dask workers; 0 is one for each core.",
    "cluster": "Where Dask runs: local, kubernetes (in a pod), or the address of a scheduler (tcp://host:port).",
    "dashboard": "Address of the Dask dashboard of a local cluster.",
    "timeout": "Seconds that the validation may take.",
    "worker_cpu": "On Kubernetes: CPU that each worker requests.",
    "worker_memory": "On Kubernetes: memory that each worker requests and may use.",
    "keep_cluster": "On Kubernetes: leave the cluster up until cleanup, for a look at its dashboard.",
    "workflow": "On Kubernetes: name of the workflow that owns the cluster.",
    "workflow_uid": "On Kubernetes: uid of that workflow.",
    "pod": "On Kubernetes: name of the pod that this runs in; the cluster's pods are made like it.",
    "namespace": "On Kubernetes: where the cluster lives, which is where this pod does.",
    "start_timeout": "On Kubernetes: seconds until the scheduler must answer.",
    "worker_timeout": "On Kubernetes: seconds until the first worker must have come; others join in later.",
    "delete_timeout": "On Kubernetes: seconds until what was deleted must be gone.",
    "idle_timeout": "On Kubernetes: seconds without work after which the cluster ends by itself.",
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
            callback=_not_empty,
            help=text,
        )(command)
    return command


def _not_empty(context: click.Context, parameter: click.Parameter, value: Any) -> Any:
    """Refuse an empty text on the command line: mostly a variable that isn't set. One of the environment is none."""
    if value == "" and context.get_parameter_source(str(parameter.name)) is ParameterSource.COMMANDLINE:
        raise UsageError(f"{parameter.opts[0]} is empty: give it a value, or leave it out for the default")
    return value


def settings(values: dict[str, Any]) -> Settings:
    """Build the settings; paths become absolute, because Dask workers run elsewhere."""
    values = {
        **values,
        "run": values["run"] or f"runs/{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{secrets.token_hex(2)}",
    }
    for name in ("run", "input", "rules"):
        if values.get(name) and "://" not in values[name]:
            values[name] = os.path.abspath(os.path.expanduser(values[name]))
    context = click.get_current_context()
    set_by = (ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT)
    given = frozenset(name for name in values if context.get_parameter_source(name) in set_by)
    return Settings(**values, given=given)
