"""99.5 % quantile of the losses of a row's features, in nats."""

from aepipe.heads.base import HeadSpec
from aepipe.heads.loss_summary_head import summary_column_head
from aepipe.models.layers.loss_summary import QUANTILE

HEAD = HeadSpec(
    "quantile_loss", "99.5 % quantile of the losses of pixels, steps or columns", summary_column_head(QUANTILE)
)
