"""Decisions about a first job file, in place of what is proposed."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from aepipe.errors import ArgumentInvalid, DataUnreadable, did_you_mean
from aepipe.tables.partitions import Partition, select, well_placed
from aepipe.tables.roles.proposal import Proposal, Role

TRAINING_SHARE = 0.7
"""Share of the partitions that the proposed split learns from."""
_FEWEST_PARTITIONS = 4
_NAMED = "chosen by name"


class Choice(NamedTuple):
    """Decisions about a job file; None: as proposed. An empty tuple or text: none."""

    keys: tuple[str, ...] | None = None
    event_time: str | None = None
    labels: tuple[str, ...] | None = None
    entity: tuple[str, ...] | None = None
    train_to: str | None = None
    """last partition to learn from; None: all are learned from"""

    @property
    def roles(self) -> Mapping[Role, tuple[str, ...]]:
        """Columns by the role that was decided."""
        time = None if self.event_time is None else tuple(filter(None, [self.event_time]))
        decided: dict[Role, tuple[str, ...] | None] = {"key": self.keys, "event_time": time, "label": self.labels}
        return {role: names for role, names in decided.items() if names is not None}


AS_PROPOSED = Choice()


class Draft(NamedTuple):
    """Proposals of a first job file, for a person to decide about."""

    columns: tuple[str, ...]
    proposals: tuple[Proposal, ...]
    partitions: tuple[Partition, ...]

    def proposed(self, role: Role) -> tuple[str, ...]:
        """Return the columns that are proposed for a role."""
        return tuple(proposal.column for proposal in self.proposals if proposal.role == role)

    @property
    def split(self) -> tuple[str, int, int] | None:
        """Last partition to learn from, the number of partitions up to it, and of all; None if they are few."""
        names = [partition.name for partition in well_placed(self.partitions)]
        if len(names) < _FEWEST_PARTITIONS:
            return None
        count = round(TRAINING_SHARE * len(names))
        return names[count - 1], count, len(names)

    def check(self, choice: Choice) -> None:
        """Raise ArgumentInvalid if the table has no such column or partition, or if a column has two roles."""
        options = {"key": choice.keys, "event_time": tuple(filter(None, [choice.event_time])), "label": choice.labels}
        for option, names in {**options, "entity": choice.entity}.items():
            faults = [f"the table has no column '{name}'{self._similar(name)}" for name in _absent(names, self.columns)]
            if faults:
                raise ArgumentInvalid(option, faults)
        taken: dict[str, Role] = {}
        for role, names in choice.roles.items():
            for name in names:
                if taken.setdefault(name, role) != role:
                    raise ArgumentInvalid(role, [f"'{name}' is the {_word(taken[name])} too. Name it once."])
        if choice.train_to:
            try:
                select(self.partitions, None, choice.train_to)
            except DataUnreadable as error:
                raise ArgumentInvalid("train_to", [str(error)]) from None

    def decide(self, choice: Choice) -> tuple[Proposal, ...]:
        """Return the proposals with the roles that were decided."""
        self.check(choice)
        decided = choice.roles
        named = {name for names in decided.values() for name in names}
        kept = [
            proposal
            for proposal in self.proposals
            if proposal.column in decided.get(proposal.role, ())
            or (proposal.role not in decided and proposal.column not in named)
        ]
        known = {(proposal.column, proposal.role) for proposal in kept}
        chosen = [
            Proposal(name, role, _NAMED)
            for role, names in decided.items()
            for name in dict.fromkeys(names)
            if (name, role) not in known
        ]
        return (*kept, *chosen)

    def _similar(self, name: str) -> str:
        return did_you_mean(name, self.columns, listed=20)


def _absent(names: Iterable[str] | None, columns: Sequence[str]) -> list[str]:
    return [name for name in names or () if name not in columns]


def _word(role: Role) -> str:
    return {"key": "key", "event_time": "event time", "label": "label", "ignore": "ignored column"}[role]
