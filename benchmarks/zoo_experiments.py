"""The experiments: the model that each trains, its epochs and its measurements."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from benchmarks import zoo_looks as looks
from benchmarks import zoo_models, zoo_peers
from benchmarks.fashion import Pictures, shares
from benchmarks.shapes import render
from benchmarks.zoo_looks import CODES, NOISE, Look
from benchmarks.zoo_measures import mutual_information_gap
from benchmarks.zoo_models import grid_networks, train_ours
from benchmarks.zoo_peers import train_peer
from benchmarks.zoo_world import World

MLP: Mapping[str, object] = {"trunk": "mlp", "hidden": (512, 256), "latent": 16}
BERNOULLI: Mapping[str, object] = {**MLP, "pixels": "bernoulli"}
NOISY: Mapping[str, object] = {"corruption": "gaussian", "corruption_amount": NOISE}
TC_WEIGHT, CRITIC_WEIGHT = 6.0, 10.0
TC_WEIGHT_AS_BLURRED = 12.0
"""With this weight aepipe's MSE equals that of pythae with 6, so that total correlations are compared at equal MSE."""

OURS: Mapping[str, Mapping[str, object]] = {
    "pca": {"family": "pca", "latent": 16},
    "ae": {"family": "ae", **MLP},
    "ae-10s": {"family": "ae", **MLP},
    "ae-conv": {"family": "ae", "trunk": "conv", "latent": 16},
    "sparse_ae": {"family": "sparse_ae", **MLP, "latent": 64},
    "denoising_ae": {"family": "denoising_ae", **MLP, **NOISY},
    "masked_ae": {"family": "masked_ae", **MLP},
    "vae": {"family": "vae", **MLP},
    "denoising_vae": {"family": "denoising_vae", **MLP, **NOISY},
    "vae-bernoulli": {"family": "vae", **BERNOULLI},
    "vae-vampprior": {"family": "vae", **BERNOULLI, "prior": "vampprior"},
    "vae-planar": {"family": "vae", **BERNOULLI, "posterior": "planar"},
    "vae-iaf": {"family": "vae", **BERNOULLI, "posterior": "iaf"},
    "vae-flow_matching": {"family": "vae", **MLP, "prior": "flow_matching"},
    "cvae": {"family": "cvae", **BERNOULLI, "latent": 8},
    "beta_vae": {"family": "beta_vae", **BERNOULLI},
    "beta_tcvae": {"family": "beta_tcvae", **BERNOULLI, "beta": TC_WEIGHT},
    "beta_tcvae-stronger": {"family": "beta_tcvae", **BERNOULLI, "beta": TC_WEIGHT_AS_BLURRED},
    "factor_vae": {"family": "factor_vae", **BERNOULLI, "gamma": CRITIC_WEIGHT},
    "vq_vae": {"family": "vq_vae", "trunk": "conv", "codebook": CODES},
    "vq_vae-fsq": {"family": "vq_vae", "trunk": "conv", "quantizer": "fsq"},
    "vq_vae-residual": {"family": "vq_vae", "trunk": "conv", "codebook": CODES, "residual": 2},
    "adversarial_ae": {"family": "adversarial_ae", **MLP, "latent": 8},
    "wae": {"family": "wae", **MLP, "latent": 8},
    "info_vae": {"family": "info_vae", **BERNOULLI},
    "rae": {"family": "rae", **MLP},
    "iwae": {"family": "iwae", **BERNOULLI},
    "contractive_ae": {"family": "contractive_ae", **MLP},
    "memory_ae": {"family": "memory_ae", **MLP},
    "hierarchical_vae": {"family": "hierarchical_vae", "trunk": "mlp", "hidden": (512, 256), "pixels": "bernoulli"},
    "vrnn": {"family": "vrnn", "trunk": "recurrent", "pixels": "bernoulli", "state": 128},
    "vrnn-without-z": {
        "family": "vrnn",
        "trunk": "recurrent",
        "pixels": "bernoulli",
        "state": 128,
        "stochastic": False,
    },
    "binary_ae": {"family": "binary_ae", **MLP, "latent": 64},
}
"""Section [model] of every experiment."""

PEERS: Mapping[str, tuple[str, int, Mapping[str, object]]] = {
    "pythae-vae": ("VAE", 16, {"reconstruction_loss": "bce"}),
    "pythae-beta_tcvae": ("BetaTCVAE", 16, {"reconstruction_loss": "bce", "beta": TC_WEIGHT}),
    "pythae-factor_vae": ("FactorVAE", 16, {"reconstruction_loss": "bce", "gamma": CRITIC_WEIGHT}),
    "pythae-vq_vae": ("VQVAE", 32, {"num_embeddings": CODES, "use_ema": True}),
    "pythae-adversarial_ae": ("Adversarial_AE", 8, {}),
}
"""Class, number of latents and options of pythae's models; other options have their defaults."""

EPOCHS: Mapping[str, int] = {
    "ae-10s": 3,
    "ae-conv": 24,
    "adversarial_ae": 60,
    "pythae-adversarial_ae": 80,
    "vq_vae": 5,
    "vq_vae-fsq": 5,
    "vq_vae-residual": 5,
    "pythae-vq_vae": 5,
    "vrnn": 14,
    "vrnn-without-z": 14,
    "pca": 1,
}
"""Most epochs if not 40; an experiment has no more than its peer."""

BATCHES: Mapping[str, int] = {
    "vq_vae": 64,
    "vq_vae-fsq": 64,
    "vq_vae-residual": 64,
    "pythae-vq_vae": 64,
    "vrnn": 128,
    "vrnn-without-z": 128,
}
"""Batch size if not 256: with few epochs of expensive rows, more steps learn more."""

OTHERWISE_EPOCHS, BATCH_ROWS, SHAPES_EPOCHS, SHAPES_SEEDS = 40, 256, 300, 5

FAILED_LOOKS = "failed_looks"
"""Number of looks that failed; while there are any, a result does not count as done."""

_IMAGES, _PLAIN = (looks.rebuilding, looks.determinism), (looks.rebuilding,)
_BOUND = (*_IMAGES, looks.bound, looks.dependence)

LOOKS: Mapping[str, tuple[Look, ...]] = {
    "pca": (*_IMAGES, looks.components),
    "ae": (*_IMAGES, looks.restoring),
    "ae-10s": _PLAIN,
    "ae-conv": _IMAGES,
    "sparse_ae": (*_IMAGES, looks.sparsity),
    "denoising_ae": (*_IMAGES, looks.restoring),
    "masked_ae": (*_IMAGES, looks.restoring),
    "vae": (*_IMAGES, looks.restoring, looks.dependence, looks.from_normal, looks.from_mixture),
    "denoising_vae": (*_IMAGES, looks.restoring),
    "vae-bernoulli": (*_BOUND, looks.from_normal),
    "vae-vampprior": (*_BOUND, looks.from_mixture),
    "vae-planar": (*_IMAGES, looks.bound, looks.from_normal),
    "vae-iaf": (*_IMAGES, looks.bound, looks.from_normal),
    "vae-flow_matching": (*_IMAGES, looks.from_flow),
    "cvae": (*_IMAGES, looks.bound, looks.obedience),
    "beta_vae": _BOUND,
    "beta_tcvae": _BOUND,
    "beta_tcvae-stronger": _BOUND,
    "factor_vae": _BOUND,
    "vq_vae": (*_IMAGES, looks.codebook, looks.codes_prior),
    "vq_vae-fsq": (*_IMAGES, looks.codes_prior),
    "vq_vae-residual": (*_IMAGES, looks.codes_prior),
    "adversarial_ae": (*_IMAGES, looks.match, looks.from_normal),
    "wae": (*_IMAGES, looks.match, looks.from_normal),
    "info_vae": _BOUND,
    "rae": (*_IMAGES, looks.from_mixture),
    "iwae": (*_BOUND, looks.from_normal),
    "contractive_ae": (*_IMAGES, looks.restoring),
    "memory_ae": _IMAGES,
    "hierarchical_vae": (*_IMAGES, looks.bound, looks.levels),
    "vrnn": (*_IMAGES, looks.bound),
    "vrnn-without-z": (*_PLAIN, looks.bound),
    "binary_ae": (*_IMAGES, looks.bits),
    "pythae-vae": (*_PLAIN, looks.bound, looks.dependence, looks.from_normal, looks.embedding),
    "pythae-beta_tcvae": (*_PLAIN, looks.bound, looks.dependence),
    "pythae-factor_vae": (*_PLAIN, looks.bound, looks.dependence),
    "pythae-vq_vae": (*_PLAIN, looks.codebook),
    "pythae-adversarial_ae": (*_PLAIN, looks.match, looks.from_normal),
}

LOOKS_ADDED: Mapping[str, tuple[Look, ...]] = {
    "ae": (looks.sensitivity,),
    "denoising_ae": (looks.sensitivity,),
    "contractive_ae": (looks.sensitivity,),
    "vae-bernoulli": (looks.likelihood,),
    "vae-vampprior": (looks.likelihood, looks.dependence),
    "vae-planar": (looks.likelihood,),
    "vae-iaf": (looks.likelihood,),
    "iwae": (looks.likelihood,),
    "wae": (looks.from_mixture,),
    "info_vae": (looks.from_normal,),
    "vq_vae-fsq": (looks.codebook,),
    "vq_vae-residual": (looks.codebook,),
}
"""Measurements that are not part of the key of a result: results without them stay valid and lack their figures."""

SECOND: tuple[str, ...] = (
    "anchors",
    "vae-flow_matching",
    "vae",
    "rae",
    "vae-bernoulli",
    "iwae",
    "info_vae",
    "ae",
    "contractive_ae",
    "wae",
    "adversarial_ae",
    "masked_ae",
    "memory_ae",
    "denoising_ae",
    "vae-vampprior",
    "vae-iaf",
    "vae-planar",
    "vq_vae",
    "vq_vae-fsq",
    "vq_vae-residual",
)
"""Families and options that were added later, and their counterparts."""

_SHAPES = ("vae", "beta_tcvae", "factor_vae")
_SHAPES_LATENTS, _INFORMATION_DRAWS = 10, 8


class Experiment(NamedTuple):
    """An experiment, run once per seed."""

    name: str
    run: Callable[[World, int], Mapping[str, float]]
    configuration: Mapping[str, object]
    """settings that change its numbers, for the key of its results"""
    family: str | None = None
    """families of aepipe that it needs"""
    of_peer: bool = False
    seeds: int | None = None
    """number, if it differs from the number requested"""

    @property
    def lacks(self) -> str | None:
        """Return what keeps it from running, or nothing."""
        if self.of_peer and not zoo_peers.there():
            return zoo_peers.MISSING
        if self.family is not None and not zoo_models.there(self.family):
            return f"family {self.family} is not there yet"
        return None


def experiments() -> dict[str, Experiment]:
    """Return all experiments by name, in the order in which they run."""
    made = [Experiment("anchors", _anchors, {"looks": "frechet"}, seeds=1)]
    made += [_ours(name) for name in OURS]
    made += [_peer(name) for name in PEERS]
    made += [_shapes(family) for family in _SHAPES]
    return {each.name: each for each in made}


def _ours(name: str) -> Experiment:
    section, epochs = OURS[name], EPOCHS.get(name, OTHERWISE_EPOCHS)

    def run(world: World, seed: int) -> Mapping[str, float]:
        train, dev = world.fashion.train, world.fashion.dev
        subject = train_ours(
            train,
            dev,
            section,
            epochs=world.epochs(epochs),
            batch_rows=BATCHES.get(name, BATCH_ROWS),
            seed=seed,
            patience=20,
        )
        return _looked_at(name, world, subject, seed)

    seeds = 1 if name == "pca" else None  # a closed form
    return Experiment(name, run, _configuration(name, section, epochs), family=str(section["family"]), seeds=seeds)


def _peer(name: str) -> Experiment:
    kind, latent, options = PEERS[name]
    epochs = EPOCHS.get(name, OTHERWISE_EPOCHS)

    def run(world: World, seed: int) -> Mapping[str, float]:
        parts = world.fashion.train, world.fashion.dev
        networks = grid_networks(OURS["vq_vae"], seed) if kind == "VQVAE" else None
        subject = train_peer(
            kind,
            *parts,
            options,
            latent=latent,
            epochs=world.epochs(epochs),
            batch_rows=BATCHES.get(name, BATCH_ROWS),
            seed=seed,
            networks=networks,
        )
        return _looked_at(name, world, subject, seed)

    configuration = _configuration(name, {"kind": kind, "latent": latent, **options}, epochs)
    family = "vq_vae" if kind == "VQVAE" else None  # whose networks it is given
    return Experiment(name, run, configuration, family=family, of_peer=True)


def _looked_at(name: str, world: World, subject: zoo_models.Subject, seed: int) -> dict[str, float]:
    """Return the numbers of all measurements; a failing one loses its own numbers only."""
    values: dict[str, float] = {FAILED_LOOKS: 0}
    for look in (*LOOKS[name], *LOOKS_ADDED.get(name, ())):
        if look is looks.determinism and world.scale.name == "small":
            continue  # an export takes longer than training at this scale
        try:
            values |= look(world, subject, seed)
        except Exception as error:
            values[FAILED_LOOKS] += 1
            print(f"{name}, seed {seed}: {look.__name__} failed: {type(error).__name__}: {error}", flush=True)
    return values


def _configuration(name: str, options: Mapping[str, object], epochs: int) -> dict[str, object]:
    return {
        "options": dict(options),
        "epochs": epochs,
        "batch_rows": BATCHES.get(name, BATCH_ROWS),
        "looks": [look.__name__ for look in LOOKS[name]],
    }


def _anchors(world: World, seed: int) -> Mapping[str, float]:
    """Return the ends of the Frechet scale: real rows against real rows, and noise against real rows."""
    noise = np.random.default_rng(seed).random((world.scale.samples, 784)).astype(np.float32)
    reference, held_out = world.fashion.reference, world.fashion.held_out
    real = world.classifier.labels(shares(reference.images)) == reference.labels
    return {
        "frechet_real": looks.distance(world, shares(world.fashion.train.images[: world.scale.samples])),
        "frechet_noise": looks.distance(world, noise),
        "judge_accuracy": float(real.mean()),
        "held_out_rows": len(held_out.images),
    }


def _shapes(family: str) -> Experiment:
    section = {**OURS[family], **BERNOULLI, "latent": _SHAPES_LATENTS}

    def run(world: World, seed: int) -> Mapping[str, float]:
        shapes = render()
        pictures = Pictures(shapes.images, shapes.factors[:, 0])
        epochs = world.epochs(SHAPES_EPOCHS)
        subject = train_ours(
            pictures, pictures, section, epochs=epochs, batch_rows=BATCH_ROWS, seed=seed, patience=SHAPES_EPOCHS
        )
        gap = mutual_information_gap(subject.posterior(pictures), shapes.factors, draws=_INFORMATION_DRAWS, seed=seed)
        return {"gap": gap, "negative_elbo": subject.negative_elbo(pictures, seed), **subject.cost._asdict()}

    configuration = {"options": section, "epochs": SHAPES_EPOCHS, "draws": _INFORMATION_DRAWS}
    return Experiment(f"shapes-{family}", run, configuration, family=family, seeds=SHAPES_SEEDS)
