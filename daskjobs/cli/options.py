"""The options of all stages, each also an environment variable, and the settings made from them."""

from collections.abc import Callable
from dataclasses import Field
from typing import Any

import click
from click.core import ParameterSource

from daskjobs import events
from daskjobs.cluster.settings import ClusterSettings
from daskjobs.errors import UsageError
from daskjobs.options import SECONDS, Option, options, quoted
from daskjobs.stages.settings import Settings, new_run_uri

FIELDS = [*options(Settings), *options(ClusterSettings)]
DEFAULTS = {each.name: each.default for each, _ in FIELDS}
LOG_LEVEL = "Events to show.  [default: info for a stage, warning for run]"


class Seconds(click.types.FloatParamType):
    """A number of seconds, whose refusal says how it is written."""

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> Any:  # noqa: ARG002  # click's
        """Return the number."""
        try:
            return float(value)
        except ValueError:
            flag = parameter.opts[0] if parameter else "it"
            raise UsageError(f"{flag} must be a number of seconds, like 3600, got {quoted(str(value))}") from None


KINDS: dict[type, Any] = {int: int, float: float, bool: bool}


def stage_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of all stages to a command; each can be set by a variable, --rows by DASKJOBS_ROWS."""
    return _with_options(command, FIELDS)


def cluster_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of a Dask cluster alone to a command."""
    return _with_options(command, [*options(ClusterSettings)])


def _with_options(command: Callable[..., Any], chosen: list[tuple[Field[Any], Option]]) -> Callable[..., Any]:
    described = [
        (option.flag, option.variable, each.name, each.default, option.help, _kind(each, option))
        for each, option in chosen
    ]
    described.append(("--log-level", "DASKJOBS_LOG_LEVEL", "log_level", None, LOG_LEVEL, click.Choice(events.LEVELS)))
    for flag, variable, name, default, text, kind in reversed(described):
        command = click.option(
            flag,
            name,
            default=default,
            type=kind,
            envvar=variable,
            show_envvar=True,
            show_default=bool(default),
            callback=_not_empty,
            help=text,
        )(command)
    return command


def _kind(each: Field[Any], option: Option) -> Any:
    return Seconds() if option.bounds == SECONDS else KINDS.get(type(each.default), str)


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
