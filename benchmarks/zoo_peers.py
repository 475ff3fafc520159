"""pythae's models with aepipe's networks, trained by pythae's trainers on the same rows, with the same interface.

pythae is Apache-2.0: Chadebec, Vincent & Allassonniere 2022. `pip install "aepipe[benchmarks]"` brings it.
"""

import contextlib
import importlib
import importlib.util
import io
import logging
import tempfile
import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.fashion import Pictures, shares
from benchmarks.zoo_measures import Doubles, Floats, Gaussians, Integers, bernoulli_nll
from benchmarks.zoo_models import CPU_LIMIT_S, Cost, OverBudget, Subject

MISSING = 'pythae is not installed, its rows are left out: pip install "aepipe[benchmarks]" (or pip install pythae)'

Networks = tuple[nn.Module, nn.Module]

_LEARNING_RATE = 1e-3  # its default of 1e-4 is far from done after as many epochs
_ROWS_A_CALL = 1_000


def there() -> bool:
    """Return True if pythae can be imported."""
    return importlib.util.find_spec("pythae") is not None


@contextlib.contextmanager
def no_progress() -> Iterator[None]:
    """Silence pythae's progress bars and loggers."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(before)


class Peer(Subject):
    """A trained model of pythae."""

    def __init__(self, model: Any, latents: int, cost: Cost) -> None:
        self.model = model.eval()
        self.cost = cost
        self._latents = latents

    @property
    def latents(self) -> int:
        return self._latents

    @torch.no_grad()
    def posterior(self, pictures: Pictures) -> Gaussians:
        answers = [self.model.encoder(part) for part in _parts(pictures)]
        mean = torch.cat([answer.embedding for answer in answers]).double().numpy()
        if self.model.model_name == "VQVAE":
            return Gaussians(mean.reshape(len(mean), -1), None)
        return Gaussians(mean, torch.cat([answer.log_covariance for answer in answers]).double().numpy())

    @torch.no_grad()
    def rebuilt(self, pictures: Pictures) -> Floats:
        if self.model.model_name == "VQVAE":
            found = [self._forward(part).recon_x for part in _parts(pictures)]
            return torch.cat(found).flatten(1).clamp(0, 1).numpy()
        return self.decoded(self.posterior(pictures).mean)

    @torch.no_grad()
    def decoded(self, z: Doubles) -> Floats:
        parts = torch.split(torch.from_numpy(z).float(), _ROWS_A_CALL)
        pictures = torch.cat([self.model.decoder(part).reconstruction for part in parts])
        return pictures.flatten(1).clamp(0, 1).numpy()

    @torch.no_grad()
    def codes(self, pictures: Pictures) -> Integers:
        found = [self._forward(part).quantized_indices for part in _parts(pictures)]
        return torch.cat(found).flatten(1).numpy()

    def negative_elbo(self, pictures: Pictures, seed: int) -> float:
        posterior = self.posterior(pictures)
        z = posterior.draw(np.random.default_rng(seed))
        return float((bernoulli_nll(shares(pictures.images), self.decoded(z)) + posterior.kl().sum(1)).mean())

    @torch.no_grad()
    def embedded(self, pictures: Pictures) -> Floats:
        """Return features by pythae's own call for them."""
        return torch.cat([self.model.embed(part) for part in _parts(pictures)]).flatten(1).numpy()

    @torch.no_grad()
    def critic_accuracy(self, codes: Doubles, seed: int) -> float:
        """Return the accuracy of the trained discriminator on these codes and an equal number of draws of N(0, I)."""
        drawn = np.random.default_rng(seed).standard_normal(codes.shape)
        of_prior, of_codes = (self._is_prior(latents) for latents in (drawn, codes))
        return float((of_prior.mean() + (1 - of_codes).mean()) / 2)

    def _is_prior(self, z: Doubles) -> Floats:
        predicted = self.model.discriminator(torch.from_numpy(z).float()).embedding.flatten()
        is_prior: Floats = (predicted > 0.5).float().numpy()
        return is_prior

    def _forward(self, pixels: Tensor) -> Any:
        from pythae.data.datasets import DatasetOutput

        return self.model(DatasetOutput(data=pixels))


def train_peer(
    kind: str,
    train: Pictures,
    dev: Pictures,
    options: Mapping[str, object],
    *,
    latent: int,
    epochs: int,
    batch_rows: int,
    seed: int,
    networks: Networks | None = None,
) -> Peer:
    """Train the pythae model of that class on these images and keep its best weights on `dev`, as its trainers do.

    networks: encoder and decoder; None: the networks of aepipe's mlp backbone.
    """
    with no_progress():
        importlib.import_module("pythae.trainers")  # before the clock runs
        torch.manual_seed(seed)
        model = _make(kind, latent, options, networks)
        cpu, wall = time.process_time(), time.perf_counter()
        best, done = _trained(model, train, dev, epochs=epochs, batch_rows=batch_rows, seed=seed)
        cpu_s = time.process_time() - cpu
        cost = Cost(cpu_s, time.perf_counter() - wall, done, cpu_s)
    return Peer(best, latent, cost)


def _make(kind: str, latent: int, options: Mapping[str, object], networks: Networks | None) -> Any:
    from pythae import models

    encoder, decoder = _dressed(kind, latent, options, networks)
    name = f"{kind}_Config" if kind == "Adversarial_AE" else f"{kind}Config"
    config = getattr(models, name)(input_dim=(1, 28, 28), latent_dim=latent, **options)
    return getattr(models, kind)(config, encoder=encoder, decoder=decoder)


def _trained(model: Any, train: Pictures, dev: Pictures, *, epochs: int, batch_rows: int, seed: int) -> tuple[Any, int]:
    """Train with pythae's own trainer, discard its files, and return the best model on dev rows and the epochs done."""
    from pythae.data.datasets import BaseDataset
    from pythae.trainers import AdversarialTrainer, AdversarialTrainerConfig, BaseTrainer, BaseTrainerConfig

    is_adversarial = model.model_name in ("FactorVAE", "Adversarial_AE")
    rates = ("autoencoder_learning_rate", "discriminator_learning_rate") if is_adversarial else ("learning_rate",)
    watch = _watch()
    with tempfile.TemporaryDirectory() as folder:
        config = (AdversarialTrainerConfig if is_adversarial else BaseTrainerConfig)(
            output_dir=folder,
            num_epochs=epochs,
            per_device_train_batch_size=batch_rows,
            per_device_eval_batch_size=_ROWS_A_CALL,
            seed=seed,
            no_cuda=True,
            **dict.fromkeys(rates, _LEARNING_RATE),
        )
        sets = [BaseDataset(torch.cat(_parts(part)), torch.from_numpy(part.labels)) for part in (train, dev)]
        trainer = (AdversarialTrainer if is_adversarial else BaseTrainer)(
            model, *sets, training_config=config, callbacks=[watch]
        )
        with contextlib.suppress(OverBudget):  # its best weights so far are what the budget bought
            trainer.train()
    return trainer._best_model, watch.epochs


def _watch() -> Any:
    """Return a pythae callback that counts epochs and stops at the limit of CPU seconds."""
    from pythae.trainers.training_callbacks import TrainingCallback

    class Watch(TrainingCallback):  # type: ignore[misc]
        def __init__(self) -> None:
            self.epochs = 0
            self.begun = time.process_time()

        def on_epoch_end(self, training_config: object, **_: object) -> None:
            self.epochs += 1
            if time.process_time() - self.begun > CPU_LIMIT_S:
                raise OverBudget("the CPU seconds of a model are spent")

    return Watch()


def _dressed(kind: str, latent: int, options: Mapping[str, object], networks: Networks | None) -> tuple[Any, Any]:
    shape = (1, 28, 28)
    if networks is not None:
        return _coders(*networks, shape, has_variance=False, is_bernoulli=False)
    is_bernoulli = options.get("reconstruction_loss") == "bce"
    encode, decode = WithShortcut(784, (512, 256), 2 * latent), WithShortcut(latent, (256, 512), 784)
    return _coders(encode, decode, shape, has_variance=True, is_bernoulli=is_bernoulli)


class WithShortcut(nn.Module):
    """Fully connected layers with a linear shortcut: aepipe's mlp trunk, for vectors."""

    def __init__(self, inputs: int, hidden: tuple[int, ...], outputs: int) -> None:
        super().__init__()
        widths = (inputs, *hidden)
        layers: list[nn.Module] = []
        for before, after in zip(widths, hidden, strict=False):
            layers += [nn.Linear(before, after), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Linear(widths[-1], outputs))
        self.shortcut = nn.Linear(inputs, outputs)

    def forward(self, rows: Tensor) -> Tensor:
        flat = rows.flatten(1)
        answer: Tensor = self.layers(flat) + self.shortcut(flat)
        return answer


def _coders(
    encode: nn.Module, decode: nn.Module, shape: tuple[int, ...], *, has_variance: bool, is_bernoulli: bool
) -> tuple[Any, Any]:
    """Wrap encoder and decoder in pythae's classes; `shape` is that of a row."""
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder

    class Encoder(BaseEncoder):  # type: ignore[misc]
        def __init__(self) -> None:
            BaseEncoder.__init__(self)
            self.network = encode

        def forward(self, x: Tensor) -> Any:
            answer = self.network(x)
            if not has_variance:
                return ModelOutput(embedding=answer)
            mean, log_var = answer.chunk(2, dim=1)
            return ModelOutput(embedding=mean, log_covariance=log_var)

    class Decoder(BaseDecoder):  # type: ignore[misc]
        def __init__(self) -> None:
            BaseDecoder.__init__(self)
            self.network = decode

        def forward(self, z: Tensor) -> Any:
            answer = self.network(z)
            rebuilt = torch.sigmoid(answer) if is_bernoulli else answer
            return ModelOutput(reconstruction=rebuilt.reshape(-1, *shape))

    return Encoder(), Decoder()


def table_trainer(rows: Floats, *, latent: int, hidden: int, batch_rows: int, seed: int) -> Any:
    """Return pythae's trainer of a small VAE on a table (B, F), ready for `train_step`."""
    from pythae.data.datasets import BaseDataset
    from pythae.models import VAE, VAEConfig
    from pythae.trainers import BaseTrainer, BaseTrainerConfig

    width = rows.shape[1]
    torch.manual_seed(seed)
    encode, decode = WithShortcut(width, (hidden,), 2 * latent), WithShortcut(latent, (hidden,), width)
    encoder, decoder = _coders(encode, decode, (width,), has_variance=True, is_bernoulli=False)
    model = VAE(VAEConfig(input_dim=(width,), latent_dim=latent), encoder=encoder, decoder=decoder)
    sizes = {"per_device_train_batch_size": batch_rows, "per_device_eval_batch_size": batch_rows}
    with tempfile.TemporaryDirectory() as folder:
        config = BaseTrainerConfig(output_dir=folder, seed=seed, no_cuda=True, **sizes)
        trainer = BaseTrainer(model, BaseDataset(torch.from_numpy(rows), torch.zeros(len(rows))), None, config)
        trainer.prepare_training()
    return trainer


def _parts(pictures: Pictures) -> list[Tensor]:
    pixels = torch.from_numpy(shares(pictures.images)).reshape(-1, 1, 28, 28)
    return list(torch.split(pixels, _ROWS_A_CALL))
