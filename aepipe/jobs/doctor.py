"""Check what a run needs: libraries, device, disk, and the files of a job."""

import os
import shutil
import sys
from pathlib import Path

from aepipe import versions as installed
from aepipe.config.job import Job, read_job
from aepipe.errors import AepipeError, ExtraMissing, StoreUnavailable, describe_failure
from aepipe.jobs.results import Result
from aepipe.jobs.scheduler.checks import check_scheduler
from aepipe.stores import StorePath

BOUNDS = {"prefect": ("3.8.8", "3.10"), "fastapi": ("0.139", "0.151"), "sqlalchemy": ("2.0", "2.1")}
"""Outside these bounds the Prefect server does not start, or never creates a scheduled run."""

_REINSTALL = "pip install --force-reinstall --no-deps onnxruntime-gpu"

LEAST_FREE_BYTES = 1_000_000_000


class Check(Result):
    """One check."""

    what: str
    found: str
    ok: bool


class Health(Result):
    """All checks."""

    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """True if all checks passed."""
        return all(check.ok for check in self.checks)


def doctor(job_path: str | Path | None = None, *, fix: bool = False) -> Health:
    """Check the machine and, if given, a job; a fault is a failed check, never an exception.

    Args:
        job_path: job file to check too.
        fix: repair what can be repaired without a loss: remove the pid file of a dead Prefect server.
    """
    from aepipe.inference.session import usable_device

    python = ".".join(map(str, sys.version_info[:3]))
    device, why = usable_device("auto")
    checks = [
        Check(what="Python 3.11 or newer", found=python, ok=sys.version_info >= (3, 11)),
        *_libraries(),
        Check(what="device", found=f"{device} ({why})", ok=True),
        *(Check(what=each.what, found=each.found, ok=each.ok) for each in check_scheduler(os.environ, fix=fix)),
    ]
    if job_path is not None:
        checks += _job_checks(job_path)
    return Health(checks=tuple(checks))


def _libraries() -> list[Check]:
    checks = []
    for name in ("torch", "onnx", "pyarrow", "pandas"):
        version, extra = installed.version(name), installed.EXTRAS.get(name)
        checks.append(Check(what=name, found=version or _absent(extra), ok=version is not None or extra is not None))
    runtime = [name for name in ("onnxruntime-gpu", "onnxruntime") if installed.version(name)]
    found = ", ".join(f"{name} {installed.version(name)}" for name in runtime) or "not installed"
    if len(runtime) > 1:
        found += f"; they share a folder. Run: pip uninstall -y onnxruntime, then {_REINSTALL}"
    checks.append(Check(what="one onnxruntime", found=found, ok=len(runtime) == 1))
    for name, (low, high) in BOUNDS.items():
        version = installed.version(name)
        ok = version is None or _numbers(low) <= _numbers(version) < _numbers(high)
        checks.append(Check(what=f"{name} from {low}, below {high}", found=version or _absent("flows"), ok=ok))
    return checks


def _absent(extra: str | None) -> str:
    return "not installed" if extra is None else f'not installed; pip install "aepipe[{extra}]" brings it'


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("+")[0].split(".") if part.isdigit())


def _job_checks(job_path: str | Path) -> list[Check]:
    try:
        job = read_job(job_path)
    except AepipeError as error:
        return [Check(what="job file", found=str(error), ok=False)]
    return [
        Check(what="job file", found=str(job.source), ok=True),
        _model(job),
        _device(job),
        _table(job),
        _bundle(job),
        _outputs(job),
        _writable("outputs can be written", job.out_path),
        _writable("bundles can be written", job.bundle_path),
        _disk(job),
    ]


def _model(job: Job) -> Check:
    try:
        with installed.named_extras():
            from aepipe.models.families import find

        family = find(job.model.family)
    except ExtraMissing as error:
        found = f"{job.model.family}: not checked, training needs {error.name}, which is not installed"
        return Check(what="model", found=found, ok=True)
    except AepipeError as error:
        return Check(what="model", found=str(error), ok=False)
    return Check(what="model", found=f"{family.name}: {family.summary}", ok=True)


def _device(job: Job) -> Check:
    from aepipe.inference.session import usable_device

    try:
        device, why = usable_device(job.run.device)
    except AepipeError as error:
        return Check(what=f"device '{job.run.device}'", found=str(error), ok=False)
    return Check(what=f"device '{job.run.device}'", found=f"{device} ({why})", ok=True)


def _table(job: Job) -> Check:
    from aepipe.jobs.inspect import inspect

    try:
        seen = inspect(job.source)
    except AepipeError as error:
        return Check(what="data", found=str(error), ok=False)
    rows = sum(part.rows for part in seen.partitions)
    faults = [note for note in seen.notes if "is ignored" not in note]
    found = "; ".join(faults) or f"{rows:,} rows in {len(seen.partitions)} partitions"
    return Check(what="data", found=found, ok=not faults)


def _bundle(job: Job) -> Check:
    from aepipe.bundles.job_bundle import open_bundle

    try:
        bundle = open_bundle(job)
    except AepipeError as error:
        return Check(what="bundle", found=str(error), ok=False)
    return Check(what="bundle", found=bundle.version, ok=True)


def _outputs(job: Job) -> Check:
    from aepipe.storage import SCORE, Outputs

    outputs = Outputs(job.out_path)
    try:
        outputs.manifests(SCORE)
        quarantined = outputs.quarantined()
    except StoreUnavailable as error:
        return Check(what="outputs", found=str(error), ok=False)
    except OSError as error:
        found = f"{error.filename or job.out_path} cannot be read: {describe_failure(error)}. Grant read permission."
        return Check(what="outputs", found=found, ok=False)
    found = "; ".join(f"{name} is quarantined: {why}" for name, why in quarantined.items())
    return Check(what="outputs", found=found or f"no partition of {job.out_path} is quarantined", ok=not quarantined)


def _writable(what: str, folder: Path) -> Check:
    """Write a file to a folder, and remove it: permissions alone say nothing about a read-only or a full disk."""
    from aepipe.storage import refuse_unwritable

    try:
        refuse_unwritable(folder)
    except StoreUnavailable as error:
        return Check(what=what, found=str(error), ok=False)
    except OSError as error:
        found = f"{folder} cannot be written: {error.strerror}. Free space, or grant write permission."
        return Check(what=what, found=found, ok=False)
    return Check(what=what, found=str(folder), ok=True)


def _disk(job: Job) -> Check:
    from aepipe.storage.paths import local_staging

    folder = local_staging(str(job.out_path)) if isinstance(job.out_path, StorePath) else job.out_path
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    return Check(what="disk", found=f"{free / 1e9:,.1f} GB free at {folder}", ok=free > LEAST_FREE_BYTES)
