"""Check of a new model on the last partitions it was trained on, where a drift shows first."""

from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from aepipe.config.job import Job
from aepipe.inference.table_model import TableModel
from aepipe.jobs.alarm_warnings import alarm_warning
from aepipe.tables.parquet_reader import slices
from aepipe.tables.partitions import Partition

ENOUGH_ROWS = 1_000
MOST_ROWS = 5_000
_BATCH_ROWS = 1_024  # rows of images are large


def last_partition_warning(job: Job, bundle: Path, partitions: tuple[Partition, ...]) -> str | None:
    """Return a warning if far more rows of the last training partitions are flagged than alpha, else None.

    Rows that `[train] where` excludes are left out. A single partition has no later rows to check, and the threshold
    of a series job follows the latest points.

    Args:
        job: the job.
        bundle: folder of the new version.
        partitions: training partitions, in order; as many of the last ones are read as hold 1,000 rows.
    """
    if len(partitions) < 2 or job.series is not None:
        return None
    model, condition = TableModel.open(bundle, device="cpu"), job.train.condition
    schema = model.bundle.encoding.schema
    columns = list(dict.fromkeys([*schema.columns_read, *(condition.columns if condition is not None else ())]))
    rows = flagged = 0
    reasons: Counter[str] = Counter()
    names: list[str] = []
    for partition in reversed(partitions[1:]):
        if rows >= ENOUGH_ROWS:
            break
        names.append(partition.name)
        for batch in slices(partition.files, columns, rows=_BATCH_ROWS, schema=schema.arrow):
            kept = batch if condition is None else batch.filter(condition.mask(batch))
            scores = model.score(pa.Table.from_batches([kept]).slice(0, MOST_ROWS - rows))
            is_flagged = scores["is_anomaly"]
            rows += scores.num_rows - scores["score"].null_count
            flagged += pc.sum(is_flagged).as_py() or 0
            if "reason_1" in scores.column_names:
                reasons.update(scores["reason_1"].filter(is_flagged).to_pylist())
            if rows >= MOST_ROWS:
                break
    subject = "the model on its own last training partition" + (f"s, {names[-1]} to {names[0]}" if names[1:] else "")
    ordered = dict(reasons.most_common())
    calibration = model.bundle.calibration
    return alarm_warning(subject, flagged, rows, calibration=calibration, reasons=ordered)
