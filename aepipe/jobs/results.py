"""Base class of the results of jobs."""

from pydantic import ConfigDict

from aepipe.frozen import FrozenModel


class Result(FrozenModel):
    """Frozen value that converts to JSON."""

    model_config = ConfigDict(arbitrary_types_allowed=False)
