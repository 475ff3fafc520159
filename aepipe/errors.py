"""Everything that a user can put right, one class for each remedy."""

from collections.abc import Sequence


class AepipeError(Exception):
    """The root: a sentence that says what was expected, what was found and what to do."""


class JobInvalid(AepipeError):
    """The job file is wrong. Remedy: edit the job; `faults` lists every fault at once."""

    def __init__(self, source: str, faults: Sequence[str]) -> None:
        self.source = source
        self.faults = tuple(faults)
        super().__init__(f"{source}: " + "; ".join(self.faults))


class ArgumentInvalid(JobInvalid):
    """An argument of a call or command is wrong: `source` is its plain name, the command line adds the dashes."""


class OptionInvalid(AepipeError):
    """A model option cannot be used on this data. Remedy: change [model] or [train]."""


class SchemaMismatch(AepipeError):
    """The data do not have the columns that the job or the bundle needs. Remedy: retrain, or fix the data."""

    def __init__(self, source: str, faults: Sequence[str]) -> None:
        self.source = source
        self.faults = tuple(faults)
        super().__init__(f"{source} " + "; ".join(self.faults))


class DataUnreadable(AepipeError):
    """A Parquet file is corrupt, truncated or absent. Remedy: write the file again."""


class PartitionInvalid(AepipeError):
    """A partition's name cannot be a folder of the outputs. Remedy: rename its folder or file."""


class TooManyInvalid(AepipeError):
    """More rows cannot be scored than the job allows. Remedy: look at the source, or raise the share."""


class BundleCorrupt(AepipeError):
    """A bundle's bytes are not the ones that were exported. Remedy: restore it, or train again."""


class BundleTooNew(AepipeError):
    """A newer aepipe wrote this bundle. Remedy: upgrade aepipe, or train again with this one."""


class BundleNotFound(AepipeError):
    """No bundle of that name, version or alias. Remedy: train, or name one that exists."""


class DeviceUnavailable(AepipeError):
    """The job asks for a device that cannot be used. Remedy: device = "auto", or mend the driver."""


class TrainingDiverged(AepipeError):
    """The loss is not finite. Remedy: a lower learning rate, or look at the data."""


class ExportFailed(AepipeError):
    """An exported graph does not answer as the network does. Remedy: report it; nothing was published."""


class Busy(AepipeError):
    """Another process holds the lock of this partition or registry. Remedy: wait for it."""


class CalibrationInvalid(AepipeError):
    """The calibration rows cannot support what is asked. Remedy: more rows, or another alpha."""


class EvaluationInvalid(AepipeError):
    """Labels or scores do not support the measure. Remedy: rows of both classes, all of them scored."""
