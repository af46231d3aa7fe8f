"""Orders that were dropped into Argo's UI: an artifact of the workflow, which becomes the input of its run."""

import os
from dataclasses import replace
from typing import IO

from daskjobs.errors import UsageError
from daskjobs.events import event
from daskjobs.files.storage import Storage, explained
from daskjobs.stages import generate
from daskjobs.stages.run_settings import Context

FILE = "orders"  # in the folder of what a pod is given
BLOCK_BYTES = 8 << 20


def with_dropped(context: Context, given: str) -> Context:
    """Return a context whose input is the file that this pod, or an earlier one of the run, was given.

    Dask's workers can't read what a pod was given. So it is copied into the run, as it is, and the copy is the input.
    Raises UsageError when there is an --input, too.
    """
    path = os.path.join(given, FILE) if given else ""
    here = bool(path) and os.path.isfile(path)
    if not given or (context.settings.input and not here):
        return context
    if context.settings.input:
        raise UsageError("orders were dropped, and an input is named as well: give one of the two")
    if here:
        with context.held() as held:
            _copy(path, held.storage)
    elif context.storage.size(generate.GIVEN) is None:
        return context
    copy = context.storage.uri(generate.GIVEN)
    return replace(context, settings=replace(context.settings, input=(copy,)))


def _copy(path: str, storage: Storage) -> None:
    """Copy a file into the run, unless an earlier attempt has done so."""
    with explained(f"read {path}"), open(path, "rb") as file:
        if storage.size(generate.GIVEN) == os.path.getsize(path) and _is_in(file, storage):
            return
        file.seek(0)
        with storage.write(generate.GIVEN, durable=True) as copy:
            while data := file.read(BLOCK_BYTES):
                copy.write(data)
    made = copy.output
    event("orders.given", file=storage.uri(generate.GIVEN), bytes=made.size, sha256=made.sha256)


def _is_in(file: IO[bytes], storage: Storage) -> bool:
    """Tell whether the copy in the run has the bytes of a file."""
    with storage.open(generate.GIVEN) as copy:
        while data := file.read(BLOCK_BYTES):
            if copy.read(len(data)) != data:
                return False
    return True
