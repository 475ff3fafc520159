"""What a job answers: small frozen values that turn into JSON."""

from pydantic import BaseModel, ConfigDict


class Result(BaseModel):
    """The root of every job's answer."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=False)
