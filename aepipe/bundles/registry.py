"""The versions of one model and the names they bear: what there is, which is champion, and which was."""

import getpass
import logging
import os
import re
from datetime import UTC, datetime
from pathlib import Path

from aepipe.bundles import aliases
from aepipe.bundles.aliases import ALIAS_PATTERN, CHAMPION, LOG_NAME, Naming
from aepipe.bundles.bundle import LOCK, Bundle, read_manifest
from aepipe.errors import BundleCorrupt, BundleTooNew, OptionInvalid
from aepipe.storage import append_line, lock

_WAIT_S = 60.0
_logger = logging.getLogger(__name__)


class Registry:
    """exported/<name>: versions are folders that never change, aliases a log that is only added to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def versions(self) -> tuple[str, ...]:
        """The names of all versions, oldest first; none where there is no such folder."""
        return aliases.versions(self.folder)

    def aliases(self) -> dict[str, str]:
        """The version that each alias stands for now."""
        return aliases.current(self.folder)

    @property
    def has_champion(self) -> bool:
        """Whether a night can do without training: replacing a champion is a decision of its own."""
        return CHAMPION in self.aliases()

    def resolve(self, name: str = CHAMPION) -> Path:
        """The folder of an alias or a version. Raises BundleNotFound."""
        return aliases.resolve(self.folder, name)

    def history(self) -> tuple[Naming, ...]:
        """Every naming there was, oldest first."""
        return aliases.read_log(self.folder)

    def alias_at(self, alias: str, when: datetime) -> str | None:
        """The version that an alias stood for at a time, which has a zone; none: it was not given yet."""
        earlier = [naming for naming in self.history() if naming.alias == alias and naming.when <= when]
        return earlier[-1].version if earlier else None

    def set_alias(self, alias: str, version: str, *, who: str, why: str) -> Naming:
        """From now on `alias` stands for `version`, itself a version or another alias.

        Raises BundleNotFound, BundleCorrupt where the version's files are not whole, OptionInvalid for the alias.
        """
        if re.fullmatch(ALIAS_PATTERN, alias) is None:
            raise OptionInvalid(f"{alias!r} cannot be an alias: a lower-case letter, then letters, digits, - and _")
        bundle = Bundle.open(self.resolve(version))
        with lock(self.folder / LOCK, wait_s=_WAIT_S):
            history = self.history()
            naming = Naming(
                alias=alias,
                version=bundle.path.name,
                previous=self.aliases().get(alias),
                who=who,
                why=why,
                when=max([datetime.now(UTC), *(past.when for past in history)]),  # a clock may be set back
            )
            append_line(self.folder / LOG_NAME, naming.model_dump_json())
        _logger.info("%s of %s is now %s", alias, self.folder, naming.version)
        return naming

    def find_by_training_key(self, key: str) -> Path | None:
        """The newest whole version that was trained with this key; a corrupt one is passed over with a warning."""
        for version in reversed(self.versions()):
            try:
                if read_manifest(self.folder / version).training_key == key:
                    return Bundle.open(self.folder / version).path
            except (BundleCorrupt, BundleTooNew) as error:
                _logger.warning("passed over: %s", error)
        return None


def current_user() -> str:
    """Who runs this process, for the log; a container may give its user no name.

    >>> bool(current_user())
    True
    """
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"
