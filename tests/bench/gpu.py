"""The benchmark of the GPU path: what networks cost on one GPU, and what share of its rate that is.

    python tests/bench/gpu.py                      a few minutes: _build/bench-gpu.json
    python tests/bench/gpu.py lenet                only rows with one of these words in their names
    python tests/bench/gpu.py --device cpu --quick seconds, to see that it works

It runs from a checkout with PyTorch, NumPy and pandas alone, and reads no data: pixels are drawn on
the device. The table is written after each row, and rows of an earlier run are kept until they are
measured again.
"""

import argparse
import importlib
import json
import os
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.machinery import ModuleSpec
from pathlib import Path
from statistics import median
from unittest.mock import MagicMock

import pandas as pd
import torch
from torch.utils.flop_counter import FlopCounterMode

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

# What the package needs for files, figures and a CPU's sparse networks; a lent machine may lack it.
for module in ("PIL", "filelock", "numba", "platformdirs", "safetensors", "safetensors.torch",
               "scipy", "scipy.stats", "tqdm", "tqdm.auto"):  # fmt: skip
    try:
        importlib.import_module(module)
    except ImportError:
        sys.modules[module] = MagicMock()
        sys.modules[module].__spec__ = ModuleSpec(module, None)  # PyTorch asks for it

import lth_utils as lth  # noqa: E402
from lth_utils.datasets import Dataset, Split  # noqa: E402

PAPER_BATCH = {"vgg-19": 64, "resnet-20": 128, "resnet-50": 128}
SECONDS_AN_EPOCH = {"vgg-19": 1.5, "resnet-20": 1.5, "resnet-50": 6.0}  # wanted at batch 512
MICROSECONDS = {100: 5.0}  # wanted of a network's iteration in so large a population


@dataclass(frozen=True)
class Bench:
    """Where and how large."""

    device: torch.device
    quick: bool

    def pick(self, usual, quick):
        return quick if self.quick else usual

    def seconds(self, piece: Callable[[], object]) -> float:
        began = time.perf_counter()
        piece()
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - began

    def pace(self, run: Callable[[int], object], long: int, short: int) -> float:
        """Seconds of one more iteration; recording a graph and the like, done once, are no part."""
        run(short)
        differences = [
            self.seconds(lambda: run(long)) - self.seconds(lambda: run(short))
            for _ in range(self.pick(3, 1))
        ]
        return median(differences) / (long - short)

    def pictures(self, channels: int, side: int, n: int) -> Dataset:
        g = torch.Generator(self.device).manual_seed(0)
        pixels = {"dtype": torch.uint8, "device": self.device, "generator": g}
        images = torch.randint(256, (n, channels, side, side), **pixels)
        labels = torch.randint(10, (n,), device=self.device, generator=g)
        split = Split(images, labels)
        few = split.first(10)
        return Dataset(
            name="noise", plain_title="noise", source="drawn", fingerprint="",
            mean=(0.5,) * channels, std=(0.25,) * channels, classes=tuple("0123456789"),
            split_seed=0, whole=(n, 10, 10), train=split, val=few, test=few,
        )  # fmt: skip

    def trainer(self, model, data, members, **recipe) -> Callable[[int], lth.Run]:
        """``lth.train`` for dense networks, as a function of the number of iterations."""
        start = {
            name: w.to(self.device).repeat(members, *[1] * (w.dim() - 1))
            for name, w in lth.models.initialise(model, [0]).items()
        }
        mask = lth.models.dense_mask(model, members).to(self.device)
        seeds = range(members)

        def run(iterations):
            length = f"{iterations}it"
            return lth.train(
                model, start, mask, data, lth.Recipe(length, every=length, **recipe), seeds,
                report=(),
            )  # fmt: skip

        return run


# What the GPU can do ------------------------------------------------------------------------------


def matmul_rates(bench: Bench) -> dict[str, float]:
    """Operations a second (a multiply-add is two) of one large product, by precision.

    ``float32`` is with the settings that networks are trained with.
    """
    n, times, before = (
        bench.pick(8192, 256),
        bench.pick(20, 1),
        torch.get_float32_matmul_precision(),
    )
    rates = {}
    for name, dtype, precision in (
        ("float32", torch.float32, before),
        ("tf32", torch.float32, "high"),
        ("bfloat16", torch.bfloat16, before),
    ):
        torch.set_float32_matmul_precision(precision)
        a, b = (torch.randn(n, n, device=bench.device, dtype=dtype) for _ in range(2))
        out = torch.empty_like(a)
        took = [
            bench.seconds(lambda a=a, b=b, out=out: [torch.mm(a, b, out=out) for _ in range(times)])
            for _ in range(4)
        ]
        rates[name] = 2 * n**3 * times / median(took[1:])
    torch.set_float32_matmul_precision(before)
    return rates


def operations(name: str, inputs: tuple[int, ...], width: float) -> float:
    """Operations that one image costs, forward and backward, counted by PyTorch."""
    with torch.device("meta"):
        model = lth.models.build(name, inputs, 10, width)
        images = torch.empty(2, *inputs)  # batch norm cannot do with one
    with FlopCounterMode(display=False) as counter:
        model(images).sum().backward()
    return counter.get_total_flops() / len(images)


# Rows ---------------------------------------------------------------------------------------------

Row = tuple[str, str, Callable[[Bench, dict], dict]]


def lenets(members: int, precision: str) -> Row:
    def measure(bench: Bench, rates: dict) -> dict:
        data = bench.pictures(1, 28, bench.pick(55_000, 200))
        model = lth.models.build("lenet-300-100", data.input_shape, 10).to(bench.device)
        adam, count = lth.recipes.Adam(1.2e-3), bench.pick(members, 2)
        run = bench.trainer(model, data, count, batch=60, optimiser=adam, precision=precision)
        pace = bench.pace(run, bench.pick(4_000, 6), bench.pick(500, 2)) / count
        work = 60 * operations("lenet-300-100", data.input_shape, 1.0)
        return {
            "ours": 1e6 * pace,
            "target": MICROSECONDS.get(members),
            "share": work / pace / rates[precision],
            "note": f"a network's iteration among {members}, batch 60",
        }

    return f"lenet × {members}, {precision}", "µs", measure


def epoch(name: str, batch: int) -> Row:
    def measure(bench: Bench, rates: dict) -> dict:
        if name not in lth.models.NETWORKS:
            return {"note": f"this version has no {name}"}
        images, width = bench.pick(50_000, 32), bench.pick(1.0, 1 / 16)
        size = bench.pick(batch, 8)
        data = bench.pictures(3, 32, images)
        model = lth.models.build(name, data.input_shape, 10, width).to(bench.device)
        run = bench.trainer(
            model, data, 1, batch=size, optimiser=lth.recipes.SGD(0.1, momentum=0.9, decay=1e-4),
            augment=lth.recipes.Augment(flip=True, crop=4), precision="bfloat16",
        )  # fmt: skip
        one = -(-images // size)
        seconds = one * bench.pace(run, bench.pick(3 * one, 3), bench.pick(one, 1))
        work = one * size * operations(name, data.input_shape, width)
        return {
            "ours": seconds,
            "target": SECONDS_AN_EPOCH[name] if batch == 512 else None,
            "share": work / seconds / rates["bfloat16"],
            "note": f"an epoch of {images:,} images, bfloat16, shifted and mirrored",
        }

    return f"{name} epoch, batch {batch}", "s", measure


ROWS = [
    *(lenets(members, p) for p in ("float32", "bfloat16") for members in (1, 10, 100)),
    *(epoch(name, batch) for name, paper in PAPER_BATCH.items() for batch in (512, paper)),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("words", nargs="*", help="only rows with one of these in their names")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--quick", action="store_true", help="tiny; its times mean nothing")
    parser.add_argument("--into", type=Path, default=ROOT / "_build" / "bench-gpu.json")
    args = parser.parse_args()
    bench = Bench(torch.device(args.device), args.quick)
    if bench.device.type == "cuda" and not torch.cuda.is_available():
        sys.exit(
            "This benchmark needs a GPU; --device cpu --quick shows that it works without one."
        )
    if bench.device.type != "cuda" and not args.quick:
        sys.exit(f"On {bench.device} only --quick makes sense: the sizes are those of a GPU.")

    args.into.parent.mkdir(parents=True, exist_ok=True)
    rows = {}
    if args.into.is_file():
        rows = {row["name"]: row for row in json.loads(args.into.read_text())["rows"]}
    rates = matmul_rates(bench)
    for name, unit, measure in ROWS:
        if args.words and not any(word in name for word in args.words):
            continue
        began = time.perf_counter()
        empty = {"ours": None, "target": None, "unit": unit, "share": None}
        rows[name] = {"name": name, **empty, **measure(bench, rates)}
        table = {"machine": machine(bench), "rates": rates, "rows": list(rows.values())}
        args.into.write_text(json.dumps(table, indent=1, ensure_ascii=False))
        print(f"{name}: {time.perf_counter() - began:.1f} s", file=sys.stderr, flush=True)
    print(", ".join(f"{name} {rate / 1e12:.3g} TFLOP/s" for name, rate in rates.items()))
    table = pd.DataFrame(list(rows.values())).drop(columns="note")
    print(table.to_string(index=False, float_format="{:.3g}".format, na_rep="–"))
    print(f"With notes in {args.into}")


def machine(bench: Bench) -> dict:
    cuda = bench.device.type == "cuda"
    return {
        "gpu": torch.cuda.get_device_name(bench.device) if cuda else None,
        "cuda": torch.version.cuda,
        "settings": {k: os.environ.get(k) for k in ("LTH_CAPTURE", "LTH_COMPILE")},
        "torch": torch.__version__,
        "python": platform.python_version(),
        "lth_utils": lth.__version__,
        "date": datetime.now(UTC).date().isoformat(),
    }


if __name__ == "__main__":
    main()
