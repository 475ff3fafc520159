"""Mean of the greatest hundredth of the losses of a row's features, in nats."""

from aepipe.heads.base import HeadSpec
from aepipe.heads.loss_summary_head import summary_column_head
from aepipe.models.layers.loss_summary import TOP

HEAD = HeadSpec(
    "top_losses", "mean of the largest hundredth of the losses of pixels, steps or columns", summary_column_head(TOP)
)
