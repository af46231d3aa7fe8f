"""How a run ended, as cleanup is told: by the exception that ended it, or by Argo."""

import ast
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from daskjobs.display import escaped, shown
from daskjobs.errors import DaskjobsError, Stop, text_of

MOST_SENTENCE = 4000  # characters: an error has no more, and Kubernetes shows no more
ARGOS = re.compile(r"(?:main: )?Error \(exit code \d+\): ")  # what Argo writes before the sentence of a pod
ATTEMPT = re.compile(r"(.*)\(\d+\)", re.S)  # the node of a pod that may be tried again
STOP_SECONDS = 2.0  # for each post, when a signal asks this process to end, which it has 8 s for


@dataclass(frozen=True)
class Outcome:
    """Whether a run has failed, at which stage, and its sentence, as far as that is known.

    ``at`` tells two failures with the same sentence apart. ``stopped`` says that this process is to end at once.
    """

    failed: bool = False
    stage: str = ""
    sentence: str = ""
    at: str = ""
    stopped: bool = False


def of_error(stage: str, error: BaseException) -> Outcome:
    """Return the outcome of a run that an exception has ended at a stage."""
    sentence = str(getattr(error, "sentence", ""))
    if not sentence:
        text = text_of(error)
        sentence = text if isinstance(error, DaskjobsError) else f"{type(error).__name__}: {text}"
    return Outcome(True, stage, _line(sentence), datetime.now(UTC).isoformat(), isinstance(error, Stop))


def of_argo(status: str, failures: str) -> Outcome | None:
    """Return the outcome that Argo tells an exit handler: ``{{workflow.status}}`` and ``{{workflow.failures}}``.

    The failures are JSON in quotes, as Go writes them, and may be cut. None if Argo tells nothing.

    >>> of_argo("Failed", '"[{\\\\"displayName\\\\": \\\\"merge(1)\\\\", \\\\"message\\\\": \\\\"gone\\\\"}]"').stage
    'merge'
    """
    if not status:
        return None
    if status == "Succeeded":
        return Outcome()
    nodes = _nodes(failures)
    pods = [node for node in nodes if ATTEMPT.fullmatch(node["displayName"])] or nodes
    if not pods:
        return Outcome(True)
    last = max(pods, key=lambda node: (bool(node["message"]), node["finishedAt"]))
    name = ATTEMPT.fullmatch(last["displayName"])
    sentence = _line(ARGOS.sub("", last["message"], count=1))
    return Outcome(True, _line(name[1] if name else last["displayName"]), sentence, last["finishedAt"])


def _nodes(failures: str) -> list[dict[str, str]]:
    """Return the failed nodes: all of their texts, or empty ones, and none at all of what can't be read."""
    try:
        text = ast.literal_eval(failures)  # Go's quotes and escapes are Python's, too
        read: Any = json.loads(text) if isinstance(text, str) else None
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return []
    keys = ("displayName", "message", "finishedAt")
    nodes = read if isinstance(read, list) else []
    return [{key: str(node.get(key) or "") for key in keys} for node in nodes if isinstance(node, dict)]


def _line(text: str) -> str:
    return escaped(shown(text))[:MOST_SENTENCE]
