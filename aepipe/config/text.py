"""Tokenisers of text columns, and how tokens are drawn."""

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

from aepipe.errors import ArgumentInvalid

TokenKind: TypeAlias = Literal["words", "characters", "bytes", "smiles", "bpe"]


@dataclass(frozen=True, slots=True)
class TokenChoice:
    """Distribution that tokens are drawn from: the model's, or a sharper or truncated one; None: as the model has it.

    The logits are divided by `temperature`, then the `top_k` likeliest tokens are kept, then of these the fewest whose
    probabilities sum to at least `top_p` (Holtzman et al. 2020).
    """

    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None

    def __post_init__(self) -> None:
        """Refuse values out of range.

        Raises:
            ArgumentInvalid: One of them is invalid.
        """
        heat, top_k, top_p = self.temperature, self.top_k, self.top_p
        if heat is not None and not (_is_number(heat) and 0 < heat <= 100):
            raise ArgumentInvalid(
                "temperature",
                [f"expected more than 0 and at most 100, got {heat}. For the likeliest token, set top_k to 1"],
            )
        if top_k is not None and (isinstance(top_k, bool) or not isinstance(top_k, int) or top_k < 1):
            raise ArgumentInvalid("top_k", [f"expected a whole number of at least 1, got {top_k}"])
        if top_p is not None and not (_is_number(top_p) and 0 < top_p <= 1):
            raise ArgumentInvalid("top_p", [f"expected more than 0 and at most 1, got {top_p}"])

    def __bool__(self) -> bool:
        """Tell whether the distribution differs from the model's."""
        return bool(self.named)

    @property
    def named(self) -> dict[str, float | int]:
        """Values that are set, by name."""
        found = {"temperature": self.temperature, "top_k": self.top_k, "top_p": self.top_p}
        return {name: value for name, value in found.items() if value is not None}

    def over(self, default: "TokenChoice") -> "TokenChoice":
        """Return this choice, with what it leaves open from a default."""
        return TokenChoice(
            default.temperature if self.temperature is None else self.temperature,
            default.top_k if self.top_k is None else self.top_k,
            default.top_p if self.top_p is None else self.top_p,
        )


MODEL_TOKENS = TokenChoice()
"""Tokens as the model has them."""


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
