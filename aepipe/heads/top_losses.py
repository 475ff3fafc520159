"""Mean of the greatest hundredth of the losses of a row's features, in nats: how badly the worst are rebuilt."""

from aepipe.head import HeadSpec
from aepipe.heads.summarised import of_column
from aepipe.nets.loss_summary import TOP

HEAD = HeadSpec("top_losses", "mean of the greatest hundredth of those losses", of_column(TOP))
