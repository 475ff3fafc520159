"""Mean of the losses of a row's features, in nats: comparable across rows of any length."""

from aepipe.heads.base import HeadSpec
from aepipe.heads.loss_summary_head import summary_column_head
from aepipe.models.layers.loss_summary import MEAN

HEAD = HeadSpec(
    "mean_loss",
    "mean loss over the features of a row; comparable between windows of different lengths",
    summary_column_head(MEAN),
)
