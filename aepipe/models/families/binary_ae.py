"""Autoencoder with a binary code: independent bits or one-hot groups.

Bits are trained by the straight-through estimator, Bengio, Léonard & Courville 2013; groups by straight-through
Gumbel-softmax, Jang, Gu & Poole 2017. New codes are sampled from an autoregressive model
that is trained on the codes afterwards.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from aepipe.frozen import FrozenModel
from aepipe.layout import LatentSpace, Layout
from aepipe.models.base import (
    BackbonePlan,
    Batch,
    Family,
    Loss,
    Objective,
    Posterior,
    StepContext,
    deterministic_posterior,
)
from aepipe.models.card_metrics import reconstruction_metrics
from aepipe.models.encoder_decoder import EncoderDecoder
from aepipe.models.latent_space import MOST, latents_for
from aepipe.models.layers.autoregressive_bits import AutoregressiveBits, grouped
from aepipe.models.layers.likelihood import Likelihood
from aepipe.models.layers.preprocessing import Row
from aepipe.models.layers.prior import Prior

_BITS_A_LATENT = 4  # default number of bits per real latent
_CHOICES = 8


class Options(FrozenModel):
    """Options of this family in [model]."""

    codes: Literal["bits", "one_hot"] = Field("bits", description="independent bits, or one-hot groups")
    latent: int | None = Field(
        None,
        ge=1,
        description="number of bits or groups; default: 64 bits or 16 groups for images, by the number of columns "
        "for tables",
    )
    choices: int = Field(_CHOICES, ge=2, description="entries per group with codes = one_hot")
    temperature: float = Field(
        0.5, gt=0, description="final temperature of the training draws; it falls from twice this value"
    )


class BinaryAutoencoder(EncoderDecoder):
    """Encoder to logits, binary code, decoder; and an autoregressive prior of the codes."""

    def __init__(self, layout: Layout, options: Options, backbone: BackbonePlan, likelihood: Likelihood) -> None:
        groups = options.latent or _groups_for(layout, options)
        choices = options.choices if options.codes == "one_hot" else 1
        suffixes = [""] if choices == 1 else [f"_{choice}" for choice in range(choices)]
        names = tuple(f"z_{index:03d}{suffix}" for index in range(groups) for suffix in suffixes)
        super().__init__(layout, backbone, likelihood, LatentSpace(names=names, kind="binary"), answers=1)
        self.options, self.choices = options, choices
        self.of_codes = AutoregressiveBits(groups, self.choices)

    def objectives(self) -> tuple[Objective, ...]:
        rate = self.backbone.learning_rate
        coder = (*self.encoder.parameters(), *self.decoder.parameters(), *self.likelihood.parameters())
        return (
            Objective("autoencoder", coder, self._loss, learning_rate=rate),
            Objective("prior", tuple(self.of_codes.parameters()), self._prior_loss, phase=1, learning_rate=1e-2),
        )

    def posterior(self, row: Row) -> Posterior:
        z = harden(self._logits(row), self.choices)
        return deterministic_posterior(z)._replace(kl=self.of_codes.nll(z))

    def prior(self) -> Prior | None:
        return self.of_codes

    def card_metrics(self, batch: Batch, generator: torch.Generator) -> Mapping[str, float]:
        posterior = self.posterior(batch.input)
        often = posterior.mean.mean(0)  # share of ones of each latent, (Z,)
        shares = often if self.choices > 1 else torch.cat([often, 1 - often])
        return {
            **reconstruction_metrics(self, batch),
            "code_nats": float(posterior.kl.sum(1).mean()),
            "code_nats_if_independent": float(torch.special.entr(shares).sum()),
            "constant_latents": float(((often == 0) | (often == 1)).sum()),
        }

    def _loss(self, batch: Batch, context: StepContext) -> Loss:
        logits = self._logits(batch.input)
        temperature = self.options.temperature * (2 - context.progress)
        noise = context.generator if self.training else None
        z = straight_through(logits, self.choices, temperature=temperature, generator=noise)
        params = self.decode(z, batch.input.given)
        nll = self.likelihood.nll(params, batch.target).sum(1).mean()
        return Loss(nll, {"nll": nll.detach()}, self.likelihood.misfit(params, batch.target))

    def _prior_loss(self, batch: Batch, context: StepContext) -> Loss:
        with torch.no_grad():
            z = harden(self._logits(batch.input), self.choices)
        nats = self.of_codes.nll(z).sum(1).mean()
        return Loss(nats, {"code_nats": nats.detach()})

    def _logits(self, row: Row) -> Tensor:
        answer: Tensor = self.encoder(row).to(row.dense.dtype)
        return answer


def harden(logits: Tensor, choices: int) -> Tensor:
    """Return the most likely code, (B, Z) of 0 and 1: bits if `choices` is 1, else one-hot groups."""
    if choices == 1:
        return (logits > 0).to(logits.dtype)
    likeliest = grouped(logits, choices).argmax(2)
    return F.one_hot(likeliest, choices).to(logits.dtype).flatten(1)


def straight_through(logits: Tensor, choices: int, *, temperature: float, generator: torch.Generator | None) -> Tensor:
    """Draw a code of 0 and 1, (B, Z), with straight-through gradients; without a generator, the most likely code.

    Logistic noise on a bit and Gumbel noise on a group make the draws exact: P(bit) = sigmoid(logit), and P(choice) =
    softmax(logits). The soft values are taken at the temperature.
    """
    if generator is not None:
        u = torch.rand(logits.shape, generator=generator, device=logits.device, dtype=logits.dtype)
        u = u.clamp(1e-6, 1 - 1e-6)
        logits = logits + (torch.logit(u) if choices == 1 else -torch.log(-torch.log(u)))
    hard = harden(logits, choices)
    if choices == 1:
        soft = torch.sigmoid(logits / temperature)
    else:
        soft = grouped(logits / temperature, choices).softmax(2).flatten(1)
    return hard.detach() + soft - soft.detach()


def _groups_for(layout: Layout, options: Options) -> int:
    latents = latents_for(layout, None)
    return _BITS_A_LATENT * latents if options.codes == "bits" else latents


def _faults(layout: Layout, options: Options) -> Sequence[str]:
    faults = []
    if options.codes == "bits" and options.choices != _CHOICES:
        faults.append("choices belongs to codes = 'one_hot': omit it, or set these codes")
    width = (options.latent or _groups_for(layout, options)) * (options.choices if options.codes == "one_hot" else 1)
    if width > MOST:
        faults.append(f"the code is too wide: expected at most {MOST}, got {width}; lower latent or choices")
    return faults


FAMILY = Family(
    "binary_ae",
    "code of independent bits or one-hot groups, with a prior to sample from",
    Options,
    ("mlp", "conv"),
    BinaryAutoencoder,
    _faults,
    formula="−E[log p(x|z)], zⱼ ~ Bernoulli(sigmoid(fⱼ(x))), with the gradient of the sigmoid in place of that of zⱼ",
    advice="Prefer it for hashes, look-up by bits and discrete features. Not for scores by distances or for "
    "traversals, which need real latents.",
)
