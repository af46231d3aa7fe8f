"""The options of all stages, each also an environment variable, and the settings made from them."""

from collections.abc import Callable
from dataclasses import Field
from typing import Any

import click
from click.core import ParameterSource

from daskjobs import events
from daskjobs.cluster.settings import ClusterSettings
from daskjobs.errors import UsageError
from daskjobs.options import Option, options
from daskjobs.stages.settings import Settings, new_run_uri

FIELDS = [*options(Settings), *options(ClusterSettings)]
DEFAULTS = {each.name: each.default for each, _ in FIELDS}
LOG_LEVEL = "Events to show.  [default: info for a stage, warning for run]"
KINDS: dict[type, Any] = {int: int, float: float, bool: bool}
# What a cleanup reads from the environment: with a variable that makes no sense to others, it still has to work.
CLEANUP = frozenset({"run_uri", "backend", "workflow", "workflow_uid", "namespace", "pod", "delete_timeout"})


def stage_options(command: Callable[..., Any], variables: frozenset[str] | None = None) -> Callable[..., Any]:
    """Add the options of all stages to a command; each can be set by a variable, --rows by DASKJOBS_ROWS.

    With ``variables``, only the options of these names can.
    """
    return _with_options(command, FIELDS, variables)


def cluster_options(command: Callable[..., Any], variables: frozenset[str] | None = None) -> Callable[..., Any]:
    """Add the options of a Dask cluster alone to a command, as `stage_options` does."""
    return _with_options(command, [*options(ClusterSettings)], variables)


def _with_options(
    command: Callable[..., Any], chosen: list[tuple[Field[Any], Option]], variables: frozenset[str] | None
) -> Callable[..., Any]:
    described = [
        (option.flag, option.variable if variables is None or each.name in variables else None, each.name, each.default,
         option.help)
        for each, option in chosen
    ]  # fmt: skip
    described.append(("--log-level", "DASKJOBS_LOG_LEVEL", "log_level", None, LOG_LEVEL))
    for flag, variable, name, default, text in reversed(described):
        command = click.option(
            flag,
            name,
            default=default,
            type=click.Choice(events.LEVELS) if name == "log_level" else KINDS.get(type(default), str),
            envvar=variable,
            show_envvar=True,
            show_default=bool(default),
            callback=_not_empty,
            help=text,
        )(command)
    return command


def text_option(flag: str, help: str, *names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add an option to a command that is a text, empty by default; ``names`` are its parameter's, if not the flag's."""
    variable = Option(flag, help, None, False).variable
    return click.option(flag, *names, default="", envvar=variable, show_envvar=True, help=help)


def _not_empty(context: click.Context, parameter: click.Parameter, value: Any) -> Any:
    """Refuse an empty value on the command line, mostly an unset variable; in the environment it means the default."""
    if value == "" and context.get_parameter_source(str(parameter.name)) is ParameterSource.COMMANDLINE:
        raise UsageError(f"{parameter.opts[0]} is empty: give it a value, or leave it out for the default")
    return value


def settings(values: dict[str, Any]) -> Settings:
    """Build the settings from options; without --run, the run gets a new folder below runs/."""
    context = click.get_current_context()
    set_by = (ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT)
    given = frozenset(name for name in values if context.get_parameter_source(name) in set_by)
    return Settings.of(**{**values, "run_uri": values["run_uri"] or new_run_uri()}, given=given)
