"""The result of removing a Dask cluster: every object that there was, and those that remain."""

from dataclasses import asdict, dataclass, field

from daskjobs.errors import ClusterError


@dataclass(frozen=True)
class ObjectName:
    """One object of a Dask cluster, as receipts and facts name it."""

    kind: str
    name: str
    uid: str


@dataclass(frozen=True)
class Remaining:
    """An object that remains after the time limit, why, and the command that removes it, if there is one."""

    named: ObjectName
    why: str
    command: str = ""

    def to_json(self) -> dict[str, str]:
        """Return the fields as a JSON object, without an empty command."""
        return {**asdict(self.named), "why": self.why, **({"command": self.command} if self.command else {})}


@dataclass(frozen=True)
class Removed:
    """All objects that existed when the removal began or appeared during it, and those that remain.

    ``kept`` are the clusters that were left alone, because their work failed and people want to look at them.
    ``seconds`` were allowed for the removal.
    """

    objects: list[ObjectName] = field(default_factory=list)
    remaining: list[Remaining] = field(default_factory=list)
    kept: list[ObjectName] = field(default_factory=list)
    seconds: float = 0.0

    def to_json(self) -> dict[str, list[dict[str, str]]]:
        """Return the objects by field, as in receipts."""
        return {
            "objects": [asdict(each) for each in self.objects],
            "kept": [asdict(each) for each in self.kept],
            "remaining": [each.to_json() for each in self.remaining],
        }

    def check(self) -> None:
        """Raise ClusterError, with objects, reasons and commands, if anything remains."""
        if self.remaining:
            raise ClusterError(self.trouble)

    @property
    def trouble(self) -> str:
        """What remains, why, and the commands that remove it; an empty text if nothing does."""
        if not self.remaining:
            return ""
        named = [each for each in self.remaining if each.command] or self.remaining
        names = "; ".join(f"{each.named.kind} {each.named.name}: {each.why}" for each in named)
        others = len(self.remaining) - len(named)
        commands = " && ".join(each.command for each in named if each.command)
        return (
            f"still there {self.seconds:.0f} s after the Dask cluster was deleted: {names}"
            f"{f' ({others} more objects go with it)' if others else ''}"
            f"{f'; to remove it at once: {commands}' if commands else ''}"
        )
