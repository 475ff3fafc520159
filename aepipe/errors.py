"""Errors that a user can fix, one class for each remedy."""

import difflib
import re
from collections.abc import Iterable, Sequence, Set
from typing import Self

_LEAST_SIMILARITY = 0.6  # difflib ratio: accepts two swapped letters in a name of three


class AepipeError(Exception):
    """Root of all errors; the message states expected, got, and remedy."""


class JobInvalid(AepipeError):
    """The job file is wrong. Remedy: edit the job; `faults` lists every fault at once."""

    def __init__(self, source: str, faults: Sequence[str]) -> None:
        self.source = source
        self.faults = tuple(faults)
        super().__init__(f"{source}: " + "; ".join(self.faults))

    def __reduce__(self) -> tuple[type[Self], tuple[str, tuple[str, ...]]]:
        return type(self), (self.source, self.faults)


class ArgumentInvalid(JobInvalid):
    """An argument of a call or command is wrong; `source` is its plain name, the command line adds the dashes."""


class TableInvalid(AepipeError, TypeError):
    """A value is not a table. Remedy: pass a data frame or an Arrow table."""


class OptionInvalid(AepipeError):
    """A model option cannot be used on this data. Remedy: change [model] or [train]."""


class SchemaMismatch(AepipeError):
    """The data do not have the columns that the job or the bundle needs. Remedy: retrain, or fix the data."""

    def __init__(self, source: str, faults: Sequence[str]) -> None:
        self.source = source
        self.faults = tuple(faults)
        super().__init__(f"{source} " + "; ".join(self.faults))

    def __reduce__(self) -> tuple[type[Self], tuple[str, tuple[str, ...]]]:
        return type(self), (self.source, self.faults)


class DataUnreadable(AepipeError):
    """A Parquet file is corrupt, truncated or missing. Remedy: write the file again."""


class StoreUnavailable(AepipeError):
    """An object store refuses or does not answer. Remedy: as the message says; committed outputs are unchanged."""


class UrlInvalid(AepipeError, ValueError):
    """A URL does not name a place in an object store. Remedy: correct it, or name a local path."""


class LocalPathNeeded(AepipeError):
    """A place in an object store was named where a local path is needed. Remedy: copy it, or name a local path."""


class PartitionInvalid(AepipeError):
    """A partition name cannot be used as an output folder. Remedy: rename its folder or file."""


class TooManyInvalid(AepipeError):
    """More rows cannot be scored than the job allows. Remedy: check the source, or raise the limit."""


class BundleCorrupt(AepipeError):
    """A bundle's bytes differ from the exported ones. Remedy: restore it, or train again."""


class SignatureInvalid(AepipeError):
    """A bundle has no valid signature by the named key. Remedy: sign it, or name the key that signed it."""


class BundleTooNew(AepipeError):
    """A newer aepipe wrote this bundle. Remedy: upgrade aepipe, or train again with this one."""


class BundleNotFound(AepipeError):
    """No bundle of that name, version or alias. Remedy: train, or name one that exists."""


class DeviceUnavailable(AepipeError):
    """The requested device cannot be used. Remedy: set device = "auto", or fix the driver."""


class PublishFailed(AepipeError):
    """A table of another format cannot be written. Remedy: as the message says; committed outputs are unchanged."""


class ClusterUnavailable(AepipeError):
    """A cluster does not answer or lacks resources. Remedy: check its address and its nodes."""


class TrainingDiverged(AepipeError):
    """The loss is not finite. Remedy: lower the learning rate, or check the data."""


class ExportFailed(AepipeError):
    """An exported graph differs from the network. Remedy: report it; nothing was published."""


class ExtraMissing(AepipeError, ModuleNotFoundError):
    """A package of an optional part is not installed. Remedy: install the extra that the message names."""


class OutputsTaken(AepipeError):
    """The folder of the outputs belongs to another job. Remedy: name another folder."""


class Busy(AepipeError):
    """Another process holds the lock of this partition or registry. Remedy: wait for it."""


class CalibrationInvalid(AepipeError):
    """The calibration rows do not support the request. Remedy: give more rows, or another alpha."""


class EvaluationInvalid(AepipeError):
    """Labels or scores do not support the measure. Remedy: give scored rows of both classes."""


def did_you_mean(name: str, known: Iterable[str], *, most: int = 1, listed: int = 0) -> str:
    """Return the end of a message about an unknown name: the known names that are close, upper and lower case alike.

    >>> did_you_mean("amout", ["age", "amount"]), did_you_mean("shop", ["age", "amount"], listed=20)
    ("; did you mean 'amount'?", ': expected one of age, amount')

    Args:
        name: the unknown name.
        known: the names to choose from, in the order of the message; a set is sorted.
        most: the most names to suggest.
        listed: the most names to list if none is close; 0 returns an empty string instead.
    """
    names = sorted(known) if isinstance(known, Set) else list(dict.fromkeys(known))
    lower: dict[str, str] = {}
    for each in names:
        lower.setdefault(each.lower(), each)
    near = difflib.get_close_matches(name.lower(), list(lower), n=most, cutoff=_LEAST_SIMILARITY)
    if near:
        return f"; did you mean {' or '.join(repr(lower[each]) for each in near)}?"
    return (
        f": expected one of {', '.join(names[:listed])}{', ...' if len(names) > listed else ''}"
        if listed and names
        else ""
    )


class DeliveryFailed(AepipeError):
    """A message was not delivered. Remedy: check the address, the server and the network."""


def describe_failure(error: BaseException) -> str:
    """Return the reason of a failed connection or file access, without a number.

    >>> describe_failure(ConnectionRefusedError(111, "Connection refused"))
    'Connection refused'
    """
    inner = getattr(error, "reason", error)
    if isinstance(inner, OSError) and inner.strerror:
        return str(inner.strerror)
    return " ".join(re.sub(r"\[Errno -?\d+\]", "", str(inner)).split()) or type(error).__name__


def first_line(error: BaseException) -> str:
    r"""Return the first line of an error's message without its full stop, or its class if it has no message.

    >>> first_line(ValueError("no such table.\nstack of the driver")), first_line(KeyError())
    ('no such table', 'KeyError')
    """
    text = str(error).strip()
    return text.splitlines()[0].rstrip(".") if text else type(error).__name__
