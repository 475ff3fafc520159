"""Bundles of a job, opened under the job's rule about signatures."""

from aepipe.bundles.aliases import CHAMPION
from aepipe.bundles.bundle import Bundle
from aepipe.config.job import Job


def open_bundle(job: Job, name: str = CHAMPION) -> Bundle:
    """Open a version of the job's model, or the one with this alias.

    Raises BundleNotFound, BundleTooNew, BundleCorrupt, and SignatureInvalid if `[run] public_key` names a key that did
    not sign the version.
    """
    return Bundle.open(job.bundle_path.with_name(f"{job.bundle_path.name}@{name}"), public_key=job.public_key_path)
