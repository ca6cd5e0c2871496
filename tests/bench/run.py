"""The benchmark: this package beside the textbook loop, part by part, in one run.

    python tests/bench/run.py                  what `make bench` does: _build/bench.json
    python tests/bench/run.py sparse protocol  only rows with one of these words in their names
    python tests/bench/run.py --quick          seconds, to see that it works; its times mean nothing

The two sides take turns, so that a busy moment of the machine hits both, and each number is the
median of its turns. Both use all cores unless ``OMP_NUM_THREADS`` says otherwise. A row is a
function that gives back seconds for ours and for the reference, and a note; ``@row`` names it.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from itertools import islice, pairwise
from pathlib import Path
from statistics import median

import numpy as np
import pandas as pd
import textbook
import torch

import lth_utils as lth
from lth_utils.datasets import Dataset, Split

ROOT = Path(__file__).resolve().parents[2]
SEEDS = tuple(range(5))
THREADS = torch.get_num_threads()
PER = {"ms": 1e3, "s": 1.0, "h": 1 / 3600}

Seconds = tuple[float | None, float | None, str]
ROWS: dict[str, tuple[str, Callable[["Bench"], Seconds]]] = {}


def row(name: str, unit: str):
    """Register a function that measures one row; its seconds are shown in ``unit``."""

    def register(measure):
        ROWS[name] = unit, measure
        return measure

    return register


@dataclass(frozen=True)
class Bench:
    """What the rows measure with: images, loaders, and how often to take turns."""

    quick: bool
    folder: Path

    def pick(self, usual: int, quick: int) -> int:
        return quick if self.quick else usual

    def turns(self, *pieces: Callable[[], object]) -> list[float]:
        """Median seconds of each piece, run in turn; the first turn warms up and is not counted."""
        times = [[] for _ in pieces]
        for _ in range(self.pick(6, 1)):
            for kept, piece in zip(times, pieces, strict=True):
                began = time.perf_counter()
                piece()
                kept.append(time.perf_counter() - began)
        return [median(kept[1:] or kept) for kept in times]

    def pace(self, run: Callable[[int], object], long: int, short: int, loop) -> tuple:
        """Seconds of an iteration of one of five networks that ``run`` trains, and of ``loop()``.

        The difference of two lengths leaves out what a training of any length spends once.
        """
        slow, fast, theirs = self.turns(lambda: run(long), lambda: run(short), loop)
        return (slow - fast) / (long - short) / len(SEEDS), theirs

    @cached_property
    def data(self) -> Dataset:
        """MNIST, or the embedded digits over and over, until there are as many of them."""
        data = lth.datasets.load("mnist" if lth.datasets.find("mnist") else "mnist-5k")
        train = tiled(data.train, self.pick(55_000, 1_000))
        return replace(data, train=train, val=tiled(data.val, self.pick(5_000, 500)))

    @property
    def digits(self) -> str:
        """What the images are, for notes."""
        n = f"{len(self.data.val):,} images of {self.data.plain_title}"
        return n if self.data.name == "mnist" else f"{n}, repeated"

    @cached_property
    def loaders(self):
        """The textbook's loaders of the same training and validation images."""
        parts = [(s.images[:, 0], s.labels.byte()) for s in (self.data.train, self.data.val)]
        return textbook.loaders(self.folder, *parts, self.data.mean, self.data.std)

    @cached_property
    def batches(self):
        """Batches that have left the textbook's loader already."""
        return list(islice(self.loaders[0], self.pick(200, 10)))


def trainer(model, mask, data, every=None, batch=textbook.BATCH) -> Callable[[int], lth.Run]:
    """Five networks trained by ``lth.train``, as a function of the number of iterations.

    Validation cannot be left out at the beginning and the end: without ``every`` it is small.
    """
    one = lth.models.initialise(model, [0])
    start = {name: w.repeat(len(SEEDS), *[1] * (w.dim() - 1)) for name, w in one.items()}
    data = data if every else data.subset(None, 10, 10)

    def run(iterations):
        adam, length = lth.recipes.Adam(1.2e-3), f"{iterations}it"
        recipe = lth.Recipe(length, batch, adam, every=f"{every}it" if every else length)
        return lth.train(model, start, mask, data, recipe, SEEDS, report=())

    return run


def spread(pieces: Sequence[Callable[[], object]], n: int = 1) -> None:
    """Every piece ``n`` times, each on a thread of its own: as networks are trained."""
    torch.set_num_threads(1)  # what a new thread begins with
    with ThreadPoolExecutor(len(pieces)) as pool:
        list(pool.map(lambda piece: [piece() for _ in range(n)], pieces))
    torch.set_num_threads(THREADS)


def tiled(split: Split, n: int) -> Split:
    index = torch.arange(n) % len(split)
    return Split(split.images[index], split.labels[index])


def random_mask(model, density: float) -> lth.Mask:
    """Five random masks whose layers are as dense as those of a ticket: the paper's levels take a
    fifth of every layer, and a tenth of the last."""
    dense, kinds = lth.models.dense_mask(model, len(SEEDS)), lth.models.prunable(model)
    left = {name: 0.9 if kinds[name] == "output" else 0.8 for name in kinds}
    sizes = {name: kept[0].numel() for name, kept in dense.items()}

    def total(level):
        return sum(n * left[name] ** level for name, n in sizes.items()) / sum(sizes.values())

    level = min(np.linspace(0, 40, 4001), key=lambda level: abs(total(level) - density))
    first = {
        name: (torch.arange(n) < round(left[name] ** level * n))
        .expand(len(SEEDS), -1)
        .view_as(dense[name])
        for name, n in sizes.items()
    }
    return lth.controls.random_mask(lth.Mask(first), SEEDS)


def as_textbook(mask: lth.Mask) -> dict[str, torch.Tensor]:
    """The first member's mask as the textbook has it: numbers, under its own layers' names."""
    names = textbook.dense_masks(textbook.lenet())
    return {name: kept[0].float() for name, kept in zip(names, mask.values(), strict=True)}


# The parts of an iteration ------------------------------------------------------------------------


@row("floor", "ms")
def floor(bench: Bench) -> Seconds:
    n = bench.pick(500, 20)
    one, stacked = products(1), products(len(SEEDS))
    apart = [products(1) for _ in range(THREADS)]
    together, each, alone = bench.turns(
        lambda: [stacked() for _ in range(n)],
        lambda: spread(apart, n),
        lambda: [one() for _ in range(n)],
    )
    ways = {"stacked": together / n / len(SEEDS), "one network a thread": each / n / THREADS}
    best = min(ways, key=ways.get)
    both = ", ".join(f"{name} {1e3 * t:.3f} ms" for name, t in ways.items())
    return ways[best], alone / n, f"matrix products alone ({both}); reference: one network"


def products(members: int, batch: int = textbook.BATCH, sizes=(784, 300, 100, 10)):
    """The matrix products of one iteration, as a function: forward, and both gradients."""
    lead = (members,) if members > 1 else ()
    x = [torch.randn(*lead, batch, i) for i in sizes]
    w = [torch.randn(*lead, i, o) for i, o in pairwise(sizes)]
    y, dx, dw = ([torch.empty_like(t) for t in like] for like in (x, x, w))

    def once():
        for k in range(len(w)):
            torch.matmul(x[k], w[k], out=y[k + 1])
        for k in reversed(range(len(w))):
            torch.matmul(x[k].mT, x[k + 1], out=dw[k])
            if k:  # nobody asks for the gradient of the images
                torch.matmul(x[k + 1], w[k].mT, out=dx[k])

    return once


def step(density: float, note: str):
    def measure(bench: Bench) -> Seconds:
        model, net = lth.models.LeNet(), textbook.lenet()
        mask = random_mask(model, density)
        run, masks = trainer(model, mask, bench.data), as_textbook(mask)
        lengths = bench.pick(1100, 30), bench.pick(100, 10)
        ours, theirs = bench.pace(run, *lengths, lambda: textbook.train(net, masks, bench.batches))
        return ours, theirs / len(bench.batches), f"{note}; path of ours: {run(1).paths[0]}"

    return measure


row("step", "ms")(step(1, "ours with its data; reference: batches ready in memory"))
for percent in (20, 10, 5, 3.6, 1):
    row(f"sparse {percent:g}%", "ms")(step(percent / 100, "as step, under random masks"))


@row("data", "ms")
def data(bench: Bench) -> Seconds:
    digits, n = bench.data, bench.pick(200, 10)

    def epoch():
        order = lth.randomness.stream(0, "order", 0).permutation(len(digits.train))
        for index in torch.from_numpy(order).split(textbook.BATCH):
            digits.normalise(digits.train.images[index])

    ours, theirs = bench.turns(
        lambda: spread([epoch] * THREADS), lambda: list(islice(bench.loaders[0], n))
    )
    batches = THREADS * -(-len(digits.train) // textbook.BATCH)
    return ours / batches, theirs / n, f"order and images of a batch of {textbook.BATCH}"


@row("masks", "ms")
def masks(bench: Bench) -> Seconds:
    model, net, n = lth.models.LeNet(), textbook.lenet(), bench.pick(500, 10)
    some, all_ = random_mask(model, 0.5), lth.models.dense_mask(model, len(SEEDS))
    masked, dense = (trainer(model, mask, bench.data) for mask in (some, all_))
    kept = as_textbook(some)
    slow, fast, theirs = bench.turns(
        lambda: masked(n),
        lambda: dense(n),
        lambda: [textbook.apply_masks(net, kept) for _ in range(n)],
    )
    note = "ours: what an iteration takes longer under a mask of half the weights"
    return max(0.0, slow - fast) / n / len(SEEDS), theirs / n, note


@row("validation", "ms")
def validation(bench: Bench) -> Seconds:
    model, net, n = lth.models.LeNet(), textbook.lenet(), bench.pick(10, 2)
    mask = lth.models.dense_mask(model, len(SEEDS))
    often, seldom = (trainer(model, mask, bench.data, every) for every in (1, n))
    slow, fast, theirs = bench.turns(
        lambda: often(n), lambda: seldom(n), lambda: textbook.validate(net, bench.loaders[1])
    )
    return (slow - fast) / (n - 1) / len(SEEDS), theirs, bench.digits


# The whole ----------------------------------------------------------------------------------------


@row("protocol", "h")
def protocol(bench: Bench) -> Seconds:
    model, net = lth.models.LeNet(), textbook.lenet()
    mask = lth.models.dense_mask(model, len(SEEDS))
    levels = range(0, 16, bench.pick(3, 15))
    left = {"linear": 0.8**levels.step, "output": 0.9**levels.step}
    fractions = {name: 1 - left[kind] for name, kind in lth.models.prunable(model).items()}
    every = bench.pick(100, 5)
    long, short, part = 7 * every, every, 2 * every

    costs = []
    for _ in levels:
        run, masks = trainer(model, mask, bench.data, every), as_textbook(mask)

        def loop(masks=masks):
            batches = islice(textbook.endless(bench.loaders[0]), part)
            textbook.train(net, masks, batches, bench.loaders[1], every)

        ours, theirs = bench.pace(run, long, short, loop)
        costs.append((ours, theirs / part))
        mask = lth.pruning.magnitude(run(long).weights, mask, fractions)

    # Dense once, then fifteen levels of ticket and reinit, whose masks are the same.
    count = 50_000 * len(SEEDS) * np.array([1] + [2] * 15)
    ours, theirs = (count @ np.interp(range(16), levels, c) for c in zip(*costs, strict=True))
    note = (
        f"dense, then 15 levels × {{ticket, reinit}}, {len(SEEDS)} replicates × 50,000 iterations, "
        f"validation every {every} ({bench.digits}); extrapolated from {long - short} iterations "
        f"of ours and {part} of the loop at levels {', '.join(map(str, levels))}"
    )
    return float(ours), float(theirs), note


def opened(statements: str, note: str):
    def measure(bench: Bench) -> Seconds:
        code = f"import time, torch; t = time.perf_counter(); {statements}; "
        call = [sys.executable, "-c", code + "print(time.perf_counter() - t)"]
        took = []
        bench.turns(lambda: took.append(float(subprocess.check_output(call, cwd=ROOT))))
        return median(took), None, note

    return measure


row("import", "s")(opened("import lth_utils", "beyond importing torch"))
row("first use", "s")(
    opened(
        "import lth_utils as lth; lth.imp, lth.tasks", "beyond importing torch: every room of imp"
    )
)


# Convolutions -------------------------------------------------------------------------------------


def conv(name: str, usual: int):
    def measure(bench: Bench) -> Seconds:
        if name not in lth.models.NETWORKS:
            return None, None, f"this version has no {name}"
        data, n, batch = pictures(), bench.pick(10, 2), bench.pick(usual, 8)
        model = lth.models.build(name, data.input_shape, data.num_classes)
        mask = lth.models.dense_mask(model, len(SEEDS))
        one = data.normalise(data.train.images[:batch]), data.train.labels[:batch]
        run = trainer(model, mask, data, batch=batch)
        ours, theirs = bench.pace(run, n + 1, 1, lambda: textbook.train(model, {}, n * [one]))
        note = f"batch {batch} of CIFAR-10's shape, path of ours: {run(1).paths[0]}"
        return ours, theirs / n, note

    return measure


def pictures(n: int = 600) -> Dataset:
    """Noise of CIFAR-10's shape: how long a step takes does not depend on what is in a picture."""
    g = torch.Generator().manual_seed(0)
    images = torch.randint(256, (n, 3, 32, 32), dtype=torch.uint8, generator=g)
    split = Split(images, torch.randint(10, (n,), generator=g))
    few = split.first(10)
    return Dataset(
        name="noise", plain_title="noise", source="drawn", fingerprint="", mean=(0.5,) * 3,
        std=(0.25,) * 3, classes=tuple("0123456789"), split_seed=0, whole=(n, 10, 10),
        train=split, val=few, test=few,
    )  # fmt: skip


for network, batch in (("conv-2", 60), ("resnet-20", 128)):
    row(f"{network} step", "ms")(conv(network, batch))


# The table ----------------------------------------------------------------------------------------


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("words", nargs="*", help="only rows with one of these in their names")
    parser.add_argument("--quick", action="store_true", help="seconds; its times mean nothing")
    parser.add_argument("--into", type=Path, default=ROOT / "_build" / "bench.json")
    args = parser.parse_args()
    args.into.parent.mkdir(parents=True, exist_ok=True)

    here, rows = machine(), []
    if here["load"] and here["load"] > 0.5:
        print(f"Other programs are at work (load {here['load']}): times will be too long.")
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(args.quick, Path(folder))
        for name, (unit, measure) in ROWS.items():
            if not args.words or any(word in name for word in args.words):
                began = time.perf_counter()
                rows.append(as_row(name, unit, *measure(bench)))
                # What has been measured outlives an interruption.
                args.into.write_text(
                    json.dumps({"machine": here, "rows": rows}, indent=1, ensure_ascii=False)
                )
                print(f"{name}: {time.perf_counter() - began:.1f} s", file=sys.stderr, flush=True)
    table = pd.DataFrame(rows).drop(columns="note")
    print(table.to_string(index=False, float_format="{:.3g}".format, na_rep="–"))
    print(f"With notes in {args.into}")


def as_row(name: str, unit: str, ours: float | None, reference: float | None, note: str) -> dict:
    scale = PER[unit]
    return {
        "name": name,
        "ours": ours and ours * scale,
        "reference": reference and reference * scale,
        "ratio": reference / ours if ours and reference else None,
        "unit": unit,
        "threads": THREADS,
        "note": note,
    }


def machine() -> dict:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu": names[0] if names else platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": THREADS,
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "lth_utils": lth.__version__,
        "date": datetime.now(UTC).date().isoformat(),
    }


if __name__ == "__main__":
    main()
