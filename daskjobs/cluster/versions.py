"""Compares the versions of packages that client, scheduler and workers must share."""

import platform
from importlib.metadata import version

from distributed import Client

from daskjobs.errors import ConfigError

ANSWER_SECONDS = 7
PACKAGES = ("dask", "distributed", "pandas", "pyarrow", "numpy", "daskjobs")


def own_versions() -> dict[str, str]:
    """Return the versions of Python and of `PACKAGES` in the process that runs this, without importing them."""
    return {"python": platform.python_version().rpartition(".")[0], **{name: version(name) for name in PACKAGES}}


def compare_versions(client: Client) -> None:
    """Raise ConfigError unless the scheduler and all workers have the same versions as this process."""
    ours = own_versions()
    try:
        theirs = {
            "the scheduler": client.run_on_scheduler(own_versions, callback_timeout=ANSWER_SECONDS),
            **client.run(own_versions, callback_timeout=ANSWER_SECONDS),
        }
    except ImportError as error:
        raise ConfigError(
            f"the Dask cluster lacks a package: {error}; install daskjobs there, or use its image"
        ) from error
    wrong = sorted(
        f"{name} {versions[name]} at {where}, {ours[name]} here"
        for where, versions in theirs.items()
        for name in ours
        if versions[name] != ours[name]
    )
    if wrong:
        raise ConfigError(
            f"versions differ: {'; '.join(wrong)}; install the same ones, or use the same image, on both sides"
        )
