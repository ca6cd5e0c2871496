"""Writes tickets/lenet-mnist.safetensors and its provenance: the networks of the playground.

Run it as ``python data/make_playground.py``, with ``LTH_DATA`` where the real MNIST is. It takes a
few minutes on one core. Three networks, one seed: the dense one; the ticket that is left after
LEVELS levels of iterative magnitude pruning; and the same mask trained from fresh weights. They
are kept as half floats, a sparse layer as one bit a weight and the values of those that are left,
and what is recorded is the accuracy of the *rounded* weights.
"""

import json
import os
import time
from datetime import UTC, datetime
from pathlib import Path

import torch
from safetensors.torch import save_file

import lth_utils as lth

SEEDS = (0,)
LEVELS = 15
EXAMPLES = 2  # test digits of each class, for the reader who does not want to draw

FILE = Path(__file__).with_name("tickets") / "lenet-mnist.safetensors"


def main() -> None:
    started = time.time()
    study = lth.studies.by_name("lenet-mnist")
    task = study.prepared()
    lth.datasets.load(task.dataset)  # a stand-in must not pass for the real thing

    start, mask = task.init(SEEDS), task.dense_mask(SEEDS)
    run = dense = task.train(start, mask, SEEDS)
    for level in range(1, LEVELS + 1):
        mask = lth.pruning.magnitude(run.weights, mask, task.fractions, scope=task.scope)
        run = task.train(start, mask, SEEDS)
        print(f"level {level}: {mask}, {run.accuracy()[0]:.2f}%", flush=True)
    fresh = task.train(task.init(SEEDS, "reinit", LEVELS), mask, SEEDS)

    tensors = {f"mask/{name}": bits[0] for name, bits in mask.pack().items()}
    networks = []
    for name, trained, kept in (
        ("dense", dense, task.dense_mask(SEEDS)),
        ("ticket", run, mask),
        ("reinit", fresh, mask),
    ):
        half = {n: w.half() for n, w in trained.weights.items()}
        tensors |= {
            f"{name}/{n}": (w[kept[n]] if n in kept else w[0]).cpu().contiguous()
            for n, w in half.items()
        }
        rounded = {n: w.float() for n, w in half.items()}
        _, accuracy = lth.training.evaluate(task.model, rounded, task.data, task.data.test)
        networks.append(
            {"name": name, "weights": int(kept.kept), "accuracy": round(accuracy.item(), 2)}
        )

    test = task.data.test
    chosen = [(test.labels == c).nonzero()[:EXAMPLES, 0] for c in range(task.data.num_classes)]
    chosen = torch.cat(chosen).sort().values
    tensors["examples"] = test.images[chosen, 0].cpu()

    save_file(tensors, FILE)
    provenance = {
        "networks": networks,
        "layers": mask.shapes,
        "examples": test.labels[chosen].tolist(),
        "settings": {
            "study": study.name,
            "network": task.title,
            "recipe": task.recipe.duration,
            "levels": LEVELS,
            "density": round(mask.density.item(), 6),
            "weights": "at the end of training, rounded to float16",
            "accuracy": "of the rounded weights on all test images, in percent",
        },
        "seeds": list(SEEDS),
        "dataset": {
            "name": task.data.name,
            "title": task.data.title,
            "fingerprint": task.data.fingerprint,
            "mean": task.data.mean,
            "std": task.data.std,
            "test": len(test),
        },
        "code": {
            "lth_utils": lth.__version__,
            "generator": lth.randomness.GENERATOR,
            "numerics": lth.store.NUMERICS,
            "torch": torch.__version__,
        },
        "hardware": {"device": str(lth.device()), "cores": os.cpu_count()},
        "seconds": round(time.time() - started, 1),
        "date": datetime.now(UTC).date().isoformat(),
    }
    FILE.with_suffix(".json").write_text(json.dumps(provenance, indent=1) + "\n")
    print(f"{FILE}: {FILE.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
