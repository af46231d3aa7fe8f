"""Start `daskjobs` and `python -m daskjobs`: handle signals first, then import the command line, which is slow."""

import gc

from daskjobs.cli import streams
from daskjobs.pipeline import ending

# Python collects garbage after this many new objects. With its default of 700 it does so again and again while
# libraries are imported, whose objects stay: a run of 50,000 rows takes a tenth longer. With 100,000 it did so three
# times, each of which looks at all new objects, for another tenth; a small run makes fewer than this.
NEW_OBJECTS = 500_000


def entry() -> None:
    """Run the command line."""
    streams.lenient()
    gc.set_threshold(NEW_OBJECTS)
    try:
        ending.watch()
        from daskjobs.cli import main
    except ending.Stopped as stopped:
        ending.leave(stopped.number, stopped.sentence)
    main.entry()


if __name__ == "__main__":
    entry()
