"""The figures' scripts by themselves, against what Python computes; they need no built site."""

import base64

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from lth_utils import datasets, models, studies, widgets
from lth_utils.masks import Mask

DIGITS = 1000


@pytest.fixture(scope="module")
def digits():
    return datasets.load("mnist-5k").train.images[:DIGITS]


@pytest.fixture(scope="module")
def recorded():
    """The networks' logits in PyTorch, float32 (R, N, classes), from their rounded weights."""
    tensors = load_file(datasets.embedded("tickets") / "lenet-mnist.safetensors")
    net = models.build("lenet-300-100", (1, 28, 28), 10)
    shapes = {name: models.shapes(net)[name] for name in models.prunable(net)}
    packed = {name: tensors[f"mask/{name}"][None] for name in shapes}
    mask = Mask.unpack(packed, shapes)

    def weights(name):
        mine = {n.split("/")[1]: t.float() for n, t in tensors.items() if n.startswith(f"{name}/")}
        for layer, shape in shapes.items():
            whole = torch.zeros(shape)
            kept = mask[layer][0] if len(mine[layer]) < whole.numel() else whole == 0
            whole[kept] = mine[layer]
            mine[layer] = whole
        return mine

    each = [weights(name) for name in ("dense", "ticket", "reinit")]
    stacked = {name: torch.stack([w[name] for w in each]) for name in each[0]}
    return lambda images: models.forward(net, stacked, images)


def packed(images):
    """Images as a page takes them fastest."""
    return base64.b64encode(images.numpy().tobytes()).decode()


UNPACK = """(packed) => {
  const all = Uint8Array.from(atob(packed), (letter) => letter.charCodeAt(0));
  const digits = Array.from({ length: all.length / 784 }, (_, i) =>
    all.subarray(784 * i, 784 * (i + 1)));
"""


def test_a_thousand_digits_are_read_as_pytorch_reads_them(alone, digits, recorded):
    page = alone(widgets.playground())
    ours = page.evaluate(
        UNPACK
        + """
          const { bytes, logits, normalise, unpack } = figure;
          const spec = model.get("spec");
          const inputs = digits.map((pixels) => normalise(pixels, spec));
          return unpack(spec, bytes(model)).map((network) =>
            inputs.map((input) => Array.from(logits(network, input))));
        }""",
        packed(digits),
    )
    theirs = recorded(datasets.load("mnist-5k").normalise(digits))
    # MNIST-5k has the mean and deviation that the networks were trained with.
    np.testing.assert_allclose(np.array(ours), theirs.numpy(), rtol=0, atol=1e-4)


def test_ink_becomes_what_mnist_looks_like(alone, digits, recorded):
    """A digit of MNIST drawn ten times as large, and elsewhere, comes back as it was."""
    page = alone(widgets.playground())
    some = digits[:100]
    back = page.evaluate(
        UNPACK
        + """ return digits.map((pixels) => {
          const ink = Uint8Array.from({ length: 280 * 280 }, (_, i) => {
            const [x, y] = [Math.floor((i % 280 + 15) / 10), Math.floor((i / 280 - 12) / 10)];
            return x >= 0 && y >= 0 && x < 28 && y < 28 ? pixels[28 * y + x] : 0;
          });
          return Array.from(figure.centred(ink));
        }) }""",
        packed(some),
    )
    back = torch.tensor(back, dtype=torch.uint8).view_as(some)
    normalise = datasets.load("mnist-5k").normalise
    before, after = (recorded(normalise(images)).argmax(2) for images in (some, back))
    assert (before == after).float().mean() > 0.95
    for axis in (2, 3):  # the centre of mass lies in the middle
        mass = back.double().sum(5 - axis).squeeze(1)
        centre = (mass * (torch.arange(28) + 0.5)).sum(1) / mass.sum(1)
        assert (centre - 14).abs().max() < 0.6


def test_an_empty_pad_gives_no_pixels(alone):
    page = alone(widgets.playground())
    assert page.evaluate("figure.centred(new Uint8Array(280 * 280))") is None


def shrinking(shapes, levels=3):
    rng = np.random.default_rng(0)
    scores = {name: torch.from_numpy(rng.random((1, *shape))) for name, shape in shapes.items()}
    return [Mask({n: s > 0.3 * level for n, s in scores.items()}) for level in range(1, levels + 1)]


def test_masks_count_as_the_masks_do(alone):
    given = shrinking({"fc1.weight": (20, 16), "fc2.weight": (5, 20)})
    page = alone(widgets.masks(given, shape=(4, 4), title="Toy"))
    figure = page.locator('[data-lth="masks"]')
    for level in (3, 2, 1):
        mask = given[level - 1]
        rows = figure.locator("tbody").first.locator("tr").all_inner_texts()
        for row, counts in zip(rows, mask.counts().itertuples(), strict=True):
            assert f"{counts.kept} of {counts.size}" in row
        told = figure.locator("tbody").last.locator("tr").all_inner_texts()
        unread = int((~mask["fc1.weight"][0].any(0)).sum())
        unfed = int((~mask["fc1.weight"][0].any(1)).sum())
        assert [int(row.split("\t")[1]) for row in told] == [unread, unfed]
        figure.get_by_label("level of pruning").press("ArrowLeft")
    assert "Level 0 of 3: 100%" in figure.locator("[aria-live]").inner_text()


def test_levels_tell_the_numbers_of_the_summary(alone):
    table = studies.recorded("lenet-mnist").table
    page = alone(widgets.levels(table), width=390)
    figure = page.locator('[data-lth="levels"]')
    means = studies.summary(table)
    ticket = means[(means.treatment == "ticket") & (means.level == 2)].iloc[0]
    for _ in range(3):  # dense, level 1, level 2
        figure.get_by_role("application").press("ArrowRight")
    told = figure.locator("[aria-live]").inner_text()
    for number in (ticket["mean"], ticket["low"], ticket["high"]):
        assert f"{number:.2f}%" in told, told
    assert told.startswith("ticket")
    box = figure.locator("svg").last.bounding_box()
    assert box["x"] + box["width"] <= 390


def test_one_replicate_has_no_interval_and_is_drawn_all_the_same(alone):
    table = studies.recorded("lenet-mnist").table
    page = alone(widgets.levels(pd.DataFrame(table[table.replicate == 0]), "step"))
    figure = page.locator('[data-lth="levels"]')
    figure.get_by_role("application").press("ArrowRight")
    assert "one replicate" in figure.locator("[aria-live]").inner_text()
    assert figure.locator("polygon").count() == 0


def test_variants_begin_at_the_dense_network_that_is_theirs(alone):
    table = studies.recorded("lenet-mnist-race").table
    table = table[table.criterion.isin(["movement", "random"])]
    first = "() => [...document.querySelectorAll('[data-treatment] path')].map(p => p.outerHTML)"
    same = alone(widgets.levels(table, by="criterion"))
    figure = same.locator('[data-lth="levels"]')
    figure.get_by_role("application").press("ArrowRight")
    assert figure.locator("[aria-live]").inner_text().startswith("dense")
    assert not any('d="undefined"' in path for path in same.evaluate(first))

    lower = table.value.where(table.criterion == "movement", table.value - 5)
    other = alone(widgets.levels(table.assign(value=lower), by="criterion"))
    figure = other.locator('[data-lth="levels"]')
    figure.get_by_role("application").press("ArrowRight")
    assert figure.locator("[aria-live]").inner_text().startswith("movement at 100%")
    assert "dense" not in figure.locator(".lth-controls").inner_text()
