"""What products in bfloat16 do to accuracy and to time: `python tests/bench/bf16.py`.

Each network is trained with the same seeds in both precisions; the difference is paired by seed.
On one network a thread, like everything else on a CPU. Writes _build/bench-bf16.json.
"""

import argparse
import json
import os
import time
from dataclasses import replace
from pathlib import Path

from run import ROOT, machine

import lth_utils as lth
from lth_utils.recipes import Adam, Recipe
from lth_utils.studies import interval

CASES = {
    # network, width, dataset, recipe, seeds
    "LeNet-300-100": ("lenet-300-100", 1.0, "mnist", Recipe("2000it", 60, Adam(1.2e-3)), 8),
    "Conv-2, a quarter wide": ("conv-2", 0.25, "mnist", Recipe("300it", 60, Adam(2e-4)), 4),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="seconds; its numbers mean nothing")
    parser.add_argument("--into", type=Path, default=ROOT / "_build" / "bench-bf16.json")
    args = parser.parse_args()
    os.environ["LTH_DENSE"] = (
        "0"  # it knows full precision alone: compared is one and the same path
    )
    rows = [measure(name, *case, args.quick) for name, case in CASES.items()]
    args.into.parent.mkdir(parents=True, exist_ok=True)
    note = "Test accuracy (%) at the early stop; milliseconds an iteration of one network."
    table = {"note": note, "machine": machine(), "rows": rows}
    args.into.write_text(json.dumps(table, indent=1, ensure_ascii=False))
    for row in rows:
        print(row)


def measure(name, network, width, dataset, recipe, count, quick) -> dict:
    if lth.datasets.find(dataset) is None:
        dataset = "mnist-5k"
    data = lth.datasets.load(dataset)
    if quick:
        recipe, count = replace(recipe, duration="6it"), 2
        data = data.subset(500, 100, 100)
    model = lth.models.build(network, data.input_shape, data.num_classes, width)
    seeds = range(count)
    start, mask = lth.models.initialise(model, seeds), lth.models.dense_mask(model, count)
    accuracy, ms = {}, {}
    for precision in ("float32", "bfloat16"):
        how = replace(recipe, precision=precision)
        began = time.perf_counter()
        run = lth.train(model, start, mask, data, how, seeds)
        ms[precision] = (time.perf_counter() - began) / count / how.iterations(len(data.train))
        accuracy[precision] = run.accuracy("early stop")
    paired = interval(accuracy["bfloat16"] - accuracy["float32"])
    return {
        "name": name,
        "dataset": data.title,
        "replicates": count,
        "float32": accuracy["float32"].mean(),
        "bfloat16": accuracy["bfloat16"].mean(),
        "difference": paired.mean,
        "low": paired.low,
        "high": paired.high,
        "ms float32": 1e3 * ms["float32"],
        "ms bfloat16": 1e3 * ms["bfloat16"],
    }


if __name__ == "__main__":
    main()
