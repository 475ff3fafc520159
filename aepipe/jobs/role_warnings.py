"""Warnings about columns that a model sees although the job uses them as ground truth."""

from collections.abc import Collection, Iterator

from aepipe.config.job import Job
from aepipe.tables.schema import Schema


def modelled_label_warnings(
    job: Job, schema: Schema, *, version: str | None = None, used: Collection[str] = ()
) -> Iterator[str]:
    """Yield a warning for each modelled column that the job uses as ground truth.

    Args:
        job: the job as it is now; it may have changed since the model was trained.
        schema: columns of the model.
        version: version of the model, for the message; None while it is trained.
        used: more columns that hold the ground truth, as options of an evaluation may say.
    """
    modelled = {column.name for column in schema.modelled}
    condition = job.evaluate.anomaly_condition
    named = dict.fromkeys(sorted(used), "it holds the ground truth")
    named |= {} if condition is None else dict.fromkeys(sorted(condition.columns), "[evaluate] anomaly uses it")
    labels = [*job.data.labels, *(name for name, spec in job.columns.items() if spec.kind == "label")]
    named |= dict.fromkeys(labels, "the job names it as a label")
    for name, why in named.items():
        if name in modelled and version is None:
            yield (
                f"column '{name}' is modelled although {why}, so that the scores use the answer. "
                f"Name {name} under [data] labels."
            )
        elif name in modelled:
            remedy = "" if name in labels else f"Name {name} under [data] labels, and train"
            yield (
                f"{version} models column '{name}' although {why}, so that its scores use the answer. "
                f"{remedy or 'Train'} again: aepipe train {job.source}"
            )
