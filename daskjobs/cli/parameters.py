"""The options of all stages, each also an environment variable, and the settings made from them."""

from collections.abc import Callable, Mapping
from dataclasses import Field
from functools import partial
from typing import Any

import click
from click.core import ParameterSource

from daskjobs import events
from daskjobs.cluster.backends import settings_kinds
from daskjobs.display import shown
from daskjobs.errors import UsageError
from daskjobs.options import SECONDS, Option, lines, options, plain, quoted, refuse_empty, refuse_nul, sections
from daskjobs.pipeline import ending
from daskjobs.stages.run_settings import InputSettings, Settings, new_run_uri

SECTIONS = sections([InputSettings, Settings, *settings_kinds()])
FIELDS = [each for section in SECTIONS.values() for each in section]
TITLES = {each.name: title for title, section in SECTIONS.items() for each, _ in section}
LOG_LEVEL = "Events to show.  [default: info for a stage, warning for run]"


class Once(click.Option):
    """An option that is refused when it is given twice, or with an empty value.

    A ``multiple`` one may be given several times, and so may a flag that has the same value each time. The values of a
    ``secret`` are not shown.
    """

    def __init__(self, *names: Any, secret: bool = False, **said: Any) -> None:
        self.secret = secret
        super().__init__(*names, **said)

    def add_to_parser(self, parser: Any, ctx: click.Context) -> None:
        """Make the parser keep every value, not only the last one."""
        multiple, self.multiple = self.multiple, True
        try:
            super().add_to_parser(parser, ctx)
        finally:
            self.multiple = multiple

    def consume_value(self, ctx: click.Context, opts: Mapping[str, Any]) -> tuple[Any, ParameterSource]:
        """Return the one value on the command line, or else the value that click finds elsewhere."""
        name = str(self.name)
        values: list[Any] = opts.get(name, [])
        for value in values:
            refuse_empty(self.opts[0], value)
            refuse_nul(self.opts[0], value, self.secret)
        if values and not self.multiple:
            if len(set(values) if self.is_flag else values) > 1:
                raise UsageError(f"{self._named(values)}: give it once")
            opts = {**opts, name: values[0]}
        value, source = super().consume_value(ctx, opts)
        if isinstance(value, str) and isinstance(self.type, click.types.IntParamType | click.types.FloatParamType):
            try:
                plain(value)
            except ValueError as error:
                raise click.BadParameter(f"{error}.", ctx, self) from None
        return value, source

    def _named(self, values: list[Any]) -> str:
        if self.is_flag:
            return f"{self.opts[0]} and {self.secondary_opts[0]} are both given"
        if self.secret:
            return f"{self.opts[0]} is given more than once"
        return f"{self.opts[0]} is given more than once, as {' and as '.join(quoted(shown(each)) for each in values)}"


option = partial(click.option, cls=Once)


class Lines(click.types.StringParamType):
    """A text; an environment variable may hold several, one on each line."""

    def split_envvar_value(self, rv: str) -> tuple[str, ...]:
        """Return the values in a variable."""
        return lines(rv)


class Joined(click.types.StringParamType):
    """A text whose values on the command line are joined by commas; an environment variable has them joined already."""

    envvar_list_splitter = "\0"  # which no variable has


class Seconds(click.types.FloatParamType):
    """A number of seconds, whose error message has an example."""

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> Any:  # noqa: ARG002  # click's
        """Return the number."""
        try:
            return float(value)
        except ValueError:
            flag = parameter.opts[0] if parameter else "it"
            raise UsageError(f"{flag} must be a number of seconds, like 3600, got {quoted(str(value))}") from None


KINDS: dict[type, Any] = {int: int, float: float, bool: bool, tuple: Lines()}


class Sectioned(click.Command):
    """A command whose help has its own options, and a section for each class of settings."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the sections."""
        sections = dict[str, list[tuple[str, str]]]()
        for parameter in self.get_params(ctx):
            if isinstance(parameter, click.Option) and (record := parameter.get_help_record(ctx)):
                sections.setdefault(TITLES.get(str(parameter.name), "Options"), []).append(record)
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records)


def _with_options(
    chosen: list[tuple[Field[Any], Option]], command: Callable[..., Any], cleanup: bool = False
) -> Callable[..., Any]:
    """Add options to a command; each can be set by a variable, --rows by DASKJOBS_ROWS.

    For a ``cleanup``, only those can that it needs.
    """
    levels = click.Choice(events.LEVELS)
    command = option("--log-level", type=levels, envvar="DASKJOBS_LOG_LEVEL", show_envvar=True, help=LOG_LEVEL)(command)
    for each, its in reversed(chosen):
        joined = its.several and not isinstance(each.default, tuple)
        kind = Seconds() if its.bounds == SECONDS else KINDS.get(type(each.default), str)
        command = option(
            its.flag,
            each.name,
            default=((str(each.default),) if each.default else ()) if joined else each.default,
            type=Joined() if joined else kind,
            multiple=its.several,
            envvar=its.variable if its.cleanup or not cleanup else None,
            secret=its.secret,
            show_envvar=True,
            show_default=its.unset or bool(each.default),
            callback=(lambda _, __, values: ",".join(values)) if joined else None,
            help=its.help.replace("`", ""),
        )(command)
    return command


stage_options = partial(_with_options, FIELDS)
cluster_options = partial(_with_options, [*options(*settings_kinds())])


def text_option(flag: str, help: str, *names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add an option to a command that is a text, empty by default; ``names`` are its parameter's, if not the flag's."""
    variable = Option(flag, help).variable
    return option(flag, *names, default="", envvar=variable, show_envvar=True, help=help)


def settings(values: dict[str, Any], whole: bool = False) -> Settings:
    """Build the settings from options; without --run, the run gets a new folder below runs/.

    ``whole`` says whether the command runs all stages.
    """
    context = click.get_current_context()
    source = {name: context.get_parameter_source(name) for name in values}
    set_by = (ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT)
    given = frozenset(name for name in values if source[name] in set_by)
    built = Settings.of(**{**values, "run_uri": values["run_uri"] or new_run_uri()}, given=given)
    built.refuse_useless({name for name in values if source[name] is ParameterSource.COMMANDLINE}, whole)
    ending.has_run()
    return built
