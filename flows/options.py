"""Parameters of every flow, in a deployment and on the command line."""

from pathlib import Path

from pydantic import Field

from aepipe.frozen import FrozenModel


class Options(FrozenModel):
    """Base of the parameters; refuses a misspelt one when a run is requested, not when it starts."""

    job: Path = Field(description="job file, or the folder that holds job.toml; relative to the working directory")
