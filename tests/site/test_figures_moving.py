"""The figure of masks that move, by itself, against what the runs have kept."""

import pytest
import torch

from lth_utils import dynamic, models, widgets
from lth_utils.datasets import Dataset, Split
from lth_utils.masks import Mask
from lth_utils.recipes import Adam, Recipe
from lth_utils.training import train

STEPS = (0, 12, 30)


@pytest.fixture(scope="module")
def runs():
    """RigL and a static mask in a little LeNet, on noise."""
    generator = torch.Generator().manual_seed(0)
    net = models.LeNet((1, 4, 4), 4, 0.05)
    splits = [
        Split(
            torch.randint(0, 256, (n, 1, 4, 4), generator=generator, dtype=torch.uint8),
            torch.randint(0, 4, (n,), generator=generator),
        )
        for n in (60, 20, 20)
    ]
    data = Dataset(
        name="toy", plain_title="Toy", source="drawn here", fingerprint="0" * 64, mean=(0.5,),
        std=(0.25,), classes=tuple("abcd"), split_seed=0, whole=(60, 20, 20), train=splits[0],
        val=splits[1], test=splits[2],
    )  # fmt: skip
    recipe = Recipe("50it", 10, Adam(0.01))
    mask = Mask({
        name: torch.rand(1, *shape, generator=generator) < 0.4
        for name, shape in models.dense_mask(net).shapes.items()
    })  # fmt: skip
    what = (net, models.initialise(net, [0]), mask, data)
    moving = dynamic.moving(recipe, dynamic.RigL(0.4, "5it", "80%"))
    return {
        name: train(*what, how, [0], keep=STEPS)
        for name, how in (("static", recipe), ("RigL", moving))
    }


@pytest.mark.parametrize("width", [390, 1000])
def test_every_step_tells_what_is_left_and_what_nobody_reads(alone, runs, width):
    page = alone(widgets.moving(runs, "Toy", (4, 4)), width=width)
    figure = page.locator('[data-lth="moving"]')
    slider = figure.get_by_label("step of training")
    for i, at in enumerate((*STEPS, 50)):
        slider.fill(str(i))
        assert f"iteration {at} of 50" in figure.locator("[aria-live]").inner_text()
        rows = figure.locator("tbody tr").all_inner_texts()
        for row, (name, run) in zip(rows, runs.items(), strict=True):
            first, now = (run.masks[step]["fc1.weight"][0] for step in (0, at))
            told, since, unread = row.split("\t")
            assert told == name and since.endswith(f"of {int(first.sum())}")
            share = int((first & now).sum()) / int(first.sum())
            assert float(since.split("%")[0]) == pytest.approx(100 * share, abs=0.6)
            assert int(unread) == int((now.sum(0) == 0).sum())


def test_a_pixel_is_painted_by_how_many_units_read_it(alone, runs):
    page = alone(widgets.moving(runs, "Toy", (4, 4)))
    figure = page.locator('[data-lth="moving"]')
    figure.get_by_label("step of training").fill("3")
    read = {name: run.mask["fc1.weight"][0].sum(0) for name, run in runs.items()}
    most = max(int(run.masks[at]["fc1.weight"][0].sum(0).max())
               for run in runs.values() for at in run.masks)  # fmt: skip
    assert f"{most} units read the pixel" in figure.inner_text()
    for canvas, counts in zip(figure.locator("canvas").all(), read.values(), strict=True):
        red, green, blue = canvas.evaluate(
            "c => [0, 1, 2].map(k => [...c.getContext('2d').getImageData(0, 0, 4, 4).data]"
            ".filter((_, i) => i % 4 === k))"
        )
        # Green grows along the colour map.
        order = sorted(range(16), key=lambda i: green[i])
        assert [int(counts[i]) for i in order] == sorted(counts.tolist())
        assert len({*zip(red, green, blue, strict=True)}) == len(set(counts.tolist()))


def test_it_plays_to_the_end_and_stops(alone, runs):
    page = alone(widgets.moving(runs, "Toy", (4, 4)))
    figure = page.locator('[data-lth="moving"]')
    figure.get_by_role("button", name="Play").click()
    figure.get_by_text("iteration 50 of 50").wait_for()
    figure.get_by_role("button", name="Play").wait_for()
