"""Writes tickets/zoo/: the tickets that come with the book, from the recorded studies.

    python data/make_tickets.py [NAME ...]

What a study has trained is taken from the store of finished runs, ``LTH_RUNS``; what is not there
is trained first. ``LTH_DATA`` says where the real datasets are: nothing stands in for them.
"""

import sys
from pathlib import Path
from typing import NamedTuple

import lth_utils as lth
from lth_utils import studies

FOLDER = Path(__file__).with_name("tickets") / "zoo"


class Wanted(NamedTuple):
    """A ticket of a study: of which variant, at which level, of how many seeds."""

    study: str
    level: int
    seeds: int = 3
    variant: str = ""
    rewind: str = "0it"


ZOO = {
    "lenet-mnist-51": Wanted("lenet-mnist-anatomy", 3),
    "lenet-mnist-21": Wanted("lenet-mnist-anatomy", 7),
    "lenet-mnist-7": Wanted("lenet-mnist-anatomy", 12),
    "lenet-mnist-3.6": Wanted("lenet-mnist-anatomy", 15),
    "lenet-fashion-4.5": Wanted("lenet-fashion", 7),
    "conv-2-cifar10-14": Wanted("conv-2-cifar10", 3),
    "conv-4-cifar10-9.4": Wanted("conv-4-cifar10", 3),
    "conv-6-cifar10-5.3": Wanted("conv-6-cifar10", 4),
    "lenet-mnist1d-11": Wanted("lenet-mnist1d", 5, 5, variant="in order"),
    "mlp-mnist1d-5.5": Wanted("mlp-mnist1d-rates", 1, variant="0.01"),
    "mlp-mnist1d-5.5-rewound": Wanted("mlp-mnist1d-rates", 1, variant="0.01", rewind="10%"),
    "vgg-11-cifar10-4.6-layer": Wanted("vgg-11-scopes", 1, 1, "layer", "6%"),
    "vgg-11-cifar10-4.6-global": Wanted("vgg-11-scopes", 1, 1, "global", "6%"),
}


def make(name: str, wanted: Wanted) -> None:
    task, options = studies.by_name(wanted.study).runs()[wanted.variant]
    lth.datasets.load(task.dataset)  # a stand-in must not pass for the real thing
    # Controls decide nothing: the first treatment alone finds the same tickets.
    options = {**options, "treatments": options["treatments"][:1], "rewind": wanted.rewind}
    found = lth.imp(task, wanted.level, task.seeds[: wanted.seeds], **options)
    how = f"{'one-shot' if options.get('one_shot') else 'iterative'} magnitude pruning"
    scope = options.get("scope", task.scope)
    notes = {"study": wanted.study, "found by": how, "scope": scope, "licence": "MIT"}
    notes |= {"variant": wanted.variant} if wanted.variant else {}
    path = lth.tickets.save(FOLDER / f"{name}.safetensors", found, **notes)
    print(f"{path}: {path.stat().st_size:,} bytes, {lth.tickets.load(path)}", flush=True)


def main(names: list[str]) -> None:
    for name in names or ZOO:
        make(name, ZOO[name])


if __name__ == "__main__":
    main(sys.argv[1:])
