"""Report page of a model: made only if something that it shows has changed."""

from pathlib import Path

from aepipe.config.job import read_job
from aepipe.jobs.report.page_state import is_current, page_state
from aepipe.jobs.results import Result
from aepipe.progress import Progress


class WrittenPage(Result):
    """Path of the page, and whether it was written now; False: nothing on it has changed since it was written."""

    path: Path
    created: bool = True


def report_if_changed(
    job_path: str | Path, *, model: str = "champion", force: bool = False, progress: Progress | None = None
) -> WrittenPage:
    """Return the page that `report` would write, and write it unless it is there and nothing on it has changed.

    Args:
        job_path: the job file.
        model: alias or version of the model.
        force: write the page although nothing on it has changed.
        progress: called with stage and fraction.

    Raises:
        BundleNotFound: there is no model.
        DataUnreadable: the model has not scored any partition.
    """
    job = read_job(job_path)
    state = None if force else page_state(job, model)
    if state is not None and is_current(job, model, state):
        return WrittenPage(path=state.path, created=False)
    from aepipe.jobs.report.report import report  # figures and baselines take a second to import

    return report(job_path, model=model, progress=progress)
