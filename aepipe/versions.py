"""Versions of installed packages."""

import importlib.metadata
from collections.abc import Iterable


def version(package: str) -> str | None:
    """Return the installed version of a package; None if it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Return the versions of the installed ones among these packages.

    >>> list(versions(["aepipe", "no-such-package"]))
    ['aepipe']
    """
    found = {package: version(package) for package in packages}
    return {package: number for package, number in found.items() if number is not None}
