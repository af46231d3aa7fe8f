"""`daskjobs step`: calls a user's function with a Dask cluster of its own; `step-cleanup` removes that cluster."""

import json
import os
import secrets
import traceback
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from daskjobs import events
from daskjobs.cli.parameters import Sectioned, cluster_options, option, text_option
from daskjobs.cli.streams import last_line, open_again
from daskjobs.cli.terminal import say
from daskjobs.cluster.backends import default_backend, settings_of
from daskjobs.cluster.kubernetes.naming import cluster_name, node_key
from daskjobs.cluster.settings import ClusterSettings
from daskjobs.display import shown
from daskjobs.errors import DaskjobsError, FunctionError, LostWorkError, UsageError
from daskjobs.options import quoted
from daskjobs.pipeline.ending import bounded

CLOSE_SECONDS = 120.0  # to save pages and logs and to end the cluster, besides all other waits
RESULT, RECEIPT = "result", "receipt.json"
TOO_DEEP = "is nested too deeply: give fewer levels, or name a file that the function reads"

_node = text_option("--node", "On Kubernetes: the name of the Argo node, which identifies this step's cluster.")
_outputs = text_option(
    "--outputs", "A local directory for the result, the function's files, and pages about the Dask cluster."
)
_artifacts = option(
    "--artifacts/--no-artifacts",
    default=True,
    envvar="DASKJOBS_ARTIFACTS",
    show_envvar=True,
    show_default=True,
    help="Whether to write more than the result to --outputs; Argo needs an artifact repository to keep it.",
)


@click.command(cls=Sectioned)
@click.argument("function", envvar="DASKJOBS_CALL", metavar="MODULE:FUNCTION")
@option("--arg", "pairs", multiple=True, metavar="NAME=VALUE", help="An argument, as JSON or else as a text.")
@text_option(
    "--args", "All arguments as a JSON object, or @ and the path of its file; --arg takes precedence.", "document"
)
@text_option(
    "--code",
    "The folder or zip file that has the module, as a path that all processes have or as a URI.  "
    "[default: the working directory]",
)
@_node
@_outputs
@_artifacts
@cluster_options
def step(
    function: str,
    pairs: tuple[str, ...],
    document: str,
    code: str,
    node: str,
    outputs: str,
    artifacts: bool,
    log_level: str | None,
    **values: Any,
) -> None:
    """Call a function with a Dask client, on a cluster of its own, and print its result as JSON.

    \b
    def build(client, day):        # in mycompany/features.py; client is distributed's own
        return {"regions": 5}
    \b
    daskjobs step mycompany.features:build --arg day=2026-11-25

    The workers are on this machine or, in a pod, in pods like it. They are gone when the function has returned.
    """
    from daskjobs.cluster.call import Call, run_step, write  # imported late: few commands need it

    settings = _settings(node, values)
    events.configure(log_level or ("info" if settings.pod else "warning"))
    arguments = _arguments(document) | _once([_argument(pair) for pair in pairs], "--arg")
    place = code if "://" in code else os.path.abspath(code or os.getcwd())
    call = Call(function, arguments, place, node)
    seconds = settings.longest_start + settings.timeout + CLOSE_SECONDS
    try:
        with last_line() as print_result, bounded() as bound:
            bound(seconds, LostWorkError.exit_code, f"{function} has not ended after {seconds:g} s, and hangs")

            def ended(outcome: str | DaskjobsError) -> None:
                """Write the outcome, which later failures of the cluster don't change."""
                if isinstance(outcome, DaskjobsError):
                    bound(CLOSE_SECONDS, outcome.exit_code, str(outcome))
                    return
                if outputs:
                    write(_folder(outputs) / RESULT, outcome)
                bound(CLOSE_SECONDS, 0, f"{function} has returned, but its Dask cluster has not ended in time")

            result = run_step(call, settings, _folder(outputs) if outputs and artifacts else None, _tell, ended)
            print_result(result)
    except FunctionError as error:
        if error.__cause__:
            trace = "".join(traceback.format_exception(error.__cause__))
            click.echo(shown(trace), err=True)
        raise


@click.command("step-cleanup", cls=Sectioned)
@_node
@_outputs
@_artifacts
@partial(cluster_options, cleanup=True)
def step_cleanup(node: str, outputs: str, artifacts: bool, log_level: str | None, **values: Any) -> None:
    """Remove what a step left of its Dask cluster, wait until each object is gone, and write a receipt."""
    from daskjobs.cluster.call import remove_step, write  # imported late: few commands need it

    events.configure(log_level or "info")
    settings = _settings(node, values)
    removed = remove_step(settings)
    receipt = {
        "cluster": cluster_name(settings),
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        **removed.to_json(),
    }
    if outputs and artifacts:
        write(_folder(outputs) / RECEIPT, json.dumps(receipt, indent=1))
    say(json.dumps(receipt))
    removed.check()


def _settings(node: str, values: dict[str, Any]) -> ClusterSettings:
    """Build the cluster's settings: named by the Argo node and, in a pod, on Kubernetes unless --cluster is given."""
    source = click.get_current_context().get_parameter_source
    if source("backend") is ParameterSource.DEFAULT:
        values["backend"] = default_backend(values["pod"])
    if values["backend"] == "kubernetes" and not values["workers"] and source("workers") is not ParameterSource.DEFAULT:
        raise UsageError("--workers must be at least 1 on Kubernetes, got 0")
    return settings_of(**values, key=node_key(node) if node else secrets.token_hex(4))


def _tell(text: str) -> None:
    open_again()  # the function may have closed the streams
    say(text, err=True)


def _folder(outputs: str) -> Path:
    return Path(outputs).absolute()


def _arguments(document: str) -> dict[str, object]:
    if document.startswith("@"):
        try:
            document = Path(document[1:]).read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise UsageError(f"--args names a file that can't be read, {quoted(document)}: {error}") from None
    try:
        arguments = json.loads(document or "{}", object_pairs_hook=partial(_once, source="--args"))
    except ValueError as error:
        raise UsageError(f"--args must be a JSON object, got {quoted(document)}: {error}") from None
    except RecursionError:
        raise UsageError(f"--args {TOO_DEEP}, got {quoted(document)}") from None
    if not isinstance(arguments, dict):
        raise UsageError(f'--args must be a JSON object, like {{"day": "2026-11-25"}}, got {quoted(document)}')
    return arguments


def _once(pairs: list[tuple[str, object]], source: str) -> dict[str, object]:
    """Return the pairs as a dictionary. Raises UsageError for a name that occurs twice."""
    values = dict[str, object]()
    for name, value in pairs:
        if name in values:
            raise UsageError(
                f"{source} has {name} more than once, as {_value(values[name])} and as {_value(value)}: give it once"
            )
        values[name] = value
    return values


def _value(value: object) -> str:
    return quoted(shown(json.dumps(value, ensure_ascii=False)))


def _argument(pair: str) -> tuple[str, object]:
    name, equals, value = pair.partition("=")
    if not equals or not name.isidentifier():
        raise UsageError(f"--arg must be name=value, like day=2026-11-25, got {quoted(pair)}")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value
    except RecursionError:
        raise UsageError(f"--arg {TOO_DEEP}, got {quoted(pair)}") from None


COMMANDS = {str(each.name): each for each in (step, step_cleanup)}
