"""The figures of rewinding and of densities: what they carry is what Python computed."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from lth_utils import lottery, plots, studies, widgets
from lth_utils.errors import InputError

# Rewinding ---------------------------------------------------------------------------------------

STEPS = ["0%", "0.5%", "1%", "6%"]
LEVEL, OTHER = 7, 12


def rewinds(steps=STEPS, replicates=3, points=5):
    """(table, curves) as a study of rewinding gives them; level 12 has other numbers altogether."""
    rng = np.random.default_rng(0)
    rows, lines = [], []

    def add(treatment, level, replicate, moment, split, metric, value, step=0, to=rows):
        density = 1.0 if level == 0 else 0.8**level
        value += rng.normal(0, 0.1)
        row = (treatment, level, density, replicate, moment, step, split, metric, value)
        to.append(("made up", *row))

    for r in range(replicates):
        for moment, more in (("early stop", 1), ("end", 0)):
            for name, value in (("dense", 92), ("reinit", 88), ("random mask", 87)):
                add(name, LEVEL * (name != "dense"), r, moment, "test", "accuracy", value + more)
            for i, step in enumerate(steps):
                arms = (f"ticket @ {step}", LEVEL, 89 + i), (f"ticket @ {step}, copy", LEVEL, 20)
                for name, level, value in (*arms, (f"ticket @ {step}", OTHER, 10)):
                    add(name, level, r, moment, "test", "accuracy", value + more)
        for name, level, far in (("dense", 0, 40), ("ticket", LEVEL, 30), ("ticket", OTHER, 999)):
            for i, step in enumerate(steps):
                pair = f"{name} @ {step}", level, r
                add(*pair, "between", "none", "distance", far - i)
                add(*pair, "between", "none", "cosine", 0.5)
                add(*pair, "between", "val", "error barrier", 55)
                add(*pair, "between", "test", "error barrier", far / 2 - i)
                for p in range(points):
                    bump = far / 2 * (0 < p < points - 1)
                    add(*pair, "line", "test", "accuracy", 90 - bump, p, lines)
                    add(*pair, "line", "val", "accuracy", 1, p, lines)
                    add(*pair, "during", "test", "accuracy", 2, 100 + p, lines)
    return tuple(pd.DataFrame(r, columns=lottery.TABLE) for r in (rows, lines))


@pytest.fixture(scope="module")
def tables():
    return rewinds()


@pytest.fixture(scope="module")
def spec(tables):
    return widgets.rewind(*tables, LEVEL, title="Made up").spec


def same(point, row):
    return [point[k] for k in ("mean", "low", "high", "n")] == [
        row[k] for k in ("mean", "low", "high", "n")
    ]


def test_accuracies_and_gaps_are_those_of_studies_at_this_level(tables, spec):
    table = tables[0][tables[0].level.isin([0, LEVEL])]
    means = studies.summary(table, moment="end").set_index("treatment")
    [line] = spec["lines"]
    assert line["name"] == "ticket" and len(line["points"]) == len(STEPS)
    for step, point in zip(STEPS, line["points"], strict=True):
        assert same(point, means.loc[f"ticket @ {step}"])
        gap = studies.paired(table, f"ticket @ {step}", "dense", moment="end").iloc[0]
        assert same(point["gap"], gap)
    assert [band["name"] for band in spec["bands"]] == ["dense", "reinit", "random mask"]
    for band in spec["bands"]:
        assert same(band, means.loc[band["name"]])
    assert spec["remaining"] == pytest.approx(100 * 0.8**LEVEL)


def test_another_moment_is_another_accuracy(tables, spec):
    early = widgets.rewind(*tables, LEVEL, moment="early stop").spec
    assert early["bands"][0]["mean"] > spec["bands"][0]["mean"] + 0.5
    assert early["label"] != spec["label"]


def test_pairs_are_of_their_level_and_a_barrier_is_of_the_test_set(tables, spec):
    table = tables[0]
    assert [pair["name"] for pair in spec["pairs"]] == ["ticket", "dense"]
    for pair, level in zip(spec["pairs"], (LEVEL, 0), strict=True):
        for key, metric, split in (
            ("distance", "distance", "none"), ("barrier", "error barrier", "test")
        ):  # fmt: skip
            for step, point in zip(STEPS, pair[key], strict=True):
                rows = table[
                    (table.metric == metric) & (table.split == split) & (table.level == level)
                    & (table.treatment == f"{pair['name']} @ {step}")
                ]  # fmt: skip
                assert list(studies.interval(rows.value)) == [*point.values()], (key, step)


def test_the_line_is_error_with_its_interval_the_right_way_up(tables, spec):
    curves = tables[1]
    for pair, level in zip(spec["pairs"], (LEVEL, 0), strict=True):
        for step, line in zip(STEPS, pair["line"], strict=True):
            assert len(line) == 5
            rows = curves[
                (curves.treatment == f"{pair['name']} @ {step}") & (curves.level == level)
                & (curves.moment == "line") & (curves.split == "test")
            ]  # fmt: skip
            for number, point in enumerate(line):
                found = studies.interval(100 - rows[rows.step == number].value)
                assert [*point.values()] == pytest.approx(found[:3], abs=6e-4)
                assert point["low"] < point["mean"] < point["high"]


def test_colours_are_the_books_and_differ(spec):
    drawn = [*spec["lines"], *spec["bands"]]
    assert len({one["colour"] for one in drawn}) == len(drawn)
    assert len({band["dash"] for band in spec["bands"]}) == len(spec["bands"])
    for one in (*drawn, *spec["pairs"]):
        assert one["colour"] == to_hex(plots.COLOURS[one["name"]])


def test_steps_go_by_size_whatever_order_the_table_has(tables):
    table, curves = tables
    mixed = table.sample(frac=1, random_state=0)
    assert widgets.rewind(mixed, curves, LEVEL).spec["steps"] == STEPS


def test_steps_can_be_chosen(tables):
    some = widgets.rewind(*tables, LEVEL, steps=["6%", "0%"]).spec
    assert some["steps"] == ["6%", "0%"] and len(some["pairs"][0]["distance"]) == 2
    means = [point["mean"] for point in some["lines"][0]["points"]]
    assert means[0] > means[1] + 2, "the steps changed places and their numbers did not"


@pytest.mark.parametrize(
    "given, shown",
    [
        (["2000it", "0it", "500it"], ["0it", "500it", "2000it"]),
        (["10ep", "0it", "9ep"], ["0it", "9ep", "10ep"]),  # zero is zero in any unit
        (["3ep", "0it", "2000it"], ["3ep", "0it", "2000it"]),  # which is later, nobody can tell
    ],
)
def test_steps_of_other_units(given, shown):
    assert widgets.rewind(*rewinds(given), LEVEL).spec["steps"] == shown


def test_controls_dense_pairs_and_curves_may_lack(tables):
    table = tables[0][~tables[0].treatment.str.startswith(("reinit", "dense @"))]
    spec = widgets.rewind(table, None, LEVEL).spec
    assert [band["name"] for band in spec["bands"]] == ["dense", "random mask"]
    assert [pair["name"] for pair in spec["pairs"]] == ["ticket"]
    assert spec["pairs"][0]["line"] == [None] * len(STEPS)


def test_accuracies_may_lack(tables):
    table, curves = tables
    spec = widgets.rewind(table[table.moment == "between"], curves, LEVEL).spec
    assert spec["lines"] == spec["bands"] == [] and spec["steps"] == STEPS


def test_a_step_without_its_accuracy_stays_empty(tables):
    table, curves = tables
    hole = table[(table.treatment != "ticket @ 1%") | (table.moment == "between")]
    points = widgets.rewind(hole, curves, LEVEL).spec["lines"][0]["points"]
    assert [point is None for point in points] == [False, False, True, False]


def test_without_dense_there_is_no_gap(tables):
    table, curves = tables
    spec = widgets.rewind(table[table.treatment != "dense"], curves, LEVEL).spec
    assert all(point["gap"] is None for point in spec["lines"][0]["points"])


def test_distances_and_barriers_may_lack(tables):
    table, curves = tables
    bare = table[~table.metric.isin(["distance", "error barrier"])]
    pair = widgets.rewind(bare, curves, LEVEL).spec["pairs"][0]
    assert pair["distance"] == pair["barrier"] == [None] * len(STEPS) and all(pair["line"])


def test_a_dense_network_by_itself_is_level_0(tables):
    spec = widgets.rewind(*tables, 0).spec
    assert [pair["name"] for pair in spec["pairs"]] == ["dense"]
    assert spec["lines"] == [] and [band["name"] for band in spec["bands"]] == ["dense"]


def test_one_replicate_has_no_interval_and_no_nan():
    spec = widgets.rewind(*rewinds(replicates=1), LEVEL).spec
    assert json.dumps(spec, allow_nan=False)  # a page cannot read NaN
    point = spec["lines"][0]["points"][0]
    assert point["low"] is point["gap"]["low"] is spec["pairs"][0]["line"][0][0]["low"] is None


def test_controls_with_a_rewind_step_are_lines_of_their_own(tables):
    table, curves = tables
    mask = table.treatment == "random mask"
    moved = table.assign(treatment=table.treatment.where(~mask, "random mask @ 1%"))
    spec = widgets.rewind(moved, curves, LEVEL).spec
    assert [line["name"] for line in spec["lines"]] == ["ticket", "random mask"]
    assert [p is None for p in spec["lines"][1]["points"]] == [True, True, False, True]
    assert "random mask" not in [band["name"] for band in spec["bands"]]


@pytest.mark.parametrize(
    "change, options, says",
    [
        (lambda t: t[t.moment != "between"], {}, "no pairs of copies at level 7"),
        (lambda t: t[(t.moment != "between") | (t.level == OTHER)], {}, "no pairs of copies"),
        (lambda t: t, {"level": 3}, "Unknown level '3'. Known: 0, 7, 12"),
        (lambda t: t, {"steps": ["2%"]}, "Unknown rewind step '2%'"),
        (lambda t: pd.concat([t.assign(rate=r) for r in (1, 2)]), {}, "several values of 'rate'"),
        (lambda t: t.replace("ticket @ 1%", "ticket @ soon"), {}, "'soon' is not a step"),
    ],
)
def test_a_rewinding_that_cannot_be_drawn_says_why(tables, change, options, says):
    table, curves = tables
    with pytest.raises(InputError, match=re.escape(says)):
        widgets.rewind(change(table), curves, **{"level": LEVEL} | options)


def test_thirty_points_and_eight_steps_fit_a_page():
    steps = ["0%", "0.5%", "1%", "2%", "4%", "6%", "10%", "20%"]
    figure = widgets.rewind(*rewinds(steps, points=30), LEVEL)
    assert len(json.dumps(figure.spec)) < 40_000


# Densities ---------------------------------------------------------------------------------------

SIZES = {"conv1.weight": 100, "conv10.weight": 1000, "conv2.weight": 10_000}  # not alphabetical


def counted(scopes=("global", "layer"), levels=3, replicates=2):
    rows = [
        (scope, level, 0.5**level, r, layer, size * 0.5**level * (1 + i / 2) / 2 - r, size)
        for scope in scopes
        for level in range(levels + 1 - (scope == "layer"))
        for r in range(replicates)
        for i, (layer, size) in enumerate(SIZES.items())
    ]
    names = ["scope", "level", "density", "replicate", "layer", "kept", "size"]
    return pd.DataFrame(rows, columns=names)


def test_layers_keep_their_order_and_their_counts():
    table = counted()
    spec = widgets.densities(table).spec
    assert [layer["name"] for layer in spec["layers"]] == ["conv1", "conv10", "conv2"]
    assert [layer["size"] for layer in spec["layers"]] == [*SIZES.values()]
    assert [(s["name"], len(s["levels"])) for s in spec["scopes"]] == [("global", 4), ("layer", 3)]
    for scope in spec["scopes"]:
        for at in scope["levels"]:
            assert at["remaining"] == 100 * 0.5 ** at["level"] and at["replicates"] == 2
            for layer, found in zip(SIZES, at["kept"], strict=True):
                rows = table[
                    (table.scope == scope["name"]) & (table.level == at["level"])
                    & (table.layer == layer)
                ]  # fmt: skip
                assert found == [rows.kept.mean(), rows.kept.min(), rows.kept.max()]


def test_a_table_without_replicates_and_scopes_is_one_of_each():
    table = counted(("global",), replicates=1).drop(columns=["scope", "replicate"])
    [scope] = widgets.densities(table).spec["scopes"]
    assert all(len(kept) == 1 for at in scope["levels"] for kept in at["kept"])


def test_replicates_that_agree_have_no_range():
    table = counted().assign(kept=50)
    kept = widgets.densities(table).spec["scopes"][0]["levels"][0]["kept"]
    assert kept == [[50], [50], [50]]


def test_a_layer_that_is_gone_or_not_counted_is_no_end_of_the_log_scale():
    table = counted()
    table.loc[(table.level == 3) & (table.layer == "conv10.weight"), "kept"] = 0
    table = table[(table.level != 2) | (table.layer != "conv1.weight")]
    figure = widgets.densities(table)
    spec = figure.spec
    assert spec["least"] == pytest.approx((table.kept / table["size"])[table.kept > 0].min())
    levels = spec["scopes"][0]["levels"]
    assert levels[3]["kept"][1] == [0.0] and levels[2]["kept"][0] is None
    assert json.dumps(spec, allow_nan=False)
    whole = widgets.densities(table.assign(kept=table["size"]))
    assert 0 < whole.spec["least"] < 1, "a scale from 100% to 100%"
    assert 0 < widgets.densities(table.assign(kept=0)).spec["least"] < 1


def test_marks_are_found_with_and_without_weight():
    marked = {"conv1.weight": "the first", "conv2": "the last"}
    layers = widgets.densities(counted(), marked=marked).spec["layers"]
    assert [layer["note"] for layer in layers] == ["the first", None, "the last"]


def test_layers_whose_short_names_agree_keep_their_own():
    table = counted().replace({"conv1.weight": "conv2"})
    names = [layer["name"] for layer in widgets.densities(table).spec["layers"]]
    assert names == ["conv2", "conv10.weight", "conv2.weight"]


def test_the_scale_grows_darker_to_a_reader_who_sees_no_colour():
    colours = widgets.densities(counted()).spec["colours"]
    channels = [[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in colours]
    grey = np.array(channels) @ (0.2126, 0.7152, 0.0722)
    assert (np.diff(grey) < 0).all()


@pytest.mark.parametrize(
    "change, says",
    [
        (lambda t: t.drop(columns=["kept", "size"]), "no kept, size; it needs level"),
        (lambda t: t[:0], "no rows"),
        (lambda t: pd.concat([t, t]), "'conv1.weight' comes twice at level 0"),
        (lambda t: t.drop(columns="replicate"), "name replicates in a column 'replicate'"),
        (lambda t: t.drop(columns="scope"), "comes twice"),
        (lambda t: t.assign(size=t["size"] + t.level), "several sizes"),
        (lambda t: t.assign(kept=t["size"] + 1), "keeps 101 of 100 weights"),
        (lambda t: t.assign(kept=-1), "keeps -1 of 100"),
        (lambda t: t.assign(kept=np.nan), "keeps nan of 100"),
    ],
)
def test_counts_that_cannot_be_drawn_say_why(change, says):
    with pytest.raises(InputError, match=re.escape(says)):
        widgets.densities(change(counted()))


def test_an_unknown_mark_lists_the_layers():
    with pytest.raises(InputError, match=r"Unknown layer 'conv3'. Known: .*conv10"):
        widgets.densities(counted(), marked={"conv3": "the third"})


# Both --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["rewind", "densities"])
def test_a_figure_has_a_picture_and_fetches_nothing(tables, kind):
    shown = (
        widgets.rewind(*tables, LEVEL) if kind == "rewind" else widgets.densities(counted())
    )  # fmt: skip
    place = shown._repr_mimebundle_()["text/html"]
    assert place.startswith('<img class="lth-picture" alt="') and "base64,iVBOR" in place
    addresses = set(re.findall(r"https?://[^\s\"'`)]+", shown._esm + shown._css))
    assert addresses <= {"http://www.w3.org/2000/svg"}  # a name, not a place
    assert "import " not in shown._esm and "url(" not in shown._css
