"""Names and tags of flow runs, by which a person finds a run: job, model version and partitions."""

from collections.abc import Sequence

from flows.prefect_api import FlowRunContext, get_client

MOST_TAGS = 10
"""Partitions that are tags; of more, the first and the last are."""


def label_run(job_name: str, *, model: str = "", partitions: Sequence[str] = ()) -> None:
    """Name the current flow run, and add tags to it; do nothing outside a flow run.

    Args:
        job_name: name of the job.
        model: version of the model; empty: unknown.
        partitions: partitions that the run has written.
    """
    context = FlowRunContext.get()
    if context is None or context.flow_run is None or context.flow is None:
        return
    run = context.flow_run
    with get_client(sync_client=True) as client:
        client.update_flow_run(
            run.id,
            name=run_name(context.flow.name, job_name, model=model, partitions=partitions),
            tags=[*run.tags, *(tag for tag in run_tags(job_name, model, partitions) if tag not in run.tags)],
        )


def run_name(flow: str, job_name: str, *, model: str, partitions: Sequence[str]) -> str:
    """Return the name of a run.

    >>> run_name("nightly", "cells", model="20260101T000000Z-1a2b", partitions=["dt=2026-01-05", "dt=2026-01-06"])
    'nightly cells: dt=2026-01-05 to dt=2026-01-06, model 20260101T000000Z-1a2b'
    """
    span = " to ".join(dict.fromkeys((partitions[0], partitions[-1]))) if partitions else ""
    about = ", ".join(part for part in (span, f"model {model}" if model else "") if part)
    return f"{flow} {job_name}: {about}" if about else f"{flow} {job_name}"


def run_tags(job_name: str, model: str, partitions: Sequence[str]) -> list[str]:
    """Return the tags of a run.

    >>> run_tags("cells", "", ["dt=2026-01-05"])
    ['aepipe', 'cells', 'partition:dt=2026-01-05']
    """
    named = list(partitions) if len(partitions) <= MOST_TAGS else [partitions[0], partitions[-1]]
    tags = ["aepipe", job_name, *([f"model:{model}"] if model else [])]
    return [*tags, *(f"partition:{name}" for name in named)]
