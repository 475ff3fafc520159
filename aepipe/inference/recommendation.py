"""Rank the items that a row does not have, through the exported graph."""

import numpy as np
import pyarrow as pa

from aepipe.bundles.bundle import Bundle
from aepipe.encoding import Encoded
from aepipe.encoding.items import ItemsCodec
from aepipe.errors import OptionInvalid
from aepipe.inference.reconstruct import Run
from aepipe.layout import END, RANKER
from aepipe.tables.arrow_arrays import array_of

RECOMMENDED, PROBABILITY = "recommended", "probability"
"""Columns of a ranking: lists of items, the likeliest first, and of their probabilities."""
MOST_ITEMS = 100
"""Items that a graph ranks."""

_SEEN = -1e3
"""Log-probabilities below it are of items that a row has."""


def items_codec(bundle: Bundle) -> ItemsCodec:
    """Return the encoder of the model's list of items.

    Raises:
        OptionInvalid: the model has none.
    """
    if RANKER in bundle.manifest.parts:
        for codec in bundle.encoding.codecs:
            if isinstance(codec, ItemsCodec):
                return codec
    raise OptionInvalid(
        f"{bundle.version}, a {bundle.manifest.family}, ranks no items: expected a column of kind items, got none. "
        "Train mult_vae on a list of items."
    )


def rank_items(bundle: Bundle, encoded: Encoded, lists: pa.Array, *, run: Run, most: int) -> pa.Table:
    """Return the likeliest items that each row does not have, with their probabilities; null if it cannot be encoded.

    Args:
        bundle: a model of lists of items.
        encoded: encoded rows.
        lists: the lists of these rows, uncut.
        run: runs a part of the bundle.
        most: maximum number of items of a row.
    """
    codec = items_codec(bundle)
    found = run(RANKER, {port.name: encoded.arrays[port.name] for port in bundle.encoding.layout.encoded_ports})
    items = np.asarray(found["item"], np.int64) - END - 1
    log_p = np.asarray(found["item_z"], np.float64)
    rows = np.arange(len(items))[:, None]
    # the graph sees a cut list
    is_new = ~np.isin(rows * len(codec.catalogue) + items, codec.places(lists)) & (log_p > _SEEN)
    kept = is_new & (np.cumsum(is_new, axis=1) <= most) & (encoded.invalid == 0)[:, None]
    offsets = np.concatenate([[0], np.cumsum(kept.sum(axis=1))]).astype(np.int32)
    starts = pa.array(offsets, mask=np.append(encoded.invalid != 0, False))
    names = pa.array(codec.catalogue, pa.string()).take(array_of(items[kept], pa.int64()))
    value = bundle.encoding.schema.arrow.field(codec.name).type.value_type
    ranked = pa.ListArray.from_arrays(starts, names.cast(value))
    probability = pa.ListArray.from_arrays(starts, pa.array(np.exp(log_p[kept]), pa.float32()))
    return pa.table({RECOMMENDED: ranked, PROBABILITY: probability})
