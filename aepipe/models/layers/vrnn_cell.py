"""The recurrence of a variational recurrent network: latents at every step, with a prior learned from the steps before.

Chung, Kastner, Dinh, Goel, Courville & Bengio 2015, equations 5 to 9; h is the state, x a step, z its latents.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from aepipe.models.layers.gaussian import Gaussian
from aepipe.models.layers.gru import gated
from aepipe.models.layers.scan import State, unroll
from aepipe.models.layers.sequence import Sequence

_LEAST_LOG_VAR, _GREATEST_LOG_VAR = -10.0, 6.0


class Heard(NamedTuple):
    """What the network makes of B sequences of T steps."""

    own: Gaussian
    """(T, B, Z) of each step's latents, given the steps up to it"""
    prior: Gaussian
    """(T, B, Z) given the steps before it"""
    z: Tensor
    """(T, B, Z) drawn, or the means"""
    answers: Tensor
    """(T, B, V): parameters of each step, given its latents and the steps before it"""
    state: Tensor
    """(B, S) after the last valid step"""


class VrnnCell(nn.Module):
    """Steps (T, B, W) to latents and back to parameters of steps (T, B, V), with a state of S numbers.

    `hear` and `say` are the feature extractors of x and z. Layers over two things are sums of a layer over each, so
    that what hangs on x alone, or on the states once they are known, is computed for all steps at once. Without
    `is_stochastic` every latent is 0.
    """

    def __init__(self, *, width: int, latents: int, state: int, answers: int, is_stochastic: bool = True) -> None:
        super().__init__()
        self.latents, self.state, self.is_stochastic = latents, state, is_stochastic
        self.hear = nn.Sequential(nn.Linear(width, state), nn.ReLU())
        self.say = nn.Sequential(nn.Linear(latents, state), nn.ReLU())
        self.prior = nn.Sequential(nn.Linear(state, state), nn.ReLU(), nn.Linear(state, 2 * latents))
        self.of_heard = nn.Linear(state, 4 * state)  # the encoder's hidden layer, then the gates
        self.of_state = nn.Linear(state, 4 * state)
        self.of_said = nn.Linear(state, 3 * state, bias=False)
        self.encoder = nn.Sequential(nn.ReLU(), nn.Linear(state, 2 * latents))
        self.decoder_of_said = nn.Linear(state, state)
        self.decoder_of_state = nn.Linear(state, state, bias=False)
        self.decoder = nn.Sequential(nn.ReLU(), nn.Linear(state, answers))

    def forward(self, sequence: Sequence, noise: Tensor | None) -> Heard:
        """Latents of heard steps: with noise (T, B, Z) draws, without it means. Steps beyond an end change nothing."""
        begin = sequence.steps.new_zeros((sequence.steps.shape[1], self.state))
        heard = self.of_heard(self.hear(sequence.steps)).split((self.state, 3 * self.state), 2)
        inputs = (*heard, sequence.valid)

        def step(state: State, inputs: tuple[Tensor, ...]) -> tuple[State, tuple[Tensor, ...]]:
            of_heard, gates, valid, *noise = inputs
            hidden, of_state = self.of_state(state[0]).split((self.state, 3 * self.state), 1)
            own = self._gaussian(self.encoder(of_heard + hidden))
            z = self._drawn(own, noise[0] if noise else None)
            after = gated(gates + self.of_said(self.say(z)), of_state, state[0])
            after = state[0] + valid * (after - state[0])
            return (after,), (state[0].clone(), *own, z.clone())

        last, answers = unroll(step, (begin,), inputs if noise is None else (*inputs, noise))
        before, mean, log_var, z = answers
        return Heard(Gaussian(mean, log_var), self.prior_at(before), z, self.answers_at(z, before), last[0])

    def generate(
        self, latents: Tensor, hear_again: Callable[[Tensor], Tensor], *, as_noise: bool
    ) -> tuple[Tensor, Tensor]:
        """Latents (T, B, Z) and answers (T, B, V) of a network that hears the means of its own answers.

        latents: given, or the standard normal noise of draws from the prior of each step. hear_again: the answers of a
        step (B, V) as a step that is heard (B, W).
        """
        begin = latents.new_zeros((latents.shape[1], self.state))

        def step(state: State, inputs: tuple[Tensor, ...]) -> tuple[State, tuple[Tensor, ...]]:
            z = self._drawn(self.prior_at(state[0]), inputs[0]) if as_noise else inputs[0]
            answers = self.answers_at(z, state[0])
            of_heard = self.of_heard(self.hear(hear_again(answers)))[:, self.state :]
            gates = of_heard + self.of_said(self.say(z))
            after = gated(gates, self.of_state(state[0])[:, self.state :], state[0])
            return (after,), (z.clone(), answers)

        _, (z, answers) = unroll(step, (begin,), (latents,))
        return z, answers

    def prior_at(self, state: Tensor) -> Gaussian:
        """Of the next step's latents, (..., Z)."""
        return self._gaussian(self.prior(state))

    def answers_at(self, z: Tensor, state: Tensor) -> Tensor:
        """Parameters of the next step, (..., V)."""
        answers: Tensor = self.decoder(self.decoder_of_said(self.say(z)) + self.decoder_of_state(state))
        return answers

    def _drawn(self, gaussian: Gaussian, noise: Tensor | None) -> Tensor:
        if not self.is_stochastic:
            return torch.zeros_like(gaussian.mean)
        return gaussian.mean if noise is None else gaussian.at(noise)

    def _gaussian(self, stats: Tensor) -> Gaussian:
        mean, log_var = stats.to(self.of_state.weight.dtype).chunk(2, -1)  # autocast ends here
        return Gaussian(mean, log_var.clamp(_LEAST_LOG_VAR, _GREATEST_LOG_VAR))
