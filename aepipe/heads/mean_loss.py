"""Mean of the losses of a row's features, in nats: how badly it is rebuilt, however many steps or values it has."""

from aepipe.head import HeadSpec
from aepipe.heads.summarised import of_column
from aepipe.nets.loss_summary import MEAN

HEAD = HeadSpec("mean_loss", "mean loss of a row's features: windows of uneven length compare", of_column(MEAN))
