"""`daskjobs` and `python -m daskjobs`: what must be there before the command line, whose import takes a while."""

from daskjobs import ending, streams


def entry() -> None:
    """Run the command line."""
    streams.lenient()
    try:
        ending.watch()
        from daskjobs import cli
    except ending.Stopped as stopped:
        ending.leave(stopped.number, stopped.sentence)
    cli.entry()


if __name__ == "__main__":
    entry()
