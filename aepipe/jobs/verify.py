"""Verify bundles and outputs against their manifests."""

from pathlib import Path

from aepipe.bundles import active_calibration as recalibration
from aepipe.bundles.aliases import locate
from aepipe.bundles.bundle import Bundle, manifest_bytes
from aepipe.bundles.registry import Registry
from aepipe.bundles.signature import check_signature
from aepipe.config.job import read_job
from aepipe.errors import AepipeError, BundleNotFound, OptionInvalid
from aepipe.inference.golden_check import check_every_part
from aepipe.jobs.results import Result
from aepipe.jobs.untrusted import verify_untrusted
from aepipe.storage import RUN_KINDS, Outputs
from aepipe.stores import as_path


class Verification(Result):
    """Verified bundles and partitions, and one sentence per fault."""

    checked: tuple[str, ...]
    faults: tuple[str, ...]


def verify(path: str | Path, *, untrusted: bool = False, key: str | Path | None = None) -> Verification:
    """Verify all bundles and outputs of a job, one bundle, or all versions in a folder of bundles.

    A difference is a fault in the result, not an exception.

    Args:
        path: job file, folder of a bundle, or folder of versions.
        untrusted: open each bundle in a child process with limits on memory and time.
        key: PEM file of an ed25519 public key that must have signed each bundle; None: the key of the job, if
            it names one.

    Raises:
        BundleNotFound: there is nothing to verify.
        OptionInvalid: the file of the key holds no ed25519 public key.
    """
    path, public_key = as_path(path), None if key is None else Path(key)
    if path.suffix == ".toml" or (path / "job.toml").is_file():
        job = read_job(path)
        bundles = _verify_bundles(job.bundle_path, untrusted=untrusted, public_key=public_key or job.public_key_path)
        outputs = Outputs(job.out_path)
        checked = [
            f"{m.partition}: {', '.join(sorted(m.files))}" for kind in RUN_KINDS for m in outputs.manifests(kind)
        ]
        found = (*bundles.faults, *recalibration.faults(job.out_path), *outputs.verify())
        return Verification(checked=(*bundles.checked, *checked), faults=found)
    return _verify_bundles(path, untrusted=untrusted, public_key=public_key)


def _verify_bundles(path: Path, *, untrusted: bool, public_key: Path | None) -> Verification:
    versions = [path / name for name in Registry(path).versions()] if path.is_dir() else []
    checked, faults = [], []
    for version in versions or [path]:
        try:
            if untrusted:
                folder = locate(version.resolve())
                if public_key is not None:
                    check_signature(folder, manifest_bytes(folder), public_key)
                name, fault = verify_untrusted(folder)
                if fault is not None:
                    faults.append(fault)
                    continue
            else:
                bundle = Bundle.open(version, public_key=public_key)
                check_every_part(bundle)
                name = bundle.version
            signed = ", and the signature" if public_key is not None else ""
            checked.append(f"bundle {name}: every file, and the golden rows{signed}")
        except (BundleNotFound, OptionInvalid):
            raise
        except AepipeError as error:
            faults.append(str(error))
    if versions:
        try:
            faults += Registry(path).faults()
        except AepipeError as error:
            faults.append(str(error))
    return Verification(checked=tuple(checked), faults=tuple(faults))
