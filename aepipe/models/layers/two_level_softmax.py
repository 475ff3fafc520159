"""Categorical distribution over a large number of codes, in two levels: a class of codes, then a member of it."""

import math
from collections.abc import Collection

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aepipe.layout import FIRST_VALUE, UNSEEN
from aepipe.models.losses import categorical_nll

_FEATURES = 8

IMPOSSIBLE = -1e9
"""Added to the logit of an impossible code."""


class ClassFactoredSoftmax(nn.Module):
    """Softmax factored as p(code) = p(class) p(member | class), with class code // members and member code % members.

    Class-based factorisation (Goodman 2001) with sqrt(size) members per class. Codes are sorted by decreasing
    frequency, so that the members of a class are about equally frequent. The `width` parameters of a row are one logit
    per class and 8 features; the logit of a member is the dot product of the features with its own 8 weights, plus a
    bias. The probabilities sum to 1, but the logits of members have rank 8 at most.
    """

    never: Tensor

    def __init__(self, size: int, absent: Collection[int] = ()) -> None:
        super().__init__()
        self.size = size
        self.members = math.isqrt(size - 1) + 1
        self.classes = -(-size // self.members)
        self.width = self.classes + _FEATURES
        own = torch.randn(self.classes, self.members, _FEATURES) * _FEATURES**-0.5
        self.table = nn.Parameter(torch.cat([own, torch.zeros(self.classes, self.members, 1)], 2).flatten(1))
        self.register_buffer("never", torch.tensor(sorted({UNSEEN, *absent})), persistent=False)

    def nll(self, logits: Tensor, codes: Tensor) -> Tensor:
        """Compute -log p of codes (B,), (B,) in nats, from logits (B, width)."""
        chosen = codes // self.members
        members = self._of_members(logits, chosen).unsqueeze(1)
        of_class = categorical_nll(self._of_classes(logits).unsqueeze(1), chosen.unsqueeze(1))
        return (of_class + categorical_nll(members, (codes % self.members).unsqueeze(1))).squeeze(1)

    def guess(self, logits: Tensor) -> Tensor:
        """Return the most likely value of the most likely class, (B,)."""
        chosen = self._of_classes(logits).argmax(1)
        codes = self._codes(chosen)
        return chosen * self.members + self._of_members(logits, chosen, barred=codes < FIRST_VALUE).argmax(1)

    def draw(self, logits: Tensor, uniform: Tensor) -> Tensor:
        """Draw codes (B,) from uniform noise (B, 2), never one that is unseen or absent."""
        chosen = inverse_cdf(self._of_classes(logits).exp(), uniform[:, 0])
        barred = (self._codes(chosen).unsqueeze(2) == self.never).any(2)
        members = self._of_members(logits, chosen, barred=barred)
        return chosen * self.members + inverse_cdf(members.exp(), uniform[:, 1])

    def one_hot(self, codes: Tensor) -> Tensor:
        """Encode codes as class indicators (B, width), targets of a linear model; the features of members are 0."""
        of_class = F.one_hot(codes // self.members, self.classes).to(self.table.dtype)
        return F.pad(of_class, (0, _FEATURES))

    def logits_of(self, shares: Tensor) -> Tensor:
        """Convert predicted class indicators to parameters (B, width), with all members of a class equally likely."""
        return F.pad(log_of_shares(shares[:, : self.classes]), (0, _FEATURES))

    def _of_classes(self, logits: Tensor) -> Tensor:
        return logits[:, : self.classes].log_softmax(1)

    def _of_members(self, logits: Tensor, chosen: Tensor, *, barred: Tensor | None = None) -> Tensor:
        """Compute log-probabilities (B, members) of the members of the chosen classes (B,)."""
        beyond = self._codes(chosen) >= self.size
        barred = beyond if barred is None else beyond | barred
        own = F.embedding(chosen, self.table).reshape(-1, self.members, _FEATURES + 1)
        features = F.pad(logits[:, self.classes :], (0, 1), value=1.0)  # times the bias
        known: Tensor = (own @ features.unsqueeze(2)).squeeze(2) + IMPOSSIBLE * barred.to(logits.dtype)
        return known.log_softmax(1)

    def _codes(self, chosen: Tensor) -> Tensor:
        """Return the codes (B, members) of the chosen classes (B,)."""
        return chosen.unsqueeze(1) * self.members + torch.arange(self.members, device=chosen.device)


def log_of_shares(shares: Tensor) -> Tensor:
    """Convert shares to logits, with shares below 0.01 raised to 0.01."""
    return shares.clamp(min=0.01).log()


def inverse_cdf(probabilities: Tensor, uniform: Tensor) -> Tensor:
    """Draw indices (...) from probabilities (..., K) by uniform noise (...), never one of probability 0."""
    cumulated = probabilities.cumsum(-1)
    total = cumulated[..., -1:]
    passed = (uniform.unsqueeze(-1) * total >= cumulated) & (cumulated < total)
    return passed.to(torch.int64).sum(-1)
