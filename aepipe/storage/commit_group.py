"""Commits of several small partitions that are published together: folders that they share are synced once."""

from contextlib import ExitStack
from typing import Any

from aepipe.storage.commit import Commit, publish


class CommitGroup:
    """Staged commits of one thread; their locks are held until they are published."""

    def __init__(self) -> None:
        self._commits: list[Commit[Any]] = []
        self._held = ExitStack()

    def __len__(self) -> int:
        return len(self._commits)

    def add(self, commit: Commit[Any], held: ExitStack) -> None:
        """Add a staged commit.

        Args:
            commit: the commit.
            held: contexts of the commit, which are left when it is published or discarded.
        """
        self._commits.append(commit)
        self._held.push(held)

    def publish(self) -> None:
        """Publish all commits and release their locks; where that fails, discard those whose outputs are still old.

        Raises:
            OSError: a file cannot be written.
        """
        commits, self._commits = self._commits, []
        held, self._held = self._held, ExitStack()
        with held:
            if commits:
                publish(commits)
