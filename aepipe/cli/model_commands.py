"""Commands about the versions of a model: `aepipe models`, `aepipe export`, `aepipe promote` and `aepipe rollback`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aepipe.cli import options
from aepipe.cli.console import print_json, print_table, print_text, progress_bar

if TYPE_CHECKING:  # help is shown without them
    from aepipe.jobs.serving.hugging_face import HubFolder
    from aepipe.jobs.serving.mlflow_log import MlflowRecord
    from aepipe.jobs.serving.triton import TritonResult

Why = Annotated[str, typer.Option(help="Reason, kept in the log.")]


def models(
    job: options.JobPath = options.HERE,
    words: Annotated[
        list[str] | None, typer.Argument(metavar="[diff A B]", help="Compare two versions or aliases.")
    ] = None,
    promote: Annotated[str | None, typer.Option(help="Version that gets the alias, without any check.")] = None,
    alias: Annotated[str, typer.Option(help="Alias to set, or to look up with --on.")] = "champion",
    why: Why = "",
    on: Annotated[
        str | None,
        typer.Option(metavar="DATE", help="Print the version that was champion at the end of this day, UTC."),
    ] = None,
    log_mlflow: Annotated[
        bool, typer.Option("--log-mlflow", help="Log the version of --alias to MLflow (MLFLOW_TRACKING_URI).")
    ] = False,
    json: options.Json = False,
) -> None:
    """List the versions of a job's model, compare two of them, give one of them an alias, or log one to MLflow.

    Example: [bold]aepipe models data/cells/job.toml --on 2026-03-01[/bold]
    Example: [bold]aepipe models data/cells/job.toml diff champion challenger[/bold]
    """
    from aepipe.jobs.models import alias_on, list_models, promote_model

    path, asked = _split(job, words or [])
    if asked:
        _show_diff(path, asked, json=json)
    elif log_mlflow:
        from aepipe.jobs.serving.mlflow_log import log_mlflow as log

        _show(log(path, model=alias), json=json)
    elif promote is not None:
        promoted = promote_model(path, promote, alias=alias, why=why)
        if json:
            print_json(promoted)
        else:
            print_text(promoted.sentence)
    elif on is not None:
        found = alias_on(path, on, alias=alias)
        if json:
            print_json(found)
        else:
            print_text(found.sentence)
    else:
        listed = list_models(path)
        if json:
            print_json(listed)
            return
        header = ("version", "names", "family", "trained on", "rows", "created")
        print_table("", header, [model.row() for model in listed.versions])


def export(
    job: options.JobPath = options.HERE,
    triton: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write each graph with its config.pbtxt: a model repository.")
    ] = None,
    hugging_face: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Copy the bundle beneath a README.md for the Hugging Face Hub.")
    ] = None,
    model: options.ModelName = "champion",
    json: options.Json = False,
) -> None:
    """Write a bundle for other tools: a model repository of NVIDIA Triton, or a folder for the Hugging Face Hub.

    Example: [bold]aepipe export data/cells/job.toml --triton models[/bold]
    """
    from aepipe.jobs.serving.hugging_face import export_hugging_face
    from aepipe.jobs.serving.triton import export_triton

    if (triton is None) == (hugging_face is None):
        raise typer.BadParameter("expected --triton DIR or --hugging-face DIR. Name one of them.")
    if triton is not None:
        _show(export_triton(job, triton, model=model), json=json)
    elif hugging_face is not None:
        _show(export_hugging_face(job, hugging_face, model=model), json=json)


def promote(
    job: options.JobPath = options.HERE,
    version: Annotated[str, typer.Argument(help="Version or alias to promote.")] = "challenger",
    partition: Annotated[
        list[str] | None,
        typer.Option(help="Partition to compare on; repeatable; default: the latest that the version has not seen."),
    ] = None,
    why: Why = "",
    force: Annotated[bool, typer.Option(help="Promote although a check fails or nothing can be compared.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Compare only.")] = False,
    json: options.Json = False,
) -> None:
    """Compare a version with the champion on recent partitions, and make it champion if it passes the checks.

    Exit with code 1 if a check fails; the champion then stays.
    Example: [bold]aepipe promote data/cells/job.toml --dry-run[/bold]
    """
    from aepipe.cli.promotion_output import show_promotion
    from aepipe.jobs.promotion.promote import promote as run_promotion

    with progress_bar(quiet=json) as progress:
        result = run_promotion(
            job, version, partitions=partition, why=why, force=force, dry_run=dry_run, progress=progress
        )
    if json:
        print_json(result)
    else:
        show_promotion(result)
    if result.failed:
        raise typer.Exit(1)


def rollback(job: options.JobPath = options.HERE, why: Why = "", json: options.Json = False) -> None:
    """Make the previous champion the champion again; repeat to go further back.

    Example: [bold]aepipe rollback data/cells/job.toml --why "too many alarms"[/bold]
    """
    from aepipe.jobs.promotion.promote import rollback as go_back

    result = go_back(job, why=why)
    if json:
        print_json(result)
    else:
        print_text(result.sentence)


def _show(result: "TritonResult | HubFolder | MlflowRecord", *, json: bool) -> None:
    if json:
        print_json(result)
    else:
        print_text(result.sentence)


def _split(job: Path, words: list[str]) -> tuple[Path, tuple[str, str] | None]:
    """Separate the job from `diff A B`; both `models JOB diff A B` and `models diff A B` are read."""
    if str(job) == "diff" and not job.exists():
        job, words = options.HERE, ["diff", *words]
    if not words:
        return job, None
    if words[0] != "diff" or len(words) not in (1, 3):
        raise typer.BadParameter(f"expected diff A B, got {' '.join(words)}. Name two versions or aliases.")
    first, second = words[1:] or ("champion", "challenger")
    return job, (first, second)


def _show_diff(job: Path, versions: tuple[str, str], *, json: bool) -> None:
    from aepipe.jobs.promotion.model_diff import diff_models

    found = diff_models(job, *versions)
    if json:
        print_json(found)
        return
    for section, lines in found.sections.items():
        print_table(section, ("", found.first, found.second), [(each.what, each.first, each.second) for each in lines])
    if not found.sections:
        print_text(f"no difference between {found.first} and {found.second}")


COMMANDS = (models, export, promote, rollback)
