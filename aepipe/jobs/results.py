"""What a job answers: small frozen values that turn into JSON."""

from pydantic import ConfigDict

from aepipe.frozen import FrozenModel


class Result(FrozenModel):
    """The root of every job's answer."""

    model_config = ConfigDict(arbitrary_types_allowed=False)
