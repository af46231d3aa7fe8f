"""The kinds of failure, each with an exit code that tells Argo whether a retry can help."""

from daskjobs.display import escaped, shown

MOST_MESSAGE = 4000  # characters: Kubernetes shows 4,096 bytes, and Dask alters exceptions longer than 10,000


class Stop(SystemExit):
    """A signal asked this process to end; the code that was running is not at fault."""


class DaskjobsError(Exception):
    """A failure that the user can act on: one message, no stack trace."""

    exit_code = 1

    def __init__(self, message: str) -> None:
        message = escaped(shown(message))  # it may quote file names and data
        super().__init__(message if len(message) <= MOST_MESSAGE else f"{message[:MOST_MESSAGE]}…")


class UsageError(DaskjobsError):
    """The command was called with arguments that make no sense."""

    exit_code = 2


class InputError(DaskjobsError):
    """The orders are missing, unreadable, or not orders."""

    exit_code = 10


class ConfigError(DaskjobsError):
    """The run is set up wrongly, or versions don't match; a retry would fail the same way."""

    exit_code = 11


class FunctionError(DaskjobsError):
    """A user's function raised an exception; a retry would raise it again."""

    exit_code = 12


class StorageError(DaskjobsError):
    """The run's storage refused or lost something; a retry may help."""

    exit_code = 20


class ClusterError(DaskjobsError):
    """The Dask cluster didn't come up, or went away; a retry may help."""

    exit_code = 21


class LostWorkError(DaskjobsError):
    """Some of the work is missing: the ledger doesn't balance, or a task was lost."""

    exit_code = 22


NOT_THEIRS = (Stop, MemoryError)  # may be raised while a user's code runs, but are not its failures


def text_of(error: BaseException) -> str:
    """Return the text of any exception, or say what its own ``__str__`` raised."""
    try:
        return str.__str__(str(error))  # str() may return an instance of a user's subclass
    except NOT_THEIRS:
        raise
    except BaseException as raised:
        return f"its text can't be shown, since its __str__ raises {type(raised).__name__}"
