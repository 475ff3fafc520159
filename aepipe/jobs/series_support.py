"""Commands that work on rows and have no meaning for the points of a series job."""

from pathlib import Path

from aepipe.config.job import Job, read_job
from aepipe.errors import JobInvalid

SCORES = "Read the columns channel and windows of its scores, or its events"
ROWS = "Remove [series] to model each row by itself"


def read_rows_job(job_path: str | Path, command: str, remedy: str = ROWS) -> Job:
    """Read a job of rows. Raises JobInvalid as `read_job`, and if the job is a series job.

    Args:
        job_path: the job file.
        command: what was asked for, such as `sample`.
        remedy: what to do instead, as an imperative without a period.
    """
    job = read_job(job_path)
    if job.series is not None:
        raise JobInvalid(
            str(job.source), [f"is a series job, which {command} cannot use: expected a job of rows. {remedy}"]
        )
    return job
