"""Training flow: `python flows/train.py --job data/digits/job.toml`."""

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from aepipe.cli.console import progress_bar
from aepipe.config.job import Device, read_job
from flows.engine import pipeline, step
from flows.options import Options
from flows.run_labels import label_run
from flows.terminal import run

if TYPE_CHECKING:
    from aepipe.jobs.train.train import TrainResult


class TrainOptions(Options):
    """Train, export to ONNX and calibrate a new bundle, unless the job and its data have one."""

    device: Device | None = Field(None, description="default: the job's")
    force: bool = Field(False, description="train even if the job and its data have a bundle")


@pipeline
def train(options: TrainOptions) -> "TrainResult":
    """Train, export to ONNX and calibrate a new bundle, unless the job and its data have one."""
    result = fit(options.job, options.device, options.force)
    label_run(read_job(options.job).name, model=result.version)
    return result


@step
def fit(job: Path, device: Device | None, force: bool = False) -> "TrainResult":
    """Train a bundle; after a kill, the next run resumes from the last checkpoint."""
    from aepipe.jobs.train.train import train as train_job  # imports torch, which a run without training does not need

    with progress_bar(quiet=False) as progress:
        return train_job(job, device=device, force=force, progress=progress)


def show_training(result: "TrainResult") -> None:
    """Print a summary to the terminal."""
    print(result.sentence)


if __name__ == "__main__":
    run(train, TrainOptions, show_training)
