"""The benchmarks run and write what the book reads; how long anything takes is nobody's test."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import lth_utils as lth

BENCH = Path(__file__).resolve().parents[1] / "bench"
PARTS = ["floor", "step", "data", "masks", "validation", "protocol", "import", "conv-2 step"]


def call(script, *words):
    done = subprocess.run(
        [sys.executable, BENCH / script, *map(str, words)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def textbook():
    sys.path.insert(0, str(BENCH))
    try:
        import textbook
    finally:
        sys.path.remove(str(BENCH))
    return textbook


@pytest.mark.slow
def test_every_row_that_the_book_shows_is_measured(tmp_path):
    shown = call("run.py", "--quick", "--into", tmp_path / "bench.json")
    table = json.loads((tmp_path / "bench.json").read_text())

    assert {"cpu", "cores", "threads", "load", "torch", "python", "date"} <= set(table["machine"])
    rows = {row["name"]: row for row in table["rows"]}
    assert not set(PARTS) - set(rows)
    assert [name for name in rows if name.startswith("sparse")]
    for name, row in rows.items():
        assert set(row) == {"name", "ours", "reference", "ratio", "unit", "threads", "note"}
        assert name in shown
        assert row["unit"] in ("ms", "s", "h") and row["threads"] >= 1 and row["note"]
        assert isinstance(row["ours"], float)
        if row["ours"] and row["reference"]:
            assert row["ratio"] == pytest.approx(row["reference"] / row["ours"])


def test_the_gpu_benchmark_runs_without_one_and_keeps_earlier_rows(tmp_path):
    earlier = {
        "name": "earlier",
        "ours": 1.0,
        "target": None,
        "unit": "s",
        "share": 0.5,
        "note": "",
    }
    (tmp_path / "gpu.json").write_text(json.dumps({"rows": [earlier]}))
    words = "lenet × 1,", "resnet-20 epoch, batch 512"
    call("gpu.py", "--device", "cpu", "--quick", "--into", tmp_path / "gpu.json", *words)
    table = json.loads((tmp_path / "gpu.json").read_text())
    names = [row["name"] for row in table["rows"]]
    assert names == ["earlier", "lenet × 1, float32", "lenet × 1, bfloat16", words[1]]
    for row in table["rows"]:
        assert set(row) == set(earlier)
        assert row["ours"] is not None and row["share"] is not None
    assert set(table["rates"]) == {"float32", "tf32", "bfloat16"}


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_the_gpu_benchmark_says_that_it_needs_one():
    done = subprocess.run([sys.executable, BENCH / "gpu.py"], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("This benchmark needs a GPU") and "Traceback" not in done.stderr


def test_the_textbook_loop_is_an_honest_reference(textbook, tmp_path):
    """It finds tickets as the paper does: it learns, its masks shrink and stay where they are."""
    digits = lth.datasets.load("mnist-5k")
    parts = [(s.images[:, 0], s.labels.byte()) for s in (digits.train, digits.val)]
    train, val = textbook.loaders(tmp_path, *parts, digits.mean, digits.std)
    image, label = train.dataset[0]
    torch.testing.assert_close(image, digits.normalise(digits.train.images[0]))
    assert label == digits.train.labels[0]

    results = textbook.experiment(train, val, levels=2, iterations=60, every=60)
    densities = [density for density, _ in results]
    sizes = {784 * 300: 0.8, 300 * 100: 0.8, 100 * 10: 0.9}
    for level, density in enumerate(densities):
        kept = sum(size * share**level for size, share in sizes.items())
        assert density == pytest.approx(kept / sum(sizes), abs=1e-4)
    for _, history in results:
        [(step, _, accuracy)] = history
        assert step == 60 and accuracy > 70


def test_the_textbook_loop_keeps_pruned_weights_at_zero(textbook):
    model = textbook.lenet()
    masks = {n: (torch.rand_like(m) < 0.1).float() for n, m in textbook.dense_masks(model).items()}
    batches = [(torch.randn(8, 1, 28, 28), torch.randint(10, (8,))) for _ in range(3)]
    textbook.train(model, masks, batches)
    for name, kept in masks.items():
        assert not model.get_parameter(name)[kept == 0].any()
