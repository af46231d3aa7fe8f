"""`python -m daskjobs` is `daskjobs`."""

from daskjobs.cli import entry

if __name__ == "__main__":
    entry()
