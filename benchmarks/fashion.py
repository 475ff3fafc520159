"""Fashion-MNIST split into the parts that benchmarks use, and a small classifier that evaluates images."""

import hashlib
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks import command

Images = NDArray[np.uint8]
"""(B, 1, 28, 28)"""
Labels = NDArray[np.int64]
Floats = NDArray[np.float32]

CLASSES = 10
CLASSIFIER_EPOCHS = 8
PATH_VARIABLE = "AEPIPE_BENCHMARK_DATA"

_FEATURES = 64
_CLASSIFIER_BATCH = 64
_ROWS_A_CALL = 2_000
_SPLIT_SEED = 0


class Pictures(NamedTuple):
    """Images of one part, and their classes."""

    images: Images
    labels: Labels

    def part(self, begin: int, end: int) -> "Pictures":
        """Return rows begin ... end - 1."""
        return Pictures(self.images[begin:end], self.labels[begin:end])


class Fashion(NamedTuple):
    """Five disjoint parts. Models learn from `train` and stop by `dev`; the other parts evaluate them."""

    train: Pictures
    dev: Pictures
    held_out: Pictures
    for_classifier: Pictures
    """rows that the classifier learns from"""
    reference: Pictures
    """the test rows of the set, with which samples are compared"""


def data_path() -> Path:
    """Return the path of the npz file."""
    return command.data_path(PATH_VARIABLE, "fashion_mnist.npz")


def load(path: Path, *, train_rows: int, held_out_rows: int, classifier_rows: int) -> Fashion:
    """Read the parts, shuffled with one seed for all runs, since the file is sorted by class."""
    if not path.exists():
        raise SystemExit(f"there is no {path}: name the npz of Fashion-MNIST with --data or {PATH_VARIABLE}")
    with np.load(path) as arrays:
        seen = Pictures(arrays["x_train"][:, None], arrays["y_train"].astype(np.int64))
        reference = Pictures(arrays["x_test"][:, None], arrays["y_test"].astype(np.int64))
    order = np.random.default_rng(_SPLIT_SEED).permutation(len(seen.images))
    sizes = (train_rows, max(1, train_rows // 10), held_out_rows, classifier_rows)
    cuts = np.split(order[: sum(sizes)], np.cumsum(sizes)[:-1])
    train, dev, held_out, for_classifier = (Pictures(seen.images[cut], seen.labels[cut]) for cut in cuts)
    return Fashion(train, dev, held_out, for_classifier, reference)


def digest(path: Path) -> str:
    """Return the first 12 digits of the file's sha256."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]


def shares(images: Images) -> Floats:
    """Return pixels scaled to [0, 1], (B, 784)."""
    pixels: Floats = images.reshape(len(images), -1).astype(np.float32) / np.float32(255)
    return pixels


class ImageClassifier(nn.Module):
    """A convolutional classifier; its last hidden layer is the space in which samples are compared with rows."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 16, 3, 2, 1),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, 2, 1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(32 * 7 * 7, _FEATURES),
            nn.ReLU(),
        )
        self.head = nn.Linear(_FEATURES, CLASSES)

    def forward(self, pixels: Tensor) -> Tensor:
        answer: Tensor = self.head(self.body(pixels))
        return answer

    @torch.no_grad()
    def features(self, pixels: Floats) -> Floats:
        """Return features (B, 64) of pixels in [0, 1], (B, 784)."""
        return np.concatenate([self.body(part).numpy() for part in _parts(pixels)])

    @torch.no_grad()
    def labels(self, pixels: Floats) -> Labels:
        """Return the likeliest class of pixels in [0, 1], (B, 784)."""
        return np.concatenate([self(part).argmax(1).numpy() for part in _parts(pixels)])


def classifier(pictures: Pictures, folder: Path, key: str) -> ImageClassifier:
    """Return the classifier of these images, trained once and kept in `folder` under `key`."""
    made = ImageClassifier().eval()
    path = folder / f"judge-{key}.pt"
    if path.exists():
        made.load_state_dict(torch.load(path, weights_only=True))
        return made
    begun = time.process_time()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = _trained(ImageClassifier(), pictures).eval()
    folder.mkdir(parents=True, exist_ok=True)
    waiting = path.with_suffix(".tmp")
    torch.save(made.state_dict(), waiting)
    waiting.replace(path)
    print(f"the classifier was trained in {time.process_time() - begun:.0f} CPU s", flush=True)
    return made


def _trained(made: ImageClassifier, pictures: Pictures) -> ImageClassifier:
    pixels = torch.from_numpy(shares(pictures.images)).reshape(-1, 1, 28, 28)
    labels = torch.from_numpy(pictures.labels)
    steps = CLASSIFIER_EPOCHS * (-(-len(labels) // _CLASSIFIER_BATCH))
    optimizer = torch.optim.Adam(made.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.05, total_iters=steps)
    for _ in range(CLASSIFIER_EPOCHS):
        for index in torch.split(torch.randperm(len(labels)), _CLASSIFIER_BATCH):
            optimizer.zero_grad()
            torch.autograd.backward(F.cross_entropy(made(pixels[index]), labels[index]))
            optimizer.step()
            schedule.step()
    return made


def _parts(pixels: Floats) -> tuple[Tensor, ...]:
    return torch.split(torch.from_numpy(np.ascontiguousarray(pixels)).reshape(-1, 1, 28, 28), _ROWS_A_CALL)
