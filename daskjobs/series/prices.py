"""What the work of a run's Dask workers cost, from prices and from what facts.json says of them."""

import re
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction

from daskjobs.errors import UsageError
from daskjobs.options import quoted

GIB, HOUR = 1 << 30, 3600
PLACES = 6  # of a cost
PRICE = re.compile(r"\d{1,9}(?:\.\d{1,12})?", re.ASCII)
WANTED = "--price must be prices of cpu-hour, gib-hour, or both, like cpu-hour=0.04,gib-hour=0.005"


@dataclass(frozen=True)
class WorkerUse:
    """What the workers of a run used, in the words of facts.json: seconds and bytes of all of them together."""

    cpu_seconds: Decimal
    memory_bytes: int  # the mean resident memory of the largest process, times the number of processes
    seconds: Decimal  # for which they were there


@dataclass(frozen=True)
class Prices:
    """The price of an hour of a core, and of a GiB of memory, in whatever currency."""

    cpu_hour: Decimal = field(default=Decimal())
    gib_hour: Decimal = field(default=Decimal())

    def cost(self, use: WorkerUse) -> Decimal:
        """Return what the workers cost: the CPU time that they computed, and the memory that they held all the while.

        >>> Prices(Decimal("0.04"), Decimal("0.005")).cost(WorkerUse(Decimal(7200), 3 << 30, Decimal(1800)))
        Decimal('0.087500')
        """
        cpu = Fraction(self.cpu_hour) * Fraction(use.cpu_seconds)
        memory = Fraction(self.gib_hour) * use.memory_bytes / GIB * Fraction(use.seconds)
        return Decimal(round((cpu + memory) / HOUR * 10**PLACES)).scaleb(-PLACES)


def prices_of(text: str) -> Prices | None:
    """Return the prices that --price gives, or None for an empty text. Raises UsageError.

    >>> prices_of("cpu-hour=0.04").cpu_hour
    Decimal('0.04')
    """
    if not text:
        return None
    found = dict[str, Decimal]()
    for each in text.split(","):
        name, _, price = (part.strip() for part in each.partition("="))
        if name not in ("cpu-hour", "gib-hour"):
            raise UsageError(f"{WANTED}, got {quoted(each)}")
        if name in found:
            raise UsageError(f"--price gives {name} twice: give it once")
        found[name] = _price(price, each)
    return Prices(found.get("cpu-hour", Decimal()), found.get("gib-hour", Decimal()))


def _price(text: str, said: str) -> Decimal:
    if not PRICE.fullmatch(text):
        raise UsageError(f"{WANTED}; a price is a plain number below 1,000,000,000, got {quoted(said)}")
    return Decimal(text)
