"""Section [train.search] of a job: options to try, and what decides between them."""

from collections.abc import Iterator
from typing import Literal

from pydantic import Field, JsonValue, field_validator, model_validator

from aepipe.frozen import FrozenModel

SEARCHED = ("batch_rows", "learning_rate", "patience", "seed", "trim", "weight_decay")
"""Options of [train] that a search may try."""
_MOST = 1_000


class Search(FrozenModel):
    """Options that training tries, by successive halving, before it trains with the best ones."""

    model: dict[str, tuple[JsonValue, ...]] = Field(
        default_factory=dict, description="values to try of options of [model], such as latent = [4, 8, 16]"
    )
    train: dict[str, tuple[JsonValue, ...]] = Field(
        default_factory=dict,
        description=f"values to try of {', '.join(SEARCHED)} of [train]; seed = [0, 1, 2]: a sweep of seeds",
    )
    metric: Literal["dev_loss", "average_precision"] = Field(
        "dev_loss",
        description="dev_loss: the loss on dev rows; average_precision: that of the head that [score] head = "
        '"labelled" chooses',
    )
    trials: int | None = Field(
        None, ge=2, le=_MOST, description="number of combinations to try, drawn at random; default: all"
    )

    @field_validator("train")
    @classmethod
    def _known(cls, value: dict[str, tuple[JsonValue, ...]]) -> dict[str, tuple[JsonValue, ...]]:
        unknown = sorted(set(value) - set(SEARCHED))
        if unknown:
            raise ValueError(f"expected {', '.join(SEARCHED)}, got {', '.join(unknown)}")
        return value

    @model_validator(mode="after")
    def _has_options(self) -> "Search":
        options = {f"model.{name}": values for name, values in self.model.items()}
        options |= {f"train.{name}": values for name, values in self.train.items()}
        empty = [name for name, values in options.items() if not values]
        if empty or not options:
            raise ValueError(
                f"expected values to try of at least one option, got none{''.join(f' of {e}' for e in empty)}"
            )
        if self.metric == "dev_loss" and "family" in self.model:
            raise ValueError(
                "losses of different families cannot be compared: expected metric = average_precision for "
                "model.family, got dev_loss"
            )
        if self.trials is None and self.size > _MOST:
            raise ValueError(f"expected at most {_MOST:,} combinations, or trials, got {self.size:,} combinations")
        return self

    @property
    def size(self) -> int:
        """Number of combinations."""
        size = 1
        for values in (*self.model.values(), *self.train.values()):
            size *= len(values)
        return size


def search_faults(search: Search | None, *, head: str, labelled: str) -> Iterator[str]:
    """Yield what keeps a search from being compared by labels."""
    if search is not None and search.metric == "average_precision" and head != labelled:
        yield (
            'train.search.metric = "average_precision" needs labels: expected '
            f'[score] head = "{labelled}", got "{head}"'
        )
