"""The treatment matrix and the supermask: what they tell is what Python computed."""

import json
import shutil
import subprocess
import zlib

import numpy as np
import pytest
import torch

from lth_utils import datasets, models, studies, widgets
from lth_utils.errors import InputError
from lth_utils.widgets import _supermask

# The matrix --------------------------------------------------------------------------------------

CELLS = {
    "reset": {"same connections": "ticket", "other connections": "random mask"},
    "reinit": {"same connections": "reinit"},
}


@pytest.fixture(scope="module")
def table():
    return studies.recorded("lenet-mnist").table


@pytest.fixture(scope="module")
def spec(table):
    return widgets.matrix(table, CELLS, title="MNIST", margin=0.3).spec


def test_cells_tell_the_summary(table, spec):
    means = studies.summary(table).set_index(["treatment", "level"])
    assert {(c["row"], c["column"]): spec["names"][c["name"]]["name"] for c in spec["cells"]} == {
        (row, column): name for row, line in CELLS.items() for column, name in line.items()
    }
    for name in spec["names"]:
        assert [p["level"] for p in name["points"]] == list(range(1, 19))
        for point in name["points"]:
            row = means.loc[(name["name"], point["level"])]
            assert [point[k] for k in ("mean", "low", "high", "n")] == [*row[1:]]
            assert point["remaining"] == 100 * row.density


def test_every_two_cells_have_their_paired_difference(table, spec):
    names = [name["name"] for name in spec["names"]]
    assert len(spec["pairs"]) == 3
    for pair in spec["pairs"]:
        one, other = names[pair["one"]], names[pair["other"]]
        rows = studies.paired(table, one, other)
        back = studies.paired(table, other, one)
        assert [p["level"] for p in pair["levels"]] == list(rows.level)
        for p, row, turned in zip(
            pair["levels"], rows.itertuples(), back.itertuples(), strict=True
        ):
            assert [p["mean"], p["low"], p["high"], p["n"]] == [row[3], row.low, row.high, row.n]
            assert p["beyond"] == (row.low > 0 or row.high < 0)
            assert p["matches"] == [row.low > -0.3, turned.low > -0.3]
    told = [p for pair in spec["pairs"] for p in pair["levels"]]
    assert {p["beyond"] for p in told} == {True, False}, "this table cannot tell the two apart"
    assert {tuple(p["matches"]) for p in told} >= {(True, True), (True, False)}


def test_a_level_that_a_treatment_lacks_is_not_made_up(made_up):
    table = made_up({
        ("dense", 0): [98.0, 98.2], ("ticket", 1): [97.0, 97.4], ("ticket", 2): [96.0, 96.1],
        ("reinit", 1): [95.0, 95.2],
    })  # fmt: skip
    spec = widgets.matrix(table, {"one": {"kept": "ticket"}, "two": {"lost": "reinit"}}).spec
    assert [len(name["points"]) for name in spec["names"]] == [2, 1]
    [pair] = spec["pairs"]
    assert [p["level"] for p in pair["levels"]] == [1]
    assert spec["levels"][spec["first"]]["level"] == 1, "begins where a cell is empty"
    assert pair["levels"][0]["matches"] == [], "no margin was given"


@pytest.mark.parametrize("metric", ["accuracy", "loss", "step"])
def test_one_replicate_has_no_interval_no_verdict_and_no_nan(made_up, metric):
    table = made_up({("dense", 0): [98.0], ("ticket", 1): [97.0], ("reinit", 1): [96.0]})
    spec = widgets.matrix(table, {"row": {"a": "ticket", "b": "reinit"}}, metric).spec
    assert json.dumps(spec, allow_nan=False)  # a page cannot read NaN
    [row] = spec["pairs"][0]["levels"]
    assert row["low"] is None and not row["beyond"] and row["matches"] == []


def test_treatments_of_other_replicates_are_not_compared(made_up):
    table = made_up({("dense", 0): [98.0], ("ticket", 1): [97.0], ("reinit", 1): [96.0]})
    table.loc[table.treatment == "reinit", "replicate"] = 7
    assert widgets.matrix(table, {"row": {"a": "ticket", "b": "reinit"}}).spec["pairs"] == []


def test_a_study_of_variants_goes_by_its_axis():
    table = studies.recorded("lenet-mnist-race").table
    cells = {"row": {"a": "movement", "b": "random"}}
    spec = widgets.matrix(table, cells, by="criterion", baseline="random").spec
    rows = studies.paired(table, "movement", "random", by="criterion").query("level > 0")
    assert [p["mean"] for p in spec["pairs"][0]["levels"]] == list(rows["mean"])
    assert spec["names"][spec["baseline"]]["name"] == "random"
    assert len(spec["dense"]["points"]) == 1


def test_no_two_treatments_share_a_colour(made_up):
    names = ["ticket", "rewound", "mine", "yours", "reinit"]  # the first two share theirs in a book
    table = made_up({("dense", 0): [98.0], **{(name, 1): [97.0] for name in names}})
    spec = widgets.matrix(table, {"row": {name: name for name in names}}).spec
    assert len({name["colour"] for name in spec["names"]}) == len(names)


@pytest.mark.parametrize(
    "cells, options, says",
    [
        ({}, {}, "two cells or more"),
        ({"row": {"a": "ticket"}}, {}, "two cells or more"),
        ({"row": {"a": "ticket", "b": "reinits"}}, {}, "'reinits'. Known: reinit"),
        (CELLS, {"baseline": "tickets"}, "Unknown treatment 'tickets'"),
        ({"row": {"a": "ticket", "b": "reinit"}}, {"baseline": "random mask"}, "is in no cell"),
        (CELLS, {"metric": "loss", "margin": 0.1}, "points of accuracy"),
    ],
)  # fmt: skip
def test_a_matrix_that_cannot_be_drawn_says_why(table, cells, options, says):
    with pytest.raises(InputError, match=says):
        widgets.matrix(table, cells, **options)


def test_cells_of_other_densities_are_not_put_side_by_side(made_up):
    table = made_up({("dense", 0): [98.0], ("ticket", 1): [97.0], ("reinit", 1): [96.0]})
    table.loc[table.treatment == "reinit", "density"] = 0.5
    with pytest.raises(InputError, match="densities run from 50.00% to 80.00%"):
        widgets.matrix(table, {"row": {"a": "ticket", "b": "reinit"}})


# The supermask -----------------------------------------------------------------------------------

STOPS = (1, 0.7, 0.5, 0.25, 0.1, 0.02)


def normal(shapes, seed=0):
    rng = np.random.default_rng(seed)
    return {name: torch.from_numpy(rng.normal(size=shape)) for name, shape in shapes.items()}


SHAPES = {"fc1.weight": (12, 16), "fc2.weight": (7, 12), "output.weight": (4, 7)}


@pytest.fixture
def figure(toy):
    return widgets.supermask(
        normal(SHAPES), normal(SHAPES, 1), toy, images=53, density=0.25, densities=STOPS
    )


def carried(figure):
    """{layer: (weights, places of their ranks)}, images and labels, as the page reads them."""
    flat, at, layers = zlib.decompress(figure.data), 0, {}

    def take(n, kind):
        nonlocal at
        at += n
        return np.frombuffer(flat[at - n : at], kind)

    for layer in figure.spec["layers"]:
        out, inputs = layer["shape"]
        layers[layer["name"]] = take(out * inputs, np.int8), take(out * inputs, np.uint8)
    height, width = figure.spec["pixels"]
    n = figure.spec["images"]
    images, labels = take(n * height * width, np.uint8), take(n, np.uint8)
    assert at == len(flat)
    return layers, images.reshape(n, -1), labels


def test_places_tell_the_highest_and_the_lowest_scores_of_each_layer(figure):
    layers, _, _ = carried(figure)
    for layer in figure.spec["layers"]:
        scores = normal(SHAPES, 1)[layer["name"]].numpy().ravel()
        _, places = layers[layer["name"]]
        lowest = np.array([0, *layer["bounds"]])[places]  # rank at which a weight's place begins
        for share, count in zip(STOPS, layer["counts"], strict=True):
            assert count == max(1, round(share * scores.size))
            best, worst = np.argsort(-scores)[:count], np.argsort(scores)[:count]
            assert set(np.flatnonzero(lowest < count)) == set(best)
            assert set(np.flatnonzero(lowest >= scores.size - count)) == set(worst)


def test_of_equal_scores_the_first_are_kept(toy):
    same = {name: torch.ones(shape) for name, shape in SHAPES.items()}
    figure = widgets.supermask(normal(SHAPES), same, toy, images=5, densities=(1, 0.5))
    for layer in figure.spec["layers"]:
        places = carried(figure)[0][layer["name"]][1]
        assert (np.diff(places.astype(int)) >= 0).all() and places[0] == 0


def test_signs_survive_and_one_size_takes_one_number(figure, toy):
    for name, (whole, _) in carried(figure)[0].items():
        values = normal(SHAPES)[name].numpy().ravel()
        assert (np.sign(whole) == np.sign(values)).all(), "a kept weight became zero"
        step = np.abs(values).max() / np.abs(whole).max()
        assert np.abs(whole * step - values).max() < 0.05 * np.abs(values).max()
    constant = {name: 0.03 * values.sign() for name, values in normal(SHAPES).items()}
    figure = widgets.supermask(constant, normal(SHAPES, 1), toy, images=5)
    for whole, _ in carried(figure)[0].values():
        assert set(whole) == {-1, 1}


def in_pytorch(figure, data, ranks, stop, scale=lambda shape, count: 1.0):
    """Accuracy of the network in PyTorch's own float64, images normalised as for training."""
    test = data.test.first(figure.spec["images"])
    x = data.normalise(test.images, torch.float64).flatten(1)
    for layer in figure.spec["layers"]:
        name, count = layer["name"], layer["counts"][stop]
        whole = torch.tensor(carried(figure)[0][name][0], dtype=torch.float64)
        mask = torch.from_numpy(ranks[name].ravel() < count)
        factor = scale(layer["shape"], count)
        x = x @ (factor * whole * mask).view(*layer["shape"]).T
        x = x if layer is figure.spec["layers"][-1] else x.relu()
    return 100 * (x.argmax(1) == test.labels).double().mean().item()


def test_the_curve_is_what_pytorch_finds_and_rescaling_changes_none_of_it(figure, toy):
    ranks = {n: _supermask._ranks(-s.numpy()) for n, s in normal(SHAPES, 1).items()}
    learned = figure.spec["kinds"][0]
    assert learned["name"] == "learned"
    found = [in_pytorch(figure, toy, ranks, stop) for stop in range(len(STOPS))]
    assert learned["accuracy"] == pytest.approx(found)
    rescaled = [
        in_pytorch(figure, toy, ranks, stop, lambda shape, count: shape[0] * shape[1] / count)
        for stop in range(len(STOPS))
    ]
    assert found == rescaled
    assert len(set(found)) > 2, "a curve that cannot differ tells nothing"


def test_the_random_order_has_no_ties_no_pattern_and_is_drawn_once(figure, toy):
    words = _supermask._mixed(10_000, 12345)
    assert len(set(words)) == 10_000
    kept = _supermask._ranks(words) < 5000
    for part in (kept[:5000], kept[::2], kept[::100]):  # of any part about half
        assert abs(part.mean() - 0.5) < 4 * 0.5 / part.size**0.5
    again = widgets.supermask(
        normal(SHAPES), normal(SHAPES, 1), toy, images=53, density=0.25, densities=STOPS
    )
    assert again.data == figure.data and again.spec == figure.spec
    assert len({layer["key"] for layer in figure.spec["layers"]}) == 3


def test_all_masks_agree_where_everything_is_kept(figure):
    assert len({kind["accuracy"][0] for kind in figure.spec["kinds"]}) == 1
    assert figure.spec["kept"][0] == figure.spec["size"] == 12 * 16 + 7 * 12 + 4 * 7
    assert figure.spec["densities"][figure.spec["start"]] == 25


# Every mask at every stop, as the page's own script finds it.
SCRIPT = """
import { readFileSync } from "node:fs";
import { columns, inflate, keep, right, unpack } from "./figure.mjs";
const spec = JSON.parse(readFileSync("spec.json"));
const known = unpack(spec, await inflate(new Uint8Array(readFileSync("data"))));
console.log(JSON.stringify(spec.kinds.map(({ name }) => spec.densities.map((_, stop) => {
  const kept = known.layers.map((layer) => keep(layer, name, stop));
  return {
    counts: kept.map((layer) => layer.reduce((a, b) => a + b)),
    hits: right(known, known.layers.map((layer, i) => columns(layer, kept[i]))),
  };
}))));
"""


def test_the_page_finds_what_python_finds(figure, tmp_path):
    node = shutil.which("node")
    if node is None:
        pytest.skip("there is no Node.js here; tests/site compares them in a browser")
    (tmp_path / "figure.mjs").write_text(figure._esm, encoding="utf-8")
    (tmp_path / "spec.json").write_text(json.dumps(figure.spec))
    (tmp_path / "data").write_bytes(figure.data)
    (tmp_path / "all.mjs").write_text(SCRIPT)
    said = subprocess.run([node, "all.mjs"], cwd=tmp_path, capture_output=True, text=True)
    assert said.returncode == 0, said.stderr
    for kind, stops in zip(figure.spec["kinds"], json.loads(said.stdout), strict=True):
        assert [100 * s["hits"] / figure.spec["images"] for s in stops] == kind["accuracy"]
        for stop, s in enumerate(stops):
            assert s["counts"] == [layer["counts"][stop] for layer in figure.spec["layers"]]


def test_lenet_fits_a_page():
    data = datasets.load("mnist-5k")
    start = models.initialise(models.build("lenet-300-100", data.input_shape, 10), [0])
    scores = {n: w.abs() for n, w in start.items() if n.endswith("weight")}
    figure = widgets.supermask(start, scores, data, images=20)
    assert figure.spec["size"] == 266_200
    assert len(figure.data) < 350_000, "with 300 images it should be less than 400,000"


@pytest.mark.parametrize(
    "change, says",
    [
        ({"weights": {}}, "no layer"),
        ({"weights": normal({"fc1.weight": (12, 16), "output.weight": (4, 7)})}, "in order from"),
        ({"weights": normal(SHAPES) | {"fc1.bias": torch.ones(1, 12)}}, "fc1.bias is not zero"),
        ({"weights": normal({"conv1.weight": (1, 2, 1, 3, 3)})}, "shows linear layers"),
        ({"scores": normal({"fc1.weight": (12, 16)})}, "Scores must have the weights' layers"),
        ({"scores": {n: s * np.nan for n, s in normal(SHAPES).items()}}, "no finite numbers"),
        ({"weights": normal({"a": (4, 9)}), "scores": normal({"a": (4, 9)})}, "reads 9 inputs"),
        ({"images": 54}, "Cannot show 54 of 53"),
        ({"densities": ()}, "1 to 100 numbers"),
        ({"densities": (1, 0)}, "1 to 100 numbers"),
        ({"densities": (0.1, 0.2)}, "from dense to sparse"),
    ],
)
def test_what_is_no_supermask_is_refused(toy, change, says):
    given = {"weights": normal(SHAPES), "scores": normal(SHAPES, 1), "data": toy, "images": 5}
    with pytest.raises(InputError, match=says):
        widgets.supermask(**(given | change))


def test_zero_biases_are_no_biases_and_the_first_member_is_shown(figure, toy):
    members = {n: torch.stack([w, -w]) for n, w in normal(SHAPES).items()}
    weights = members | {"fc1.bias": torch.zeros(2, 12)}
    same = widgets.supermask(
        weights, normal(SHAPES, 1), toy, images=53, density=0.25, densities=STOPS
    )
    assert same.data == figure.data and same.spec == figure.spec


def test_sums_that_would_not_be_exact_are_refused(toy, monkeypatch):
    monkeypatch.setattr(_supermask, "EXACT", 1000)
    with pytest.raises(InputError, match="too deep or wide"):
        widgets.supermask(normal(SHAPES), normal(SHAPES, 1), toy, images=5)


def test_a_page_is_not_filled_with_millions_of_weights(toy, monkeypatch):
    monkeypatch.setattr(_supermask, "MOST_WEIGHTS", 100)
    with pytest.raises(InputError, match="a page carries 100"):
        widgets.supermask(normal(SHAPES), normal(SHAPES, 1), toy, images=5)


@pytest.mark.parametrize("kind", ["matrix", "supermask"])
def test_without_scripts_a_picture_stands_there(kind, table, figure):
    shown = widgets.matrix(table, CELLS, title="MNIST") if kind == "matrix" else figure
    place = shown._repr_mimebundle_()["text/html"]
    assert place.startswith('<img class="lth-picture" alt="') and "base64,iVBOR" in place
