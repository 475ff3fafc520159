"""Mean of the losses of a row's features, in nats: comparable across rows of any length."""

from aepipe.heads.base import HeadSpec
from aepipe.heads.loss_summary_head import summary_column_head
from aepipe.models.layers.loss_summary import MEAN

HEAD = HeadSpec(
    "mean_loss", "mean loss of a row's features: windows of uneven length compare", summary_column_head(MEAN)
)
