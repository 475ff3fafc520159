"""Bundles of a job, opened under the job's rule about signatures."""

from aepipe.bundles.aliases import CHAMPION
from aepipe.bundles.bundle import Bundle
from aepipe.config.job import Job


def open_bundle(job: Job, name: str = CHAMPION, *, checks_graphs: bool = True) -> Bundle:
    """Open a version of the job's model, or the one with this alias; `checks_graphs` as for `Bundle.open`.

    Raises BundleNotFound, BundleTooNew, BundleCorrupt, and SignatureInvalid if `[run] public_key` names a key that did
    not sign the version.
    """
    path = job.bundle_path.with_name(f"{job.bundle_path.name}@{name}")
    return Bundle.open(path, public_key=job.public_key_path, checks_graphs=checks_graphs)
