"""What the figures carry into a page: all of it, nothing else, and nothing from elsewhere."""

import json
import re
import shutil
import zlib
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.colors import to_hex
from safetensors.numpy import load_file

import lth_utils as lth
from lth_utils import datasets, plots, studies, widgets
from lth_utils.errors import DataError, InputError
from lth_utils.masks import Mask
from lth_utils.widgets import _masks
from lth_utils.widgets._figure import HERE

SHAPES = {"fc1.weight": (6, 16), "fc2.weight": (3, 6)}
QUESTION = {"ask": "Which?", "answers": {"this": "Indeed.", "that": "Look again."}, "right": "this"}


@pytest.fixture(scope="module")
def shrinking():
    """Three masks of two members, each within the one before."""
    rng = np.random.default_rng(0)
    scores = {name: torch.from_numpy(rng.random((2, *shape))) for name, shape in SHAPES.items()}
    return [Mask({n: s > 0.25 * level for n, s in scores.items()}) for level in (1, 2, 3)]


@pytest.fixture(scope="module")
def table():
    return studies.recorded("lenet-mnist").table


# Masks -------------------------------------------------------------------------------------------


def removed(figure):
    """{kind: {layer: levels}} as the page reads them."""
    flat = np.frombuffer(zlib.decompress(figure.data), np.uint8)
    kinds, at = {}, 0
    for kind in ("ticket", "random mask"):
        kinds[kind] = {}
        for layer in figure.spec["layers"]:
            size = int(np.prod(layer["shape"]))
            kinds[kind][layer["name"]] = flat[at : at + size].reshape(layer["shape"])
            at += size
    assert at == flat.size
    return kinds


def test_every_mask_can_be_read_back(shrinking):
    figure = widgets.masks(shrinking, shape=(4, 4))
    ticket = removed(figure)["ticket"]
    for level, mask in enumerate(shrinking, start=1):
        for name, kept in mask.items():
            assert ((ticket[name] > level) == kept[0].numpy()).all()
        assert figure.spec["kept"][level] == int(mask.kept[0])
    assert figure.spec["kept"][0] == figure.spec["size"] == 6 * 16 + 3 * 6


def test_the_control_keeps_as_many_of_each_layer_at_each_level_and_others(shrinking):
    kinds = removed(widgets.masks(shrinking))
    for name, ticket in kinds["ticket"].items():
        control = kinds["random mask"][name]
        for level in range(4):
            assert (ticket > level).sum() == (control > level).sum()
        assert (ticket != control).any()


def test_the_control_is_the_same_on_every_build(shrinking):
    assert widgets.masks(shrinking).data == widgets.masks(shrinking).data


def test_masks_of_a_lottery_name_what_was_trained(toy_task):
    found = lth.imp(toy_task, treatments=("ticket",))
    figure = widgets.masks(found)
    assert "Little LeNet" in figure.spec["title"] and "Toy" in figure.spec["title"]
    assert figure.spec["kept"][1:] == [int(t.mask.kept[0]) for t in found.tickets]
    assert figure.spec["pixels"] == [], "28 × 28 pixels of images that have 16"
    assert widgets.masks(found, shape=(4, 4)).spec["pixels"] == [4, 4]


def test_only_the_layers_asked_for_are_carried_but_all_are_counted(shrinking):
    figure = widgets.masks(shrinking, layers=["fc2.weight"])
    assert [layer["name"] for layer in figure.spec["layers"]] == ["fc2.weight"]
    assert figure.spec["size"] == 6 * 16 + 3 * 6


def test_masks_that_grow_back_are_refused(shrinking):
    with pytest.raises(InputError, match="level 2 keeps weights that the level before"):
        widgets.masks(shrinking[::-1])


@pytest.mark.parametrize("nothing", [[], [None], {}])
def test_what_is_no_mask_is_refused(nothing):
    with pytest.raises(InputError, match="needs masks"):
        widgets.masks(nothing)


def test_an_unknown_layer_lists_those_there_are(shrinking):
    with pytest.raises(InputError, match="fc1.weight"):
        widgets.masks(shrinking, layers=["fc1"])


def test_a_page_is_not_filled_with_millions_of_weights(shrinking, monkeypatch):
    monkeypatch.setattr(_masks, "MOST_WEIGHTS", 50)
    with pytest.raises(InputError, match="choose with layers"):
        widgets.masks(shrinking)
    widgets.masks(shrinking, layers=["fc2.weight"])


# Levels ------------------------------------------------------------------------------------------


def test_bands_are_those_of_the_summary(table):
    spec = widgets.levels(table, title="MNIST").spec
    means = studies.summary(table).set_index(["treatment", "level"])
    for line in spec["treatments"]:
        assert line["colour"] == to_hex(plots.COLOURS[line["name"]])
        for point in line["points"]:
            row = means.loc[(line["name"], point["level"])]
            assert [point[k] for k in ("mean", "low", "high")] == list(row[["mean", "low", "high"]])
            assert point["remaining"] == 100 * row.density
            assert len(point["replicates"]) == row.n
            assert np.mean(point["replicates"]) == pytest.approx(row["mean"])


def test_treatments_come_in_the_order_asked_for(table):
    spec = widgets.levels(table, treatments=["reinit", "ticket"]).spec
    assert [line["name"] for line in spec["treatments"]] == ["reinit", "ticket"]


def test_an_unknown_treatment_lists_those_there_are(table):
    with pytest.raises(InputError, match="random mask"):
        widgets.levels(table, treatments=["tickets"])


@pytest.mark.parametrize("metric", ["accuracy", "loss", "step"])
def test_one_replicate_has_no_interval_and_no_nan(made_up, metric):
    table = made_up({("dense", 0): [98.0], ("ticket", 1): [97.0], ("my own", 1): [96.0]})
    spec = widgets.levels(table, metric).spec
    assert json.dumps(spec, allow_nan=False)  # a page cannot read NaN
    assert spec["treatments"][0]["points"][0]["low"] is None


@pytest.fixture
def variants(table):
    table = table[table.treatment.isin(["dense", "ticket"])]
    return pd.concat([table.assign(criterion=name) for name in ("magnitude", "random")])


def test_variants_share_their_dense_network_where_it_is_the_same(variants):
    spec = widgets.levels(variants, by="criterion").spec
    means = studies.summary(variants, by="criterion").set_index(["criterion", "level"])
    assert [line["name"] for line in spec["treatments"]] == ["magnitude", "random"]
    [start] = spec["dense"]["points"]
    assert start["mean"] == means["mean"]["magnitude", 0]
    for line in spec["treatments"]:
        assert line["colour"] == to_hex(plots.COLOURS[line["name"]])
        assert [p["mean"] for p in line["points"]] == list(means.loc[line["name"]]["mean"][1:])
        assert [len(p["replicates"]) for p in line["points"]] == list(means.loc[line["name"]].n[1:])


def test_a_variant_with_another_dense_network_begins_there(variants):
    other = variants.assign(
        value=variants.value - 5 * (variants.criterion == "random"),
        width=variants.criterion.map({"magnitude": 1.0, "random": 0.1}),
    ).drop(columns="criterion")
    spec = widgets.levels(other, by="width").spec
    means = studies.summary(other, by="width").set_index("width")
    assert spec["dense"]["points"] == []
    assert [line["name"] for line in spec["treatments"]] == ["1.0", "0.1"]
    for line in spec["treatments"]:
        rows = means.loc[float(line["name"])].sort_values("level")
        assert [p["mean"] for p in line["points"]] == list(rows["mean"])
        assert line["points"][0]["level"] == 0
    assert json.dumps(spec, allow_nan=False)


def test_the_script_can_draw_every_marker():
    script = (HERE / "levels.js").read_text()
    body = script.split("const MARKERS = {")[1].split("};")[0]
    drawn = {line.split(":")[0].strip().strip('"') for line in body.splitlines() if ":" in line}
    assert {"o", *plots.MARKERS.values()} <= drawn


# The playground ----------------------------------------------------------------------------------


def test_networks_travel_unchanged():
    figure = widgets.playground()
    tensors = load_file(datasets.embedded("tickets") / "lenet-mnist.safetensors")
    assert figure.spec["tensors"].keys() == tensors.keys()
    for name, place in figure.spec["tensors"].items():
        size = int(np.prod(place["shape"]))
        read = np.frombuffer(figure.data, place["type"], size, place["at"])
        assert (read.reshape(place["shape"]) == tensors[name]).all()


def test_recorded_counts_are_those_of_the_masks():
    spec = widgets.playground().spec
    tensors = load_file(datasets.embedded("tickets") / "lenet-mnist.safetensors")
    kept = sum(int(np.unpackbits(tensors[f"mask/{name}"]).sum()) for name in spec["layers"])
    total = sum(int(np.prod(shape)) for shape in spec["layers"].values())
    weights = {network["name"]: network["weights"] for network in spec["networks"]}
    assert weights == {"dense": total, "ticket": kept, "reinit": kept}
    for name in ("ticket", "reinit"):
        values = sum(tensors[f"{name}/{layer}"].size for layer in spec["layers"])
        assert values == kept, "a value for each weight that is kept"


def test_there_are_two_examples_of_each_digit():
    spec = widgets.playground().spec
    assert sorted(spec["examples"]) == sorted([*range(10)] * 2)
    assert spec["tensors"]["examples"]["shape"] == [20, 28, 28]


def test_missing_and_damaged_networks_are_one_sentence(tmp_path):
    with pytest.raises(DataError, match="make them with"):
        widgets.playground(tmp_path)
    for name in ("lenet-mnist.safetensors", "lenet-mnist.json"):
        shutil.copy(datasets.embedded("tickets") / name, tmp_path)
    widgets.playground(tmp_path)
    weights = tmp_path / "lenet-mnist.safetensors"
    weights.write_bytes(weights.read_bytes()[:100_000])
    with pytest.raises(DataError, match="damaged"):
        widgets.playground(tmp_path)


# Every figure ------------------------------------------------------------------------------------


@pytest.fixture(params=["masks", "levels", "playground"])
def figure(request, shrinking, table):
    return {
        "masks": lambda: widgets.masks(shrinking),
        "levels": lambda: widgets.levels(table),
        "playground": widgets.playground,
    }[request.param]()


def test_a_page_without_scripts_has_a_picture_and_the_view_takes_its_place(figure):
    shown = figure._repr_mimebundle_()
    view = shown["application/vnd.jupyter.widget-view+json"]
    page = shown["text/html"]
    assert re.search(r'<img class="lth-picture" alt="\w[^"]+" src="data:image/png;base64,', page)
    [script] = re.findall(r"<script[^>]*>(.*?)</script>", page)
    assert json.loads(script) == view


def test_nothing_is_fetched(figure):
    addresses = set(re.findall(r"https?://[^\s\"'`)]+", figure._esm + figure._css))
    assert addresses <= {"http://www.w3.org/2000/svg"}  # a name, not a place
    assert "import " not in figure._esm and "url(" not in figure._css


# Quiz --------------------------------------------------------------------------------------------


class Checked(HTMLParser):
    """Names of inputs, and which ids are there and which are pointed at."""

    def __init__(self, text):
        super().__init__()
        self.ids, self.pointed, self.tags = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.append(tag)
        self.ids += [attributes["id"]] if "id" in attributes else []
        self.pointed += [attributes["for"]] if "for" in attributes else []


def test_every_answer_has_a_label_and_no_id_comes_twice():
    page = Checked("".join(widgets.quiz(QUESTION, QUESTION)._repr_html_() for _ in range(2)))
    assert len(page.ids) == 8 == len(set(page.ids))
    assert page.ids == page.pointed


def test_text_is_escaped_and_marked_up():
    question = {
        "ask": "Is `a < b` *really* <b>true</b>?",
        "answers": {"2 * 3 * 4": "Asterisks in `x * y * z` stay.", '"no" & never': "*So.*"},
        "right": "2 * 3 * 4",
    }
    page = widgets.quiz(question)._repr_html_()
    assert "<code>a &lt; b</code> <em>really</em> &lt;b&gt;true" in page
    assert "2 * 3 * 4" in page and "<code>x * y * z</code>" in page
    assert "&quot;no&quot; &amp; never" in page and "<em>So.</em>" in page
    assert "script" not in Checked(page).tags


def test_right_is_told_by_a_word_and_not_by_colour_alone():
    page = widgets.quiz(QUESTION)._repr_html_()
    assert page.count("✓ Right.") == page.count("✗ No.") == 1
    assert re.search(r"✓ Right\..*Indeed\.", page)


def without(part):
    return {name: value for name, value in QUESTION.items() if name != part}


@pytest.mark.parametrize(
    "question, says",
    [
        (without("right"), "needs \"ask\""),
        (QUESTION | {"rigth": "this"}, "nothing else"),
        (QUESTION | {"right": "neither"}, "not one of its answers: this, that"),
        (QUESTION | {"answers": {"this": "Indeed."}}, "2 to 6 answers"),
        (QUESTION | {"answers": ["this", "that"]}, "2 to 6 answers"),
        (QUESTION | {"answers": {"this": "Indeed.", "that": " "}}, "empty text"),
        ("Which?", "needs \"ask\""),
    ],
)  # fmt: skip
def test_a_question_that_cannot_be_answered_is_refused(question, says):
    with pytest.raises(InputError, match=says) as error:
        widgets.quiz(QUESTION, question)
    assert "Question 2" in str(error.value)


def test_a_quiz_asks_something():
    with pytest.raises(InputError, match="at least one question"):
        widgets.quiz()
