"""Cell of a variational recurrent network: latents at every step, with a prior learned from the steps before.

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


class VrnnOutput(NamedTuple):
    """Latents, priors and outputs of the network for B sequences of T steps."""

    own: Gaussian
    """(T, B, Z), posterior of the latents of each step, given the steps up to it"""
    prior: Gaussian
    """(T, B, Z), prior of the latents of each step, given the steps before it"""
    z: Tensor
    """(T, B, Z), latents drawn from the posterior, or its means"""
    outputs: Tensor
    """(T, B, V): parameters of each step, given its latents and the steps before it"""
    state: Tensor
    """(B, S), state after the last valid step"""


class VrnnCell(nn.Module):
    """Recurrent cell of state size S: steps (T, B, W) to latents (T, B, Z) and parameters of steps (T, B, V).

    `input_features` and `latent_features` are the feature extractors of x and z. A layer over two inputs is the sum of
    one layer over each, so that the parts that depend only on x, or on known states, are computed for all steps at
    once. Without `is_stochastic`, every latent is 0.
    """

    def __init__(self, *, width: int, latents: int, state: int, outputs: int, is_stochastic: bool = True) -> None:
        super().__init__()
        self.latents, self.state, self.is_stochastic = latents, state, is_stochastic
        self.input_features = nn.Sequential(nn.Linear(width, state), nn.ReLU())
        self.latent_features = nn.Sequential(nn.Linear(latents, state), nn.ReLU())
        self.prior = nn.Sequential(nn.Linear(state, state), nn.ReLU(), nn.Linear(state, 2 * latents))
        self.input_layer = nn.Linear(state, 4 * state)  # hidden layer of the encoder, then the gates
        self.state_layer = nn.Linear(state, 4 * state)
        self.latent_layer = nn.Linear(state, 3 * state, bias=False)
        self.encoder = nn.Sequential(nn.ReLU(), nn.Linear(state, 2 * latents))
        self.decoder_latent_layer = nn.Linear(state, state)
        self.decoder_state_layer = nn.Linear(state, state, bias=False)
        self.decoder = nn.Sequential(nn.ReLU(), nn.Linear(state, outputs))

    def forward(self, sequence: Sequence, noise: Tensor | None) -> VrnnOutput:
        """Encode and decode observed steps; steps beyond the end of a sequence leave the state unchanged.

        Args:
            sequence: Observed steps and their validity.
            noise: Standard normal noise (T, B, Z) to draw the latents with; None takes their means.
        """
        begin = sequence.steps.new_zeros((sequence.steps.shape[1], self.state))
        hidden_and_gates = self.input_layer(self.input_features(sequence.steps)).split((self.state, 3 * self.state), 2)
        inputs = (*hidden_and_gates, sequence.valid)

        def step(state: State, inputs: tuple[Tensor, ...]) -> tuple[State, tuple[Tensor, ...]]:
            from_input, gates, valid, *noise = inputs
            hidden, from_state = self.state_layer(state[0]).split((self.state, 3 * self.state), 1)
            own = self._gaussian(self.encoder(from_input + hidden))
            z = self._drawn(own, noise[0] if noise else None)
            after = gated(gates + self.latent_layer(self.latent_features(z)), from_state, state[0])
            after = state[0] + valid * (after - state[0])
            return (after,), (state[0].clone(), *own, z.clone())

        last, outputs = unroll(step, (begin,), inputs if noise is None else (*inputs, noise))
        before, mean, log_var, z = outputs
        return VrnnOutput(Gaussian(mean, log_var), self.prior_at(before), z, self.outputs_at(z, before), last[0])

    def generate(
        self, latents: Tensor, as_input: Callable[[Tensor], Tensor], *, as_noise: bool
    ) -> tuple[Tensor, Tensor]:
        """Generate sequences, with the means of each step's output as the next input.

        Args:
            latents: Latents (T, B, Z), or standard normal noise of draws from the prior of each step.
            as_input: Conversion of the outputs of a step (B, V) into an input step (B, W).
            as_noise: Treat `latents` as noise.

        Returns:
            Latents (T, B, Z) and outputs (T, B, V).
        """
        begin = latents.new_zeros((latents.shape[1], self.state))

        def step(state: State, inputs: tuple[Tensor, ...]) -> tuple[State, tuple[Tensor, ...]]:
            z = self._drawn(self.prior_at(state[0]), inputs[0]) if as_noise else inputs[0]
            outputs = self.outputs_at(z, state[0])
            from_input = self.input_layer(self.input_features(as_input(outputs)))[:, self.state :]
            gates = from_input + self.latent_layer(self.latent_features(z))
            after = gated(gates, self.state_layer(state[0])[:, self.state :], state[0])
            return (after,), (z.clone(), outputs)

        _, (z, outputs) = unroll(step, (begin,), (latents,))
        return z, outputs

    def prior_at(self, state: Tensor) -> Gaussian:
        """Compute the prior of the latents of the next step, (..., Z)."""
        return self._gaussian(self.prior(state))

    def outputs_at(self, z: Tensor, state: Tensor) -> Tensor:
        """Compute the parameters of the next step, (..., V)."""
        outputs: Tensor = self.decoder(
            self.decoder_latent_layer(self.latent_features(z)) + self.decoder_state_layer(state)
        )
        return outputs

    def _drawn(self, gaussian: Gaussian, noise: Tensor | None) -> Tensor:
        if not self.is_stochastic:
            return torch.zeros_like(gaussian.mean)
        return gaussian.mean if noise is None else gaussian.at(noise)

    def _gaussian(self, stats: Tensor) -> Gaussian:
        mean, log_var = stats.to(self.state_layer.weight.dtype).chunk(2, -1)  # autocast ends here
        return Gaussian(mean, log_var.clamp(_LEAST_LOG_VAR, _GREATEST_LOG_VAR))
