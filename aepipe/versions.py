"""Which packages there are, and in what version."""

import importlib.metadata
from collections.abc import Iterable


def version(package: str) -> str | None:
    """The version that is installed; None where there is none."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Those of these packages that are installed, with their versions.

    >>> list(versions(["aepipe", "no-such-package"]))
    ['aepipe']
    """
    found = {package: version(package) for package in packages}
    return {package: number for package, number in found.items() if number is not None}
