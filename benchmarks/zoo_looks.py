"""Evaluations of a trained model as named numbers, by `zoo_measures`."""

import time
from collections import defaultdict
from collections.abc import Callable, Mapping

import numpy as np

from aepipe.quality.frechet import frechet_distance
from benchmarks.fashion import CLASSES, Floats, Images, Pictures, shares
from benchmarks.zoo_measures import (
    active_units,
    code_moments,
    from_position_marginals,
    greatest_difference,
    mean_squared_error,
    near_zero_share,
    perplexity,
    through_principal_components,
    total_correlation,
    unigram_nats,
)
from benchmarks.zoo_models import ExportedEncoder, Ours, Subject
from benchmarks.zoo_peers import Peer
from benchmarks.zoo_world import World

Look = Callable[[World, Subject, int], Mapping[str, float]]
"""(world, subject, seed) -> numbers"""

CODES = 256
NOISE = 0.3
"""Standard deviation of the noise on held-out images, as a share of the greatest pixel value."""

_PRIOR_FACT, _CRITIC_FACT = "prior_nats_per_code", "critic_accuracy"
"""Facts of aepipe's model card that need a network only the family knows."""

_ENCODED_ROWS = 520


def rebuilding(world: World, subject: Subject, seed: int) -> Mapping[str, float]:
    """Measure the mean squared error on held-out images, and the cost of training."""
    held_out = world.fashion.held_out
    return {"mse": mean_squared_error(shares(held_out.images), subject.rebuilt(held_out)), **subject.cost._asdict()}


def components(world: World, subject: Subject, seed: int) -> Mapping[str, float]:
    """Measure the error of the same number of principal components in numpy, both as they are and clipped to [0, 1]."""
    train, held_out = (shares(part.images) for part in (world.fashion.train, world.fashion.held_out))
    rebuilt = through_principal_components(train, held_out, subject.latents)
    return {
        "by_numpy": mean_squared_error(held_out, rebuilt),
        "by_numpy_cut": mean_squared_error(held_out, np.clip(rebuilt, 0, 1)),
    }


def restoring(world: World, subject: Subject, seed: int) -> Mapping[str, float]:
    """Measure the mean squared error against clean held-out images when the model sees noisy ones."""
    clean, seen = shares(world.fashion.held_out.images), _disturbed(world.fashion.held_out, seed)
    return {"restored_mse": mean_squared_error(clean, subject.rebuilt(Pictures(seen, world.fashion.held_out.labels)))}


def bound(world: World, subject: Subject, seed: int) -> Mapping[str, float]:
    """Measure -ELBO of held-out images, in nats."""
    return {"negative_elbo": subject.negative_elbo(world.fashion.held_out, seed)}


def dependence(world: World, subject: Subject, seed: int) -> Mapping[str, float]:
    """Measure the total correlation of the aggregated posterior of all training images, and the active latents."""
    posteriors = subject.posterior(world.fashion.train)
    correlation = total_correlation(posteriors, draws=world.scale.draws, seed=seed)
    return {"total_correlation": correlation, "active_units": active_units(posteriors)}


def from_normal(world: World, subject: Subject, seed: int) -> Mapping[str, float]:
    """Measure the Frechet distance of images decoded from N(0, I)."""
    return {"frechet_normal": distance(world, subject.from_normal(world.scale.samples, seed))}


def from_mixture(world: World, subject: Subject, seed: int) -> Mapping[str, float]:
    """Measure the Frechet distance of images from the mixture fitted on training latents."""
    pictures = _ours(subject).from_mixture(world.fashion.train, world.scale.samples, seed)
    return {"frechet_mixture": distance(world, pictures)}


def from_flow(world: World, subject: Subject, seed: int) -> Mapping[str, float]:
    """Measure the Frechet distances of images from the flow and the mixture, fitted on the same training latents."""
    ours = _ours(subject)
    begun = time.process_time()
    pictures = ours.from_mixture(world.fashion.train, world.scale.samples, seed)
    cpu_s = time.process_time() - begun
    steps, ours.model.euler_steps = ours.model.euler_steps, 0
    mixture = ours.from_mixture(world.fashion.train, world.scale.samples, seed)
    ours.model.euler_steps = steps
    return {
        "frechet_flow": distance(world, pictures),
        "frechet_mixture": distance(world, mixture),
        "flow_cpu_s": cpu_s,
    }


def sensitivity(world: World, subject: Subject, seed: int) -> Mapping[str, float]:
    """Measure how far noise on held-out images moves their latents, relative to the distance between two images."""
    held_out = world.fashion.held_out
    z = subject.posterior(held_out).mean
    moved = subject.posterior(Pictures(_disturbed(held_out, seed), held_out.labels)).mean - z
    apart = np.roll(z, 1, axis=0) - z  # the rows are shuffled
    return {"sensitivity": float(np.sqrt(np.square(moved).sum(1).mean() / np.square(apart).sum(1).mean()))}


def likelihood(world: World, subject: Subject, seed: int) -> Mapping[str, float]:
    """Measure -log p of held-out images by 64 importance-weighted draws, in nats."""
    return {"negative_log_likelihood": -_ours(subject).facts(world.fashion.held_out, seed)["log_likelihood"]}


def obedience(world: World, subject: Subject, seed: int) -> Mapping[str, float]:
    """Share of samples in which the classifier sees the class that was asked for, and of real rows it names rightly."""
    labels = np.arange(world.scale.samples) % CLASSES
    z = np.random.default_rng(seed).standard_normal((len(labels), subject.latents))
    seen = world.classifier.labels(_ours(subject).decoded_given(z, labels))
    held_out = world.fashion.held_out
    real = (world.classifier.labels(shares(held_out.images)) == held_out.labels).mean()
    return {"obeyed": float((seen == labels).mean()), "judge_on_real": float(real)}


def codebook(world: World, subject: Subject, seed: int) -> Mapping[str, float]:
    """Count the codes that held-out images use."""
    return {"perplexity": perplexity(subject.codes(world.fashion.held_out), CODES)}


def codes_prior(world: World, subject: Subject, seed: int) -> Mapping[str, float]:
    """Compare the prior over codes with one that knows how often each code is used at each position."""
    ours, samples = _ours(subject), world.scale.samples
    train, held_out = ours.codes(world.fashion.train), ours.codes(world.fashion.held_out)
    drawn = from_position_marginals(train, samples, seed=seed)
    return {
        "prior_nats": ours.facts(world.fashion.held_out, seed)[_PRIOR_FACT],
        "unigram_nats": unigram_nats(train, held_out, CODES),
        "frechet_prior": distance(world, ours.from_prior(samples, seed)),
        "frechet_marginals": distance(world, ours.decoded(drawn)),
    }


def match(world: World, subject: Subject, seed: int) -> Mapping[str, float]:
    """Measure how close the codes of held-out images are to N(0, I), in moments and by a critic of the model."""
    held_out = world.fashion.held_out
    codes = subject.posterior(held_out).draw(np.random.default_rng(seed))
    if isinstance(subject, Peer):
        accuracies = {_CRITIC_FACT: subject.critic_accuracy(codes, seed)}
    else:
        facts = _ours(subject).facts(held_out, seed)
        accuracies = {name: facts[name] for name in (_CRITIC_FACT,) if name in facts}
    return {**code_moments(codes)._asdict(), **accuracies}


def levels(world: World, subject: Subject, seed: int) -> Mapping[str, float]:
    """Return the KL of each level of latents, in nats: facts named `kl.<level>`, or sums of `kl.<level>_<number>`."""
    sums: defaultdict[str, float] = defaultdict(float)
    for name, nats in _ours(subject).facts(world.fashion.held_out, seed).items():
        if name.startswith("kl."):
            sums[name.partition("_")[0]] += nats
    return {"levels": len(sums), "least_level_kl": min(sums.values())}


def sparsity(world: World, subject: Subject, seed: int) -> Mapping[str, float]:
    """Share of near-zero activations."""
    return {"near_zero": near_zero_share(subject.posterior(world.fashion.held_out).mean)}


def bits(world: World, subject: Subject, seed: int) -> Mapping[str, float]:
    """Return the share of bits that are neither always on nor always off."""
    on = (subject.posterior(world.fashion.held_out).mean > 0.5).mean(axis=0)
    return {"bits_in_use": float(((on > 0.01) & (on < 0.99)).mean())}


def determinism(world: World, subject: Subject, seed: int) -> Mapping[str, float]:
    """Measure how far features of the exported encoder differ between calls and batches, over what is allowed."""
    some = world.fashion.held_out.part(0, _ENCODED_ROWS)
    encode = ExportedEncoder(_ours(subject), some)

    def features(begin: int, end: int) -> Floats:
        return encode(some.part(begin, end)).astype(np.float32)

    return {"feature_difference": greatest_difference(features, len(some.images), (1, 7, 512))}


def embedding(world: World, subject: Subject, seed: int) -> Mapping[str, float]:
    """Measure the same with a peer's own call for features."""
    assert isinstance(subject, Peer)
    some = world.fashion.held_out.part(0, _ENCODED_ROWS)

    def features(begin: int, end: int) -> Floats:
        return subject.embedded(some.part(begin, end))

    return {"feature_difference": greatest_difference(features, len(some.images), ())}


def _disturbed(pictures: Pictures, seed: int) -> Images:
    """Add Gaussian noise to each pixel of the images."""
    clean = shares(pictures.images)
    noise = NOISE * np.random.default_rng(seed).standard_normal(clean.shape)
    seen: Images = np.round(255 * np.clip(clean + noise, 0, 1)).astype(np.uint8).reshape(pictures.images.shape)
    return seen


def distance(world: World, pictures: Floats) -> float:
    """Return the Frechet distance of images, (B, 784) in [0, 1], from the test rows, in the classifier's features."""
    real = world.classifier.features(shares(world.fashion.reference.images))
    return frechet_distance(real, world.classifier.features(pictures))


def _ours(subject: Subject) -> Ours:
    assert isinstance(subject, Ours), "asked of aepipe's own models only"
    return subject
