"""Figures of the zoo: for each, the number, its experiment, its comparison and its bounds."""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np

Numbers = Mapping[str, Mapping[int, Mapping[str, float]]]
"""experiment -> seed -> name -> number"""


class Figure(NamedTuple):
    """A row of the table."""

    label: str
    experiment: str
    number: str
    low: float | None = None
    high: float | None = None
    """bounds of the mean of the number, or of its comparison `how` with another one"""
    against: tuple[str, str] | None = None
    """experiment and number"""
    how: Literal["value", "ratio", "gap"] = "value"
    """gap: difference from the other number in pooled standard deviations"""


class Reached(NamedTuple):
    """A measured figure: its numbers by seed, the numbers that it is compared with, and the bounded number."""

    own: tuple[float, ...]
    other: tuple[float, ...]
    compared: float

    def is_met(self, figure: Figure) -> bool | None:
        """Return True if the compared number is within the figure's bounds; None if it has none."""
        if figure.low is None and figure.high is None:
            return None
        low = -np.inf if figure.low is None else figure.low
        high = np.inf if figure.high is None else figure.high
        return bool(low <= self.compared <= high)


def reached(figure: Figure, numbers: Numbers) -> Reached | None:
    """Return the figure of these numbers; None if a number that it needs was not measured."""
    own = _of_seeds(numbers, figure.experiment, figure.number)
    other = () if figure.against is None else _of_seeds(numbers, *figure.against)
    if not own or (figure.against is not None and not other):
        return None
    return Reached(own, other, _compared(figure, own, other))


def _of_seeds(numbers: Numbers, experiment: str, number: str) -> tuple[float, ...]:
    runs = numbers.get(experiment, {})
    return tuple(runs[seed][number] for seed in sorted(runs) if number in runs[seed])


def _compared(figure: Figure, own: Sequence[float], other: Sequence[float]) -> float:
    if figure.how == "ratio":
        return float(np.mean(own) / np.mean(other))
    if figure.how == "gap":
        return pooled_gap(own, other)
    return float(np.mean(own))


def pooled_gap(own: Sequence[float], other: Sequence[float]) -> float:
    """Return the mean difference in pooled standard deviations: the root of the mean of the two sample variances.

    >>> round(pooled_gap([3.0, 5.0], [1.0, 3.0]), 6)
    1.414214
    """
    spread = np.sqrt((np.var(own, ddof=1) + np.var(other, ddof=1)) / 2) if min(len(own), len(other)) > 1 else 0.0
    difference = float(np.mean(own) - np.mean(other))
    return difference / float(spread) if spread else float(np.sign(difference)) * float("inf")


def _below(label: str, experiment: str, number: str, high: float) -> Figure:
    return Figure(label, experiment, number, high=high)


def _above(label: str, experiment: str, number: str, low: float) -> Figure:
    return Figure(label, experiment, number, low=low)


def _share(label: str, experiment: str, number: str, against: tuple[str, str], high: float) -> Figure:
    return Figure(label, experiment, number, high=high, against=against, how="ratio")


def _better(label: str, experiment: str, number: str, against: tuple[str, str]) -> Figure:
    """Return a figure whose goal is to be less than the other number by more than rounding."""
    return _share(label, experiment, number, against, 0.999)


def _shown(label: str, experiment: str, number: str) -> Figure:
    return Figure(label, experiment, number)


FIGURES: tuple[Figure, ...] = (
    _shown("Frechet distance, real against real", "anchors", "frechet_real"),
    _shown("Frechet distance, noise against real", "anchors", "frechet_noise"),
    _shown("accuracy of the classifier on unseen rows", "anchors", "judge_accuracy"),
    _shown("pca, 16 components: MSE", "pca", "mse"),
    _share("pca: MSE against plain numpy's, pixels cut to [0, 1]", "pca", "mse", ("pca", "by_numpy_cut"), 1.01),
    _shown("pca by plain numpy, pixels as they are: MSE", "pca", "by_numpy"),
    _share("ae, first seconds: MSE against pca", "ae-10s", "mse", ("pca", "mse"), 1.0),
    _below("ae, first seconds: CPU s", "ae-10s", "cpu_s", 10),
    _below("ae: MSE", "ae", "mse", 0.0150),
    _better("ae, conv trunk: MSE against the mlp's", "ae-conv", "mse", ("ae", "mse")),
    _shown("sparse_ae, 64 latents: MSE", "sparse_ae", "mse"),
    _shown("sparse_ae, 64 latents: share of near-zero activations", "sparse_ae", "near_zero"),
    _better("denoising_ae: MSE of restored rows against ae", "denoising_ae", "restored_mse", ("ae", "restored_mse")),
    _better(
        "denoising_vae: MSE of restored rows against vae", "denoising_vae", "restored_mse", ("vae", "restored_mse")
    ),
    _below("vae, optimal sigma: MSE", "vae", "mse", 0.0140),
    _shown("vae, optimal sigma: Frechet distance of N(0, I)", "vae", "frechet_normal"),
    _share(
        "vae, optimal sigma: Frechet distance of the mixture against N(0, I)",
        "vae",
        "frechet_mixture",
        ("vae", "frechet_normal"),
        0.2,
    ),
    _below("vae, Bernoulli: -ELBO, nats", "vae-bernoulli", "negative_elbo", 252),
    _shown("vae, Bernoulli: total correlation, nats", "vae-bernoulli", "total_correlation"),
    _above("cvae, 8 latents: labels obeyed", "cvae", "obeyed", 0.80),
    _shown("beta_vae: total correlation, nats", "beta_vae", "total_correlation"),
    _share(
        "beta_tcvae: total correlation against vae",
        "beta_tcvae",
        "total_correlation",
        ("vae-bernoulli", "total_correlation"),
        1 / 3,
    ),
    _shown("beta_tcvae: MSE", "beta_tcvae", "mse"),
    _below("factor_vae: total correlation, nats", "factor_vae", "total_correlation", 1.0),
    _shown("factor_vae: MSE", "factor_vae", "mse"),
    Figure(
        "beta_tcvae on shapes: MIG above vae's, pooled standard deviations",
        "shapes-beta_tcvae",
        "gap",
        low=1.0,
        against=("shapes-vae", "gap"),
        how="gap",
    ),
    Figure(
        "factor_vae on shapes: MIG above vae's, pooled standard deviations",
        "shapes-factor_vae",
        "gap",
        low=1.0,
        against=("shapes-vae", "gap"),
        how="gap",
    ),
    _above("vq_vae, 7x7 of 256 codes: perplexity", "vq_vae", "perplexity", 128),
    _below("vq_vae: MSE", "vq_vae", "mse", 0.0105),
    _better("vq_vae: nats a code, prior against unigram", "vq_vae", "prior_nats", ("vq_vae", "unigram_nats")),
    _share(
        "vq_vae: Frechet distance of the prior against position marginals",
        "vq_vae",
        "frechet_prior",
        ("vq_vae", "frechet_marginals"),
        0.3,
    ),
    _below("adversarial_ae, 8 latents: greatest mean of a latent", "adversarial_ae", "greatest_mean", 0.15),
    _above("adversarial_ae: least standard deviation", "adversarial_ae", "least_std", 0.85),
    _below("adversarial_ae: greatest standard deviation", "adversarial_ae", "greatest_std", 1.15),
    _below("adversarial_ae: greatest correlation", "adversarial_ae", "greatest_correlation", 0.15),
    Figure("adversarial_ae: accuracy of its critic", "adversarial_ae", "critic_accuracy", low=0.5, high=0.9),
    _above("hierarchical_vae: KL of the least level, nats", "hierarchical_vae", "least_level_kl", 0.5),
    _better(
        "hierarchical_vae: -ELBO against vae", "hierarchical_vae", "negative_elbo", ("vae-bernoulli", "negative_elbo")
    ),
    _below("vrnn on rows of pixels: -ELBO, nats", "vrnn", "negative_elbo", 248.5),
    _better("vrnn: -ELBO against the same without z", "vrnn", "negative_elbo", ("vrnn-without-z", "negative_elbo")),
    _shown("binary_ae, 64 bits: MSE", "binary_ae", "mse"),
    _shown("binary_ae: share of bits in use", "binary_ae", "bits_in_use"),
)
"""Goals for aepipe alone."""


AGAINST_PEERS: tuple[Figure, ...] = (
    _share("vae: -ELBO, nats", "vae-bernoulli", "negative_elbo", ("pythae-vae", "negative_elbo"), 1.0),
    _share(
        "beta_tcvae, beta 12 against its 6: total correlation, nats",
        "beta_tcvae-stronger",
        "total_correlation",
        ("pythae-beta_tcvae", "total_correlation"),
        1.0,
    ),
    _share("beta_tcvae, the same: MSE", "beta_tcvae-stronger", "mse", ("pythae-beta_tcvae", "mse"), 1.02),
    _share(
        "factor_vae: total correlation, nats",
        "factor_vae",
        "total_correlation",
        ("pythae-factor_vae", "total_correlation"),
        1.0,
    ),
    _share("factor_vae: MSE", "factor_vae", "mse", ("pythae-factor_vae", "mse"), 1.02),
    _share("vq_vae: MSE", "vq_vae", "mse", ("pythae-vq_vae", "mse"), 1.0),
    Figure("vq_vae: perplexity", "vq_vae", "perplexity", low=1.0, against=("pythae-vq_vae", "perplexity"), how="ratio"),
    _share(
        "adversarial_ae: Frechet distance of N(0, I)",
        "adversarial_ae",
        "frechet_normal",
        ("pythae-adversarial_ae", "frechet_normal"),
        1.0,
    ),
    _share("vae: training, CPU s", "vae-bernoulli", "cpu_s", ("pythae-vae", "cpu_s"), 1.0),
    _share("beta_tcvae: training, CPU s", "beta_tcvae", "cpu_s", ("pythae-beta_tcvae", "cpu_s"), 1.0),
    _share("factor_vae: training, CPU s", "factor_vae", "cpu_s", ("pythae-factor_vae", "cpu_s"), 1.0),
    _share("vq_vae: training without the prior, CPU s", "vq_vae", "model_cpu_s", ("pythae-vq_vae", "cpu_s"), 1.0),
    _share("adversarial_ae: training, CPU s", "adversarial_ae", "cpu_s", ("pythae-adversarial_ae", "cpu_s"), 1.0),
    Figure(
        "vae: difference of features encoded twice, in units of what is allowed",
        "vae-bernoulli",
        "feature_difference",
        high=1.0,
        against=("pythae-vae", "feature_difference"),
    ),
)
"""The same measures of aepipe and of pythae; ratios are aepipe's value over pythae's."""


_BOUND, _VAE = "negative_elbo", "vae-bernoulli"
_NORMAL_LATENTS = (
    ("greatest_mean", None, 0.15),
    ("least_std", 0.85, None),
    ("greatest_std", None, 1.15),
    ("greatest_correlation", None, 0.15),
)

SECOND_FIGURES: tuple[Figure, ...] = (
    _shown("Frechet distance, real against real", "anchors", "frechet_real"),
    *(
        Figure(f"wae, 8 latents: {number.replace('_', ' ')} of a latent", "wae", number, low=low, high=high)
        for number, low, high in _NORMAL_LATENTS
    ),
    _better(
        "wae: Frechet distance of N(0, I) against adversarial_ae",
        "wae",
        "frechet_normal",
        ("adversarial_ae", "frechet_normal"),
    ),
    Figure(
        "info_vae: latents in use against vae",
        "info_vae",
        "active_units",
        low=1.0,
        against=(_VAE, "active_units"),
        how="ratio",
    ),
    _better(
        "info_vae: Frechet distance of N(0, I) against vae", "info_vae", "frechet_normal", (_VAE, "frechet_normal")
    ),
    _better(
        "rae: Frechet distance of the mixture against vae",
        "rae",
        "frechet_mixture",
        ("vae-flow_matching", "frechet_mixture"),
    ),
    _better(
        "vae, prior = flow_matching: Frechet distance of the flow against the mixture of the same latents",
        "vae-flow_matching",
        "frechet_flow",
        ("vae-flow_matching", "frechet_mixture"),
    ),
    _shown("vae, prior = flow_matching: fitting and drawing, CPU s", "vae-flow_matching", "flow_cpu_s"),
    _better(
        "iwae: bound of 64 draws against vae, nats",
        "iwae",
        "negative_log_likelihood",
        (_VAE, "negative_log_likelihood"),
    ),
    _better("vae, prior = vampprior: -ELBO against N(0, I), nats", "vae-vampprior", _BOUND, (_VAE, _BOUND)),
    _better("vae, posterior = planar: -ELBO against a Gaussian, nats", "vae-planar", _BOUND, (_VAE, _BOUND)),
    _better("vae, posterior = iaf: -ELBO against a Gaussian, nats", "vae-iaf", _BOUND, (_VAE, _BOUND)),
    _better("contractive_ae: sensitivity to noise against ae", "contractive_ae", "sensitivity", ("ae", "sensitivity")),
    _better("denoising_ae: sensitivity to noise against ae", "denoising_ae", "sensitivity", ("ae", "sensitivity")),
    Figure("contractive_ae: MSE against ae", "contractive_ae", "mse", against=("ae", "mse"), how="ratio"),
    Figure("masked_ae: MSE against ae", "masked_ae", "mse", against=("ae", "mse"), how="ratio"),
    Figure("memory_ae: MSE against ae", "memory_ae", "mse", against=("ae", "mse"), how="ratio"),
    _better("vq_vae, quantizer = fsq: MSE against a codebook", "vq_vae-fsq", "mse", ("vq_vae", "mse")),
    _better("vq_vae, residual = 2: MSE against one codebook", "vq_vae-residual", "mse", ("vq_vae", "mse")),
    Figure(
        "vq_vae, quantizer = fsq: perplexity against a codebook",
        "vq_vae-fsq",
        "perplexity",
        low=1.0,
        against=("vq_vae", "perplexity"),
        how="ratio",
    ),
)
"""Goals for families and options that were added later."""
