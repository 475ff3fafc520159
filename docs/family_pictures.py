"""Draw what is special about each family, on tiny tables: `python docs/family_pictures.py [FAMILY ...]`.

Each family is trained for seconds, with fixed seeds, and drawn next to a plainer one. docs/pictures/<family>.svg holds
the picture and its caption.
"""

import io
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, PathPatch
from matplotlib.path import Path as Outline
from numpy.typing import NDArray

from aepipe.layout import END, FIRST_VALUE
from aepipe.models.base import Model
from aepipe.models.encoder_decoder import log_density
from aepipe.storage import put_bytes
from tiny_models import BINS, ITEMS, Floats, encoded, points, sampled, table, trained

FOLDER = Path(__file__).parent / "pictures"
GREY, BLUE, RED, GREEN, PINK, YELLOW = "#93a1b0", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00"
COLOURS = (BLUE, RED, GREEN, PINK, YELLOW)

Draw = Callable[[Axes, Axes], None]


def segments(axes: Axes, begins: Floats, ends: Floats, colour: str, *, width: float) -> None:
    """Draw lines from points (B, 2) to others as one path, which takes a third of the bytes of single lines."""
    vertices = np.stack([begins, ends], axis=1).reshape(-1, 2)
    outline = Outline(vertices, np.tile([Outline.MOVETO, Outline.LINETO], len(begins)))
    axes.add_patch(PathPatch(outline, edgecolor=colour, facecolor="none", linewidth=width, capstyle="round"))
    axes.update_datalim(vertices)
    axes.autoscale_view()


def dots(axes: Axes, rows: Floats, colour: str, *, size: float = 3.0) -> None:
    """Draw points (B, 2)."""
    segments(axes, rows, rows, colour, width=size)


def dots_by_group(axes: Axes, rows: Floats, group: NDArray[np.int64]) -> None:
    """Draw points, (B, 2), in the colour of their group, (B,)."""
    for at in np.unique(group):
        dots(axes, rows[group == at], COLOURS[at])


def plane(name: str, *, steps: int = 40) -> tuple[Floats, Floats, NDArray[np.float32]]:
    """Return the coordinates of a grid around the rows of a table, and its points, (steps², 2)."""
    rows = np.asarray(table(name).arrays["num"], np.float64)
    low, high = rows.min(axis=0), rows.max(axis=0)
    x, y = (np.linspace(a - 0.3 * (b - a), b + 0.3 * (b - a), steps) for a, b in zip(low, high, strict=True))
    return x, y, np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2).astype(np.float32)


def draw_reconstructions(axes: Axes, model: Model) -> None:
    """Draw the rows of the curve and their reconstructions."""
    arrays = table("curve").arrays
    dots(axes, np.asarray(arrays["num"], np.float64), GREY)
    dots(axes, points(model, model.reconstruct(encoded(model, arrays)).params), BLUE)


def draw_arrows(axes: Axes, model: Model) -> None:
    """Draw points around the curve, each with a line to its reconstruction."""
    dots(axes, np.asarray(table("curve").arrays["num"], np.float64), GREY)
    _, _, around = plane("curve", steps=6)
    ends = points(model, model.reconstruct(encoded(model, {"num": around})).params)
    segments(axes, around.astype(np.float64), ends, RED, width=0.8)
    dots(axes, ends, RED)


def draw_errors(axes: Axes, model: Model) -> None:
    """Draw the loss of each point of the plane, darker where it is higher, and the rows of the curve."""
    x, y, grid = plane("curve")
    row = encoded(model, {"num": grid})
    loss = model.likelihood.nll(model.reconstruct(row).params, row).sum(1).numpy()
    shade = np.log(loss - loss.min() + 1).reshape(len(y), len(x))
    axes.imshow(shade, origin="lower", aspect="auto", cmap="Blues", extent=(x[0], x[-1], y[0], y[-1]))
    dots(axes, np.asarray(table("curve").arrays["num"], np.float64), RED, size=1.5)


def draw_slopes(axes: Axes, model: Model) -> None:
    """Draw lines of equal latent over the plane, and the rows of the curve."""
    x, y, grid = plane("curve", steps=25)
    z = model.posterior(encoded(model, {"num": grid})).mean[:, 0].numpy()
    axes.contour(x, y, z.reshape(len(y), len(x)), levels=12, colors=BLUE, linewidths=0.8, linestyles="solid")
    dots(axes, np.asarray(table("curve").arrays["num"], np.float64), GREY)


def draw_activity(axes: Axes, model: Model) -> None:
    """Draw the size of each latent of 40 rows."""
    arrays = {name: array[:40] for name, array in table("factors").arrays.items()}
    axes.imshow(model.posterior(encoded(model, arrays)).mean.abs().numpy().T, aspect="auto", cmap="Blues")
    axes.set(xlabel="rows", ylabel="latents")


def draw_latents(axes: Axes, model: Model, name: str = "groups") -> None:
    """Draw the latents of rows in the colours of their groups, and N(0, I) as circles of one and two deviations."""
    _, arrays, group = table(name)
    z = model.posterior(encoded(model, arrays)).mean[:, :2].double().numpy()
    dots_by_group(axes, z, group)
    for radius in (1, 2):
        axes.add_patch(Circle((0, 0), radius, edgecolor=GREY, facecolor="none", linewidth=0.8))
    axes.update_datalim([(-2.2, -2.2), (2.2, 2.2)])
    axes.autoscale_view()
    axes.set_aspect("equal", "datalim")


def draw_factors(axes: Axes, model: Model) -> None:
    """Draw the latents of the rows that mix two factors, in the colours of the first factor."""
    draw_latents(axes, model, "factors")


def draw_posteriors(axes: Axes, model: Model) -> None:
    """Draw thirty latents of each of five rows."""
    arrays = {name: array[:5] for name, array in table("groups").arrays.items()}
    posterior, generator = model.posterior(encoded(model, arrays)), torch.Generator().manual_seed(0)
    drawn = [model.draw_at(posterior, torch.randn(5, 2, generator=generator)).double().numpy() for _ in range(30)]
    for at, colour in enumerate(COLOURS):
        dots(axes, np.stack(drawn)[:, at], colour)
    axes.set_aspect("equal", "datalim")


def draw_information(axes: Axes, model: Model) -> None:
    """Draw the mean KL of each latent."""
    kl = np.sort(model.posterior(encoded(model, table("factors").arrays)).kl.mean(0).numpy())[::-1]
    axes.bar(np.arange(len(kl)), kl, color=BLUE)
    axes.set(xlabel="latents", ylabel="KL, nats", yticks=[0, 2, 4], ylim=(0, 5))


def draw_bounds(axes: Axes, model: Model) -> None:
    """Draw the bound of log p(x) by the number of draws that it is computed from."""
    row, generator = encoded(model, table("curve").arrays), torch.Generator().manual_seed(0)
    posterior, weights = model.posterior(row), []
    for _ in range(64):
        z = model.draw_at(posterior, torch.randn(posterior.mean.shape, generator=generator))
        prior = -0.5 * (z.square() + np.log(2 * np.pi)).sum(1)
        nll = model.likelihood.nll(model.decode(z, row.given), row).sum(1)
        weights.append(prior - log_density(z, posterior) - nll)
    draws = [1, 2, 4, 8, 16, 32, 64]
    bounds = [float((torch.logsumexp(torch.stack(weights[:k]), 0) - np.log(k)).mean()) for k in draws]
    axes.semilogx(draws, bounds, color=BLUE, marker="o", markersize=3, base=2)
    axes.set(xlabel="draws", ylabel="bound, nats")
    axes.tick_params(labelleft=True, labelsize=7)
    axes.locator_params(axis="y", nbins=4)


def draw_codes(axes: Axes, model: Model) -> None:
    """Draw the plane in the colour of the code of each point, and the reconstruction of each code."""
    x, y, grid = plane("curve", steps=60)
    z = model.posterior(encoded(model, {"num": grid})).mean
    codes = np.unique(z.numpy(), axis=0, return_inverse=True)[1].reshape(len(y), len(x))
    axes.imshow(codes, origin="lower", aspect="auto", cmap="Pastel1", extent=(x[0], x[-1], y[0], y[-1]))
    own = model.posterior(encoded(model, table("curve").arrays)).mean.unique(dim=0)
    dots(axes, points(model, model.decode(own, torch.zeros(len(own), 0))), RED, size=5.0)


def draw_rows(axes: Axes, name: str) -> None:
    """Draw the rows of a table in the colours of their groups."""
    _, arrays, group = table(name)
    dots_by_group(axes, np.asarray(arrays["num"], np.float64), group)


def side_by_side(
    family: str, draw: Callable[[Axes, Model], None], name: str, other: str = "ae", **options: object
) -> Draw:
    """Return a function that draws a plainer family on the left and the family on the right, with as many latents."""
    shared = {"latent": options["latent"]} if "latent" in options else {}

    def draw_both(left: Axes, right: Axes) -> None:
        draw(left, trained(other, name, **shared))
        draw(right, trained(family, name, **options))
        left.set_title(other)
        right.set_title(family)

    return draw_both


def _masked(left: Axes, right: Axes) -> None:
    model, arrays = trained("masked_ae", "curve", latent=2), table("curve").arrays
    row = encoded(model, arrays)
    for axes, hidden, title in ((left, 1, "y hidden, then predicted"), (right, 0, "x hidden, then predicted")):
        seen = row.observed.clone()
        seen[:, hidden] = 0
        rebuilt = points(model, model.reconstruct(row._replace(dense=row.dense * seen, observed=seen)).params)
        rows = np.asarray(arrays["num"], np.float64)
        dots(axes, rows, GREY)
        rows = rows.copy()
        rows[:, hidden] = rebuilt[:, hidden]
        dots(axes, rows, BLUE)
        axes.set_title(title)


def _conditions(left: Axes, right: Axes) -> None:
    model, (_, arrays, group) = trained("cvae", "given_groups", latent=2), table("given_groups")
    draw_rows(left, "given_groups")
    given = torch.from_numpy(np.asarray(arrays["given_cat"]))
    drawn = sampled(model, arrays, len(group), given=[given])
    dots_by_group(right, drawn.double().numpy(), group)
    left.set_title("rows")
    right.set_title("samples given the group")


def _levels(left: Axes, right: Axes) -> None:
    model = trained("hierarchical_vae", "groups", levels=(1, 1))
    prior, generator = model.prior(), torch.Generator().manual_seed(2)
    assert prior is not None
    tops = torch.linspace(-1.6, 1.6, len(COLOURS)).repeat_interleave(40)
    eps = torch.stack([tops, torch.randn(len(tops), generator=generator)], dim=1)
    drawn = points(model, model.decode(prior(eps), torch.zeros(len(eps), 0)))
    draw_rows(left, "groups")
    dots_by_group(right, drawn, np.repeat(np.arange(len(COLOURS)), 40))
    left.set_title("rows")
    right.set_title("five draws of the top level")


def _samples_of_codes(left: Axes, right: Axes) -> None:
    model, arrays = trained("tabular_vae", "cells", latent=2), table("cells").arrays
    drawn = sampled(model, arrays, len(arrays["cat"])).numpy()
    for axes, codes, title in ((left, arrays["cat"], "rows"), (right, drawn, "samples")):
        cells = np.asarray(codes) - FIRST_VALUE
        counts = np.histogram2d(cells[:, 1], cells[:, 0], bins=BINS, range=[[0, BINS], [0, BINS]])[0]
        axes.imshow(counts, origin="lower", aspect="auto", cmap="Blues")
        axes.set_title(title)


def _items(left: Axes, right: Axes) -> None:
    model, (_, arrays, group) = trained("mult_vae", "baskets", latent=4), table("baskets")
    users = np.argsort(group[:30], kind="stable")
    row = encoded(model, {name: array[users] for name, array in arrays.items()})
    codes = np.asarray(arrays["cat"])[users]
    has = (codes[:, :, None] == END + 1 + np.arange(ITEMS)).any(axis=1)
    logits = model.reconstruct(row).params[:, -ITEMS:]
    left.imshow(has, aspect="auto", cmap="Blues")
    right.imshow(logits.softmax(1).numpy(), aspect="auto", cmap="Blues")
    left.set(title="items of 30 users", xlabel="items", ylabel="users")
    right.set(title="probability of each item", xlabel="items")


def _smooth(left: Axes, right: Axes) -> None:
    arrays = table("groups").arrays
    draw_rows(left, "groups")
    dots(right, sampled(trained("rae", "groups", latent=2), arrays, 300).double().numpy(), GREY)
    left.set_title("rows")
    right.set_title("samples of rae")


def _steps(left: Axes, right: Axes) -> None:
    model, arrays = trained("vrnn", "windows", latent=2), table("windows").arrays
    last = {name: array[-1:] for name, array in arrays.items()}
    loss = model.step_losses(encoded(model, last))[0].numpy()  # type: ignore[operator]
    left.plot(last["steps"][0, :, 0], color=BLUE, linewidth=1)
    right.plot(loss, color=RED, linewidth=1)
    left.set(title="a window that stands still", xlabel="steps")
    right.set(title="its loss per step, nats", xlabel="steps")


def _codes(family: str, **options: object) -> Draw:
    def draw(left: Axes, right: Axes) -> None:
        draw_reconstructions(left, trained(family, "curve", **options))
        draw_codes(right, trained(family, "curve", **options))
        left.set_title("rows and reconstructions")
        right.set_title("regions of one code")

    return draw


LATENTS = "Latents of rows of three groups, with circles of one and two standard deviations of N(0, I). "
FACTORS = "Latents of rows that mix two independent factors, coloured by the first one. "
ERRORS = "Loss over the plane, darker where it is higher, and the training rows (red). "


class Picture(NamedTuple):
    """Caption of a picture, and the function that draws its two panels."""

    caption: str
    draw: Draw


PICTURES: Mapping[str, Picture] = {
    "adversarial_ae": Picture(
        f"{LATENTS}ae leaves the groups apart, and what lies between them empty; the critic pulls latents to N(0, I).",
        side_by_side("adversarial_ae", draw_latents, "groups", latent=2),
    ),
    "ae": Picture(
        "Points around the curve y = x² (grey) and their reconstructions from one latent (red). PCA moves them to a "
        "line; an autoencoder moves them to the curve.",
        side_by_side("ae", draw_arrows, "curve", "pca", latent=1),
    ),
    "beta_tcvae": Picture(
        f"{FACTORS}Where the latents are independent, the colours lie in bands along an axis.",
        side_by_side("beta_tcvae", draw_factors, "factors", "vae", latent=2),
    ),
    "beta_vae": Picture(
        "Mean KL of each of four latents, on rows that mix two factors. The weight of the KL empties the latents that "
        "are not needed.",
        side_by_side("beta_vae", draw_information, "factors", "vae", latent=4, beta=2.0),
    ),
    "binary_ae": Picture(
        "Each colour is a region of the plane with the same three bits; the red points are what the codes of the rows "
        "decode to.",
        _codes("binary_ae", latent=3),
    ),
    "contractive_ae": Picture(
        "Lines of equal latent, and the rows (grey). Where lines are close, a small change of a row moves its latent "
        "far; contractive_ae pays for that, and ae does not.",
        side_by_side("contractive_ae", draw_slopes, "curve", latent=1, contraction=1.0),
    ),
    "cvae": Picture(
        "Rows of three groups, and samples that are drawn given each group.",
        _conditions,
    ),
    "ensemble_ae": Picture(
        f"{ERRORS}The mean of five autoencoders, each trained on its own draw of the rows, is smoother.",
        side_by_side("ensemble_ae", draw_errors, "curve", latent=1),
    ),
    "factor_vae": Picture(
        f"{FACTORS}Where the latents are independent, the colours lie in bands along an axis.",
        side_by_side("factor_vae", draw_factors, "factors", "vae", latent=2, critic_hidden=(32, 32)),
    ),
    "hierarchical_vae": Picture(
        "Rows of three groups, and samples: each colour is one value of the top level, with draws of the level below.",
        _levels,
    ),
    "info_vae": Picture(
        "Thirty draws of the latents of each of five rows. The KL of a row is charged less, so that its latents stay "
        "more exact.",
        side_by_side("info_vae", draw_posteriors, "groups", "vae", latent=2),
    ),
    "iwae": Picture(
        "Bound of log p(x) by the number of draws that it is computed from, of a vae and of an iwae with one latent.",
        side_by_side("iwae", draw_bounds, "curve", "vae", latent=1),
    ),
    "masked_ae": Picture(
        "Rows (grey) and the prediction of a hidden cell (blue): y follows from x, but two values of x go with one y, "
        "and their mean is predicted.",
        _masked,
    ),
    "memory_ae": Picture(
        f"{ERRORS}With as many latents as columns, ae reconstructs points far from all rows; memory_ae mixes its "
        "items, which lie among the rows, and cannot.",
        side_by_side("memory_ae", draw_errors, "curve", latent=2, items=20),
    ),
    "mult_vae": Picture(
        "Items of thirty users of three kinds, and the probability that the model gives to each item.",
        _items,
    ),
    "pca": Picture(
        "Rows with y = x² (grey) and their reconstructions from one latent (blue). PCA projects them onto a line; an "
        "autoencoder follows the curve.",
        side_by_side("pca", draw_reconstructions, "curve", latent=1),
    ),
    "rae": Picture(
        "Rows of three groups, and samples: draws of the mixture of Gaussians that is fitted to the latents after "
        "training.",
        _smooth,
    ),
    "sparse_ae": Picture(
        "Size of each of six latents of forty rows. Few latents of sparse_ae are active in a row; the others are 0.",
        side_by_side("sparse_ae", draw_activity, "factors", latent=6, sparsity=3.0),
    ),
    "tabular_vae": Picture(
        "Rows with y = x² in sixteen bins per column, and samples: column after column, each given the ones before.",
        _samples_of_codes,
    ),
    "vae": Picture(
        f"{LATENTS}ae leaves the groups apart, and what lies between them empty; the KL pulls latents to N(0, I).",
        side_by_side("vae", draw_latents, "groups", latent=2),
    ),
    "vq_vae": Picture(
        "Each colour is a region of the plane with one of twelve codes; the red points are what the codes decode to.",
        _codes("vq_vae", codebook=12, codes=1),
    ),
    "vrnn": Picture(
        "A window of a wave that stands still for a third of its steps, and the loss of each step.",
        _steps,
    ),
    "wae": Picture(
        f"{LATENTS}ae leaves the groups apart, and what lies between them empty; the MMD pulls latents to N(0, I).",
        side_by_side("wae", draw_latents, "groups", latent=2),
    ),
}


def svg_of(picture: Picture) -> bytes:
    """Draw a picture; the same models give the same bytes."""
    settings = {"svg.fonttype": "none", "svg.hashsalt": "aepipe", "path.simplify": False, "axes.titlesize": 9}
    with mpl.rc_context(settings | {"axes.labelsize": 8, "xtick.labelsize": 7, "ytick.labelsize": 7}):
        figure = Figure(figsize=(6.4, 2.6), layout="constrained")
        left, right = figure.subplots(1, 2)
        for axes in (left, right):
            axes.set(xticks=[], yticks=[])
        with torch.no_grad():
            picture.draw(left, right)
        found = io.BytesIO()
        figure.savefig(found, format="svg", metadata={"Date": None, "Creator": None, "Title": picture.caption})
    return shortened(found.getvalue().decode()).encode()


def shortened(svg: str) -> str:
    """Shorten the paths of a picture to a third of their bytes: one decimal, and points without their second end.

    >>> shortened('<path d="M 1.2345 6.7891 \\nL 1.2345 6.7891 \\nM 2.34 5 \\nL 3 5 "/>')
    '<path d="M1.2 6.7h0M 2.3 5\\nL 3 5 "/>\\n'
    """

    def short(path: re.Match[str]) -> str:
        rounded = re.sub(r"(\.\d)\d+", r"\1", path[0])
        return re.sub(r"M (\S+) (\S+) *\nL \1 \2 *\n?", r"M\1 \2h0", rounded)

    lines = re.sub(r' d="[^"]*"', short, svg).splitlines()
    return "".join(f"{line.rstrip()}\n" for line in lines)


def main() -> None:
    """Write the pictures of the named families, of all by default."""
    asked = sys.argv[1:] or list(PICTURES)
    for name in asked:
        if name not in PICTURES:
            sys.exit(f"error: expected families among {', '.join(PICTURES)}, got {name}")
        put_bytes(FOLDER / f"{name}.svg", svg_of(PICTURES[name]))


if __name__ == "__main__":
    main()
