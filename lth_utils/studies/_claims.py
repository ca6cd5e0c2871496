"""The podcast's claims, and for each the rule that settles it.

The rules themselves are in ``_rules``, a file a chapter. A rule is written before its study is run
and looks at nothing but the study's table. It gives a :class:`Finding`: a number with its interval,
what the number is, and a verdict.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from lth_utils.studies._rules import (
    anatomy,
    beyond,
    convolutions,
    deep,
    early,
    moving,
    pruning,
    retraining,
    signs,
    size,
    speed,
    supermasks,
    tickets,
    transfer,
)
from lth_utils.studies._rules._common import Finding

VERDICTS = ("holds", "partly", "not reproduced", "open")

MATCHES = {"mnist": 0.3, "fashion-mnist": 0.3}
"""Test accuracy *matches* where the interval of the paired difference lies above minus this."""
MATCHES_ELSEWHERE = 0.5


@dataclass(frozen=True)
class Claim:
    """A claim, where the podcast makes it, and what would settle it.

    Attributes:
        id: C01 to C40.
        text: the claim in our words.
        where: minute and second of the podcast, or ``"paper"``.
        rule: from a study's table and the margin of its dataset to a finding, or to None where
            the table does not reach the densities that the rule speaks of; None while open.
        study: the study whose table the rule reads.
        beside: further studies whose rows the table then holds as well.
        least: how many replicates will do where no interval is asked for; by default five of a
            LeNet and three of any other network.
        published: the published value, in words.
    """

    id: str
    text: str
    where: str
    rule: Callable[[pd.DataFrame, float], Finding | None] | None = None
    study: str | None = None
    published: str = ""
    beside: tuple[str, ...] = ()
    least: int | None = None


CLAIMS = [
    Claim(
        "C01",
        "A trained network can lose nine tenths of its connections and none of its accuracy",
        "00:42",
        pruning.pruned_matches,
        "lenet-mnist-finetune",
    ),
    Claim(
        "C02",
        "From fresh weights the pruned architecture does worse, the sparser the worse",
        "01:30",
        tickets.reinit_gets_worse,
        "lenet-mnist",
    ),
    Claim(
        "C03",
        "Reset to its original weights it trains to full accuracy at 10% to 1% of the size",
        "01:30, 13:40",
        tickets.ticket_matches,
        "lenet-mnist",
        "above dense from 51% to about 4%, equal near 3.6%",
    ),
    Claim(
        "C04",
        "Tickets can beat the dense network, and learn faster",
        "13:40, 14:47",
        tickets.ticket_learns_faster,
        "lenet-mnist",
        "fastest near 21%",
    ),
    Claim(
        "C05",
        "Magnitude is among the best simple criteria",
        "03:00, 03:45",
        pruning.magnitude_among_best,
        "lenet-mnist-race",
    ),
    Claim("C06", "Unstructured sparsity is slow on most hardware, structured is fast", "04:41",
          speed.structured_is_faster, "speed"),
    Claim("C07", "Pruning is not dropout", "05:14", anatomy.not_dropout, "lenet-mnist-dropout"),
    Claim("C08", "A network as small as it can be holds no ticket", "05:56",
          tickets.small_has_no_ticket, "lenet-mnist-widths"),
    Claim("C09", "Tickets are evenly sparse: neurons keep similar numbers of inputs", "07:08",
          anatomy.evenly_sparse, "lenet-mnist-anatomy"),
    Claim("C10", "Layerwise rates starve the small layers of deep networks", "09:44, 12:45",
          deep.global_beats_layerwise, "vgg-11-scopes"),
    Claim("C11", "Global pruning finds dramatic differences between layers", "12:12",
          deep.layers_differ, "vgg-19-layers",
          "an early layer keeps a third to two thirds, the last loses over 99%", least=1),
    Claim("C12", "Convolutions and fully connected layers prune differently", "16:04",
          convolutions.kinds_prune_differently, "conv-6-cifar10-kinds",
          "pruning convolutions alone does better"),
    Claim("C13", "On harder networks, reset to initialisation is no better than random", "16:53",
          deep.reset_fails, "vgg-11-instability"),
    Claim("C14", "A lower rate or warm-up brings tickets back, at a cost in accuracy", "17:37",
          deep.lower_rate_restores, "vgg-11-rates"),
    Claim("C15", "Rewinding to about 1% of training brings them back completely", "17:37",
          deep.rewinding_restores, "vgg-11-instability",
          "ResNet-20 at 21%: 89.2 from step 0, 91.7 from 6.6% of training"),
    Claim("C16", "Copies under other SGD noise end far apart where tickets fail", "19:48",
          deep.far_where_failing, "vgg-11-instability"),
    Claim("C17", "Error stays flat on the line between them where tickets work", "21:12",
          deep.flat_where_winning, "vgg-11-instability"),
    Claim("C18", "Dense networks become stable early; small sparse ones are from the start",
          "20:17, 24:23", deep.stable_early, "vgg-11-instability",
          beside=("lenet-mnist-instability",)),
    Claim("C19", "Rewinding after pruning beats fine-tuning", "09:02, 29:43",
          retraining.rewinding_beats, "vgg-11-retraining",
          "ResNet-20 at 13%: 91.4 rewound, 91.3 with the rate rewound, 90.0 fine-tuned"),
    Claim("C20", "Sparse training with moving masks comes close to dense", "25:48",
          moving.moving_is_close, "lenet-mnist-moving",
          "1.5% error at 5% of the weights, 2.0% at 2% (sparse momentum)"),
    Claim("C21", "SNIP prunes at the start for almost nothing, below the ticket's ceiling",
          "27:28", early.snip_below_ticket, "lenet-mnist-early",
          "SNIP 1.6% error at 5% of the weights, 2.4% at 2%"),
    Claim("C22", "Before about half of training, magnitude is a poor guide", "28:26",
          early.magnitude_early_is_poor, "lenet-mnist-moments"),
    Claim("C23", "It is the sign of the initial weights that matters, not the value", "32:02",
          signs.signs_matter, "lenet-mnist-signs"),
    Claim("C24", "Magnitude increase is as good as magnitude; keeping small weights is bad",
          "32:02", signs.increase_as_good, "lenet-mnist-criteria"),
    Claim("C25", "A pruned network that was never trained beats chance; masks alone go far",
          "32:44", supermasks.masks_alone, "lenet-supermask",
          "about 80% as he remembers it; 98.0% in the paper"),
    Claim("C26", "A wide random network holds a subnetwork nearly as good as a trained one",
          "33:44", supermasks.wide_hides_trained, "conv-2-edge-popup",
          "65% at a tenth kept (Conv-2)"),
    Claim("C27", "Tickets transfer, best from harder tasks to easier", "35:57",
          transfer.tickets_transfer, "transfer-digits", beside=("transfer-halves",)),
    Claim("C28", "Do tickets carry inductive bias?", "07:08, 34:37", anatomy.local,
          "lenet-mnist1d"),
    Claim("C29", "A ticket can be the core of a network of another size", "38:13",
          size.ticket_grows, "lenet-mnist-sizes", beside=("lenet-mnist1d-sizes",)),
    Claim("C30", "Beyond vision: attention heads as a structure", "03:45",
          beyond.tickets_in_text, "text-tickets", beside=("text-heads",)),
    Claim("C31", "Find the smallest system that shows the property, then scale up", "39:06",
          deep.smallest_shows, "mlp-mnist1d-instability"),
    Claim("C32", "At the best learning rate a ticket may not beat a random one", "paper",
          deep.best_rate_is_no_better, "vgg-11-rates"),
    Claim("C33", "One global threshold beats tuned layerwise rates", "10:26, 11:50",
          deep.global_beats_schemes, "vgg-11-scopes"),
    Claim("C34", "Why global works: initialisation and batch norm", "12:45",
          deep.scales_matter, "vgg-11-scopes", beside=("vgg-11-plain-scopes",)),
    Claim("C35", "The bigger the start, the smaller the ticket's share", "13:40",
          tickets.share_falls_with_width, "lenet-mnist-widths"),
    Claim("C36", "Tickets are about as sparse as ordinary pruning allows", "13:40",
          tickets.as_sparse_as_trained_on, "lenet-mnist-ways"),
    Claim("C37", "Less capacity to overfit may explain the better accuracy", "15:17",
          anatomy.less_overfitting, "lenet-mnist-noise"),
    Claim("C38", "Averaging along a path can help; unstable minima join by a bent path", "22:40",
          deep.bent_path_joins, "vgg-11-instability"),
    Claim("C39", "Fine-tuned networks stay in the old minimum, rewound ones leave it", "30:37",
          retraining.fine_tuned_stay, "vgg-11-retraining"),
    Claim(
        "C40",
        "Finding a ticket costs more than training the dense network",
        "26:29, 27:28",
        pruning.finding_costs_more,
        "lenet-mnist-ways",
    ),
]  # fmt: skip
