"""Training history for the bundle and the report."""

from pydantic import ConfigDict, Field

from aepipe.frozen import FrozenModel


class Epoch(FrozenModel):
    """One pass over the training rows; losses are means per row, in nats unless a family says otherwise."""

    model_config = ConfigDict(allow_inf_nan=False)

    epoch: int = Field(description="from 1, over all phases")
    phase: int = Field(0, description="which players took turns")
    train: float = Field(description="loss of the first player")
    dev: float = Field(description="the same on dev rows, at full weight of every term")
    terms: dict[str, float] = Field(default_factory=dict, description="what the losses are made of")
    learning_rate: float
    seconds: float


class Privacy(FrozenModel):
    """Privacy budget that a training spent, and its noise."""

    epsilon: float = Field(description="spent, by the accountant of opacus")
    delta: float
    budget: float = Field(description="epsilon of the job")
    noise: float = Field(description="standard deviation of the noise of a step, per `clip`")
    counts_noise: float = Field(description="standard deviation of the noise of the counts of codes, per sensitivity")
    sample_rate: float = Field(description="probability of each row to be in a step")
    steps: int
    clip: float = Field(description="largest norm of the gradient of a row")


class Curve(FrozenModel):
    """All epochs, and the reason why training stopped."""

    model_config = ConfigDict(allow_inf_nan=False)

    epochs: tuple[Epoch, ...] = ()
    best_epoch: int = Field(0, description="whose weights were kept; 0 where there was nothing to train")
    stopped_because: str
    rows_per_s: float | None = Field(None, description="training rows per second, without dev rows and checkpoints")
    privacy: Privacy | None = Field(
        None, exclude_if=lambda value: value is None, description="spent budget; none without differential privacy"
    )
