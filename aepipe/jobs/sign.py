"""Sign a bundle."""

from pathlib import Path

from aepipe.bundles.bundle import Bundle, manifest_bytes
from aepipe.bundles.signature import SIGNATURE, sign_manifest
from aepipe.config.job import read_job
from aepipe.jobs.results import Result
from aepipe.stores import as_path


class SignResult(Result):
    """Signed version: its name, the public key as hex digits, and the file of the signature."""

    version: str
    public_key: str
    path: Path


def sign(path: str | Path, key: str | Path) -> SignResult:
    """Sign a bundle whose files are intact.

    Args:
        path: folder of a version, exported/<name> or exported/<name>@<alias>, or a job file, for its champion.
        key: PEM file of an ed25519 private key.

    Raises:
        BundleNotFound: there is no such bundle.
        BundleCorrupt: a file differs from the exported one.
        OptionInvalid: the file holds no ed25519 private key.
        ExtraMissing: the package `cryptography` is not installed.
    """
    path = as_path(path)
    is_job = path.suffix == ".toml" or (path / "job.toml").is_file()
    bundle = Bundle.open(read_job(path).bundle_path if is_job else path)
    signature = sign_manifest(bundle.path, manifest_bytes(bundle.path), Path(key))
    return SignResult(version=bundle.version, public_key=signature.public_key, path=bundle.path / SIGNATURE)
