"""The figure of masks that move: what it carries is what the runs have kept."""

import zlib
from dataclasses import replace

import numpy as np
import pytest

from lth_utils import dynamic, widgets
from lth_utils.errors import InputError


@pytest.fixture(scope="module")
def runs(net, toy):
    from test_dynamic import SEEDS, random_mask, recipe, weights_of

    from lth_utils.training import train

    what = (net, weights_of(net), random_mask(net, 0.4), toy)
    recipes = {"static": replace(recipe("SET"), moves=dynamic.SET(0.4, "100%")),
               "RigL": recipe("RigL")}  # fmt: skip
    keep = (0, 12, 30)
    return {name: train(*what, how, SEEDS, keep=keep) for name, how in recipes.items()}


def test_it_shows_how_many_units_read_each_pixel_at_each_step(runs):
    figure = widgets.moving(runs, "Toy", (4, 4))
    assert figure.spec["steps"] == [0, 12, 30, 50]
    read = np.frombuffer(zlib.decompress(figure.data), "<u2").reshape(2, 4, 16)
    for arm, run, pictures in zip(figure.spec["arms"], runs.values(), read, strict=True):
        first = run.masks[0]["fc1.weight"][0]
        for i, mask in enumerate(run.masks.values()):
            kept = mask["fc1.weight"][0]
            assert pictures[i].tolist() == kept.sum(0).tolist()
            assert arm["since"][i] == (kept & first).sum() <= arm["kept"] == first.sum()
            assert arm["unread"][i] == (kept.sum(0) == 0).sum()
    static, rigl = figure.spec["arms"]
    assert static["since"] == [static["kept"]] * 4 and rigl["since"][-1] < rigl["kept"]
    assert figure.spec["most"] == read.max()


def test_runs_that_cannot_be_followed_are_told_in_a_sentence(runs):
    with pytest.raises(InputError, match="keep="):
        widgets.moving({})
    with pytest.raises(InputError, match="keep="):
        widgets.moving(runs | {"SET": replace(runs["RigL"], masks={50: runs["RigL"].mask})})
    with pytest.raises(InputError, match="reads 16 inputs"):
        widgets.moving(runs)
