"""The parameters that every flow takes, in a deployment and on the command line alike."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field


class Options(BaseModel):
    """A misspelt parameter is refused when a run is asked for, not when it is due."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    job: Path = Field(description="the job file, or the folder that holds job.toml; relative to the working directory")
