"""Draw docs/parabola.png: rows with y = x², reconstructed by PCA and by an autoencoder with one latent."""

from pathlib import Path

import numpy as np
import torch
from torch import nn

ROWS, STEPS = 400, 1_500
UNUSUAL = np.array([[0.0, 1.5]], np.float32)


def parabola(rows: int = ROWS, *, seed: int = 0) -> np.ndarray:
    """Return rows with x uniform in -1.5 to 1.5 and y = x² with noise, (rows, 2)."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1.5, 1.5, rows)
    return np.stack([x, x**2 + rng.normal(0, 0.05, rows)], axis=1).astype(np.float32)


def pca_reconstruction(train: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return the projections of rows onto the first principal axis of the training rows."""
    mean = train.mean(axis=0)
    axis = np.linalg.svd(train - mean, full_matrices=False)[2][:1]
    projected: np.ndarray = mean + (rows - mean) @ axis.T @ axis
    return projected


def autoencoder_reconstruction(train: np.ndarray, rows: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """Return the reconstructions of rows by an autoencoder with one latent, trained on the training rows."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = nn.Sequential(
            nn.Linear(2, 32), nn.Tanh(), nn.Linear(32, 1), nn.Linear(1, 32), nn.Tanh(), nn.Linear(32, 2)
        )
        optimiser, target = torch.optim.Adam(model.parameters(), lr=0.01), torch.from_numpy(train)
        for _ in range(STEPS):
            optimiser.zero_grad()
            nn.functional.mse_loss(model(target), target).backward()
            optimiser.step()
        with torch.no_grad():
            return np.asarray(model(torch.from_numpy(rows)))


def main() -> None:
    """Write the picture."""
    from matplotlib.figure import Figure

    train = parabola()
    figure = Figure(figsize=(8, 3.4), layout="constrained")
    reconstructions = {"PCA": pca_reconstruction, "autoencoder": autoencoder_reconstruction}
    for axes, (name, reconstruct) in zip(figure.subplots(1, 2, sharey=True), reconstructions.items(), strict=True):
        error = np.linalg.norm(train - reconstruct(train, train), axis=1)
        unusual = float(np.linalg.norm(UNUSUAL - reconstruct(train, UNUSUAL)))
        above = (error >= unusual).mean()
        axes.scatter(*train.T, s=5, color="#93a1b0", label="rows")
        axes.scatter(*reconstruct(train, train).T, s=5, color="#0072b2", label="reconstructed")
        axes.scatter(*UNUSUAL.T, marker="x", color="#d55e00", label="unusual row")
        axes.set_title(f"{name}: {100 * above:.0f} % of rows have a larger error", fontsize=9)
        axes.set_xlabel("x")
        axes.legend(frameon=False, fontsize=8)
    figure.savefig(Path(__file__).with_name("parabola.png"), dpi=110, metadata={"Software": None})


if __name__ == "__main__":
    main()
