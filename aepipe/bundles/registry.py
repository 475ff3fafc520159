"""Registry of the versions of one model: versions, aliases, and their history."""

import getpass
import logging
import os
import re
from collections.abc import Collection
from datetime import UTC, datetime
from pathlib import Path

from aepipe.bundles import aliases
from aepipe.bundles.aliases import ALIAS_PATTERN, CHAMPION, LOG_NAME, Naming
from aepipe.bundles.bundle import LOCK, read_manifest, verify_bundle
from aepipe.errors import BundleCorrupt, BundleTooNew, OptionInvalid
from aepipe.storage import digest_bytes, lock, put_bytes
from aepipe.storage.atomic_folders import remove_folder
from aepipe.storage.chained_log import append_chained
from aepipe.storage.regular_files import read_regular

EVIDENCE = "promotions"
"""Folder of the promotion reports; the alias log names them by their digest."""

_MOST_EVIDENCE_BYTES = 64 << 20
_WAIT_S = 60.0
_logger = logging.getLogger(__name__)


class Registry:
    """Versions and aliases in exported/<name>: immutable version folders and an append-only alias log."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def versions(self) -> tuple[str, ...]:
        """Return the names of all versions, oldest first; empty if the folder does not exist."""
        return aliases.versions(self.folder)

    def aliases(self) -> dict[str, str]:
        """Return the current version of each alias."""
        return aliases.current(self.folder)

    @property
    def has_champion(self) -> bool:
        """True if there is a champion; nightly runs then skip training, since replacing it is a separate decision."""
        return CHAMPION in self.aliases()

    def resolve(self, name: str = CHAMPION) -> Path:
        """Return the folder of an alias or a version. Raises BundleNotFound."""
        return aliases.resolve(self.folder, name)

    def history(self) -> tuple[Naming, ...]:
        """Return all alias entries, oldest first."""
        return aliases.read_log(self.folder)

    def alias_at(self, alias: str, when: datetime) -> str | None:
        """Return the version of an alias at a time with a time zone; None if the alias did not exist then."""
        earlier = [naming for naming in self.history() if naming.alias == alias and naming.when <= when]
        return earlier[-1].version if earlier else None

    def version_before(self, alias: str) -> str | None:
        """Return the version that a rollback of the alias restores; None if there is no earlier one.

        A rollback undoes the latest change that is not undone yet, so that repeated rollbacks go further back.
        """
        changes: list[str] = []
        for naming in self.history():
            if naming.alias != alias:
                continue
            if naming.is_rollback and len(changes) > 1:
                changes.pop()
            elif not changes or changes[-1] != naming.version:
                changes.append(naming.version)
        return changes[-2] if len(changes) > 1 else None

    def set_alias(
        self,
        alias: str,
        version: str,
        *,
        who: str,
        why: str,
        evidence: str | None = None,
        is_rollback: bool = False,
    ) -> Naming:
        """Set an alias to a version from now on.

        Args:
            alias: the alias.
            version: a version or another alias.
            who: user who sets it.
            why: reason, for the log.
            evidence: digest of the promotion report behind the change.
            is_rollback: the change undoes the one before it.

        Raises:
            BundleNotFound: there is no such version.
            BundleCorrupt: the files of the version are damaged.
            OptionInvalid: the alias is not a valid name.
        """
        if re.fullmatch(ALIAS_PATTERN, alias) is None:
            raise OptionInvalid(
                f"{alias!r} is not an alias: expected a lower-case letter, then lower-case letters, digits, - and _."
            )
        verified = verify_bundle(self.resolve(version))
        with lock(self.folder / LOCK, wait_s=_WAIT_S):
            history = self.history()
            naming = Naming(
                alias=alias,
                version=verified.name,
                previous=self.aliases().get(alias),
                who=who,
                why=why,
                when=max([datetime.now(UTC), *(past.when for past in history)]),  # a clock may be set back
                **({"evidence": evidence} if evidence is not None else {}),
                **({"is_rollback": True} if is_rollback else {}),
            )
            naming = aliases.chained(naming, aliases.log_bytes(self.folder))
            append_chained(self.folder / LOG_NAME, naming.to_line())
        _logger.info("%s of %s is now %s", alias, self.folder, naming.version)
        return naming

    def unused(self, used: Collection[str]) -> tuple[str, ...]:
        """Return the versions before the champion that are not in `used` and that no alias refers to.

        The version that a rollback restores is kept.
        """
        current = {naming.alias: naming for naming in self.history()}
        if CHAMPION not in current:
            return ()
        kept = {version for naming in current.values() for version in (naming.version, naming.previous)}
        kept.add(self.version_before(CHAMPION))
        champion = current[CHAMPION].version
        return tuple(name for name in self.versions() if name < champion and name not in kept and name not in used)

    def remove(self, versions: Collection[str]) -> None:
        """Remove versions; readers see each of them whole or not at all."""
        with lock(self.folder / LOCK, wait_s=_WAIT_S):
            for version in versions:
                remove_folder(self.folder / version)

    def put_evidence(self, report: bytes) -> str:
        """Store a promotion report and return its digest, for `set_alias`."""
        digest = digest_bytes(report)
        put_bytes(self.evidence_path(digest), report)
        return digest

    @property
    def evidence_folder(self) -> Path:
        """Folder of the promotion reports, also of challengers that were refused."""
        return self.folder / EVIDENCE

    def evidence_path(self, digest: str) -> Path:
        """Return the path of the promotion report with this digest."""
        return self.evidence_folder / f"{digest.rpartition(':')[2]}.json"

    def faults(self) -> list[str]:
        """Return one message for each change of the alias log, and each promotion report that is absent or changed.

        Raises:
            BundleCorrupt: the log cannot be read.
        """
        found = aliases.log_faults(self.folder)
        for digest in dict.fromkeys(naming.evidence for naming in self.history() if naming.evidence is not None):
            path = self.evidence_path(digest)
            try:
                is_intact = digest_bytes(read_regular(path, most=_MOST_EVIDENCE_BYTES)) == digest
            except OSError as error:
                found.append(f"{path} cannot be read: {error.strerror}. Restore it from a copy.")
                continue
            if not is_intact:
                found.append(f"{path} was changed after it was written: its digest differs. Restore it from a copy.")
        return found

    def find_by_training_key(self, key: str) -> Path | None:
        """Return the newest intact version with this training key; warn about corrupt ones and skip them."""
        for version in reversed(self.versions()):
            try:
                if read_manifest(self.folder / version).training_key == key:
                    return verify_bundle(self.folder / version)
            except (BundleCorrupt, BundleTooNew) as error:
                _logger.warning("version skipped: %s", error)
        return None


def current_user() -> str:
    """Return the user of this process, for the log; the user id if a container has no user name.

    >>> bool(current_user())
    True
    """
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"
