"""The parameters that every flow takes, in a deployment and on the command line alike."""

from pathlib import Path

from pydantic import Field

from aepipe.frozen import FrozenModel


class Options(FrozenModel):
    """A misspelt parameter is refused when a run is asked for, not when it is due."""

    job: Path = Field(description="the job file, or the folder that holds job.toml; relative to the working directory")
