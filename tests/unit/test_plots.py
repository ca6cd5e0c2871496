"""Figures: they draw what the tables say."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lth_utils import plots, studies
from lth_utils.controls import MODIFIERS, TREATMENTS
from lth_utils.errors import InputError
from lth_utils.pruning import CRITERIA
from lth_utils.studies import STUDIES

NAMES = ("ticket", "reinit", "random mask")


@pytest.fixture(autouse=True)
def no_figure_is_left():
    yield
    plt.close("all")


@pytest.fixture
def table(made_up):
    rng = np.random.default_rng(0)
    groups = [("dense", 0), *((name, level) for name in NAMES for level in (1, 2, 3))]
    accuracy = {group: rng.normal(95, 1, 4) for group in groups}
    step = {group: list(rng.integers(100, 900, 4)) for group in groups}
    return made_up(accuracy, step=step, density={0: 1.0, 1: 0.512, 2: 0.2, 3: 0.036})


def line(ax, label):
    [found] = [drawn for drawn in ax.get_lines() if drawn.get_label() == label]
    return np.asarray(found.get_xdata(), float), np.asarray(found.get_ydata(), float), found


def bands(ax):
    """Lower and upper edge of each band, from left to right in x."""
    edges = []
    for band in ax.collections:
        points = pd.DataFrame(band.get_paths()[0].vertices, columns=["x", "y"])
        edges.append(points.groupby(points.x.round(9)).y.agg(["min", "max"]))
    return edges


def test_every_treatment_and_criterion_has_a_colour_and_no_two_treatments_share_one():
    assert set(TREATMENTS) | set(CRITERIA) <= set(plots.COLOURS)
    colours = [plots.COLOURS[name] for name in TREATMENTS]
    assert len(set(colours)) == len(colours)
    colours = [plots.COLOURS[name] for name in CRITERIA]
    assert len(set(colours)) == len(colours)


@pytest.mark.parametrize("metric", ["accuracy", "loss", "step"])
def test_levels_draws_the_means_of_the_summary(table, metric):
    ax = plots.levels(table, metric, title="a title")
    means = studies.summary(table, metric)
    dense = means[means.treatment == "dense"].iloc[0]
    assert set(line(ax, "dense")[1]) == {dense["mean"]}
    for name in NAMES:
        rows = means[means.treatment == name].sort_values("level")
        x, y, drawn = line(ax, name)
        np.testing.assert_allclose(x, [100, *(100 * rows.density)])
        np.testing.assert_allclose(y, [dense["mean"], *rows["mean"]])
        assert drawn.get_color() == plots.COLOURS[name]
    assert ax.get_title(loc="left") + ax.get_title() == "a title"


def test_bands_are_the_intervals_of_the_summary(table):
    ax = plots.levels(table, treatments=["ticket"])
    means = studies.summary(table)
    rows = pd.concat([means[means.treatment == "dense"], means[means.treatment == "ticket"]])
    [edges] = bands(ax)
    sparsest_first = rows.sort_values("density")
    np.testing.assert_allclose(edges, sparsest_first[["low", "high"]])


def test_treatments_are_chosen_and_ordered(table):
    ax = plots.levels(table, treatments=["reinit", "ticket"])
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["dense", "reinit", "ticket"]


def test_the_moment_drawn_is_the_moment_asked_for(table):
    shifted = table.assign(value=table.value - 10 * (table.moment == "end"))
    early, end = (plots.levels(shifted, moment=m) for m in ("early stop", "end"))
    np.testing.assert_allclose(line(early, "ticket")[1] - 10, line(end, "ticket")[1])


def test_weights_remaining_run_from_dense_at_the_left_on_a_log_axis(table):
    ax = plots.levels(table)
    left, right = ax.get_xlim()
    assert ax.get_xscale() == "log" and left > 100 and 3.6 > right > 0
    assert ax.get_xlabel() == "weights remaining (%)"
    assert list(ax.get_xticks()) == [100, 50, 20, 10, 5]
    assert "%" in ax.get_ylabel()


@pytest.fixture
def variants(table):
    """Two criteria that begin as one dense network and then differ by two points."""
    table = table[table.treatment.isin(["dense", "ticket"])]
    worse = table.assign(value=table.value - 2 * (table.level > 0))
    return pd.concat([table.assign(criterion="magnitude"), worse.assign(criterion="random")])


def test_variants_are_drawn_apart_and_share_the_dense_line(variants):
    ax = plots.levels(variants, by="criterion")
    means = studies.summary(variants, by="criterion")
    for name in ("magnitude", "random"):
        rows = means[means.criterion == name].sort_values("level")
        x, y, drawn = line(ax, name)
        np.testing.assert_allclose(x, 100 * rows.density)
        np.testing.assert_allclose(y, rows["mean"])
        assert drawn.get_color() == plots.COLOURS[name]
        assert drawn.get_marker() == plots.MARKERS.get(name, "o")
    assert set(line(ax, "dense")[1]) == set(means[means.level == 0]["mean"])


def test_a_variant_with_another_dense_network_begins_there_and_no_line_speaks_for_all(variants):
    other = variants.assign(value=variants.value - 5 * (variants.criterion == "random"))
    ax = plots.levels(other, by="criterion", treatments=["random", "magnitude"])
    starts = studies.summary(other, by="criterion").query("level == 0").set_index("criterion")
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["random", "magnitude"]
    for name in ("magnitude", "random"):
        assert line(ax, name)[1][0] == pytest.approx(starts["mean"][name])


def test_variants_that_are_numbers_take_the_colours_given(variants):
    table = variants.assign(width=variants.criterion.map({"magnitude": 0.1, "random": 1.0}))
    ax = plots.levels(table.drop(columns="criterion"), by="width", colours={0.1: "C3", 1.0: "C4"})
    assert line(ax, "0.1")[2].get_color() == "C3" and line(ax, "1.0")[2].get_color() == "C4"


def test_what_is_not_in_the_table_is_not_drawn_as_if_it_were(table, variants):
    with pytest.raises(InputError, match="Unknown criterion 'gradient'"):
        plots.levels(variants, by="criterion", treatments=["gradient"])
    with pytest.raises(InputError, match="ticket"):
        plots.levels(table, treatments=["fine-tune"])
    with pytest.raises(InputError, match="several values of 'criterion'"):
        plots.levels(variants)


def test_differences_between_variants_are_paired(variants):
    ax = plots.differences(variants, [("random", "magnitude")], by="criterion")
    np.testing.assert_allclose(line(ax, "random − magnitude")[1], [0, -2, -2, -2])


def test_criteria_and_ways_can_be_told_apart_without_colour():
    """By marker or line, for those that share a figure; and ways by how dark they are as well."""
    race = STUDIES["lenet-mnist-race"].variants
    assert len({plots.MARKERS.get(name, "o") for name in race}) == len(race)
    ways = STUDIES["lenet-mnist-ways"].variants
    assert set(ways) <= set(plots.COLOURS)
    for kind in ("rewound", "trained on"):
        those = [name for name in ways if name.startswith(kind)]
        assert len({(plots.LINES.get(n, "-"), plots.MARKERS[n]) for n in those}) == len(those)
        assert len({round(sum(plots.COLOURS[n]), 1) for n in those}) == len(those)


def test_a_treatment_with_modifiers_has_its_own_colour_and_the_line_of_its_signs(made_up):
    names = ("ticket", "reinit", "reinit, same signs", "ticket, random signs", "constant, frozen")
    ax = plots.levels(made_up({(n, i): [96.0] for n in ("dense", *names) for i in (n != "dense",)}))
    drawn = {name: line(ax, name)[2] for name in names}
    for name, each in drawn.items():
        assert each.get_color() == plots.COLOURS[name.split(", ")[0]]
    assert [each.get_linestyle() for each in drawn.values()] == ["-", "--", "-", "--", "--"]
    assert drawn["constant, frozen"].get_marker() == plots.MARKERS["frozen"]


@pytest.mark.parametrize("base", TREATMENTS)
def test_treatments_of_one_colour_can_be_told_apart(base):
    names = [base, f"{base}, same signs", f"{base}, random signs"]
    lines = {plots.look(name).line for name in names}
    assert lines == {"-", "--"}
    frozen = [f"{base}, {m}" for m in MODIFIERS if m.startswith("frozen")]
    assert len({plots.look(name).marker for name in frozen}) == len(frozen) == 4
    assert {plots.look(name).colour for name in (*names, *frozen)} == {plots.COLOURS[base]}


def test_one_replicate_can_be_drawn(made_up):
    table = made_up({("dense", 0): [97.0], ("ticket", 1): [96.0]})
    assert line(plots.levels(table), "ticket")[1].tolist() == [97.0, 96.0]


def test_the_live_run_stands_at_the_left_and_the_recorded_one_at_the_right(table):
    worse = table.assign(value=table.value - 5)
    figure = plots.beside(worse, table, ("here", "there"), treatments=["ticket"])
    assert isinstance(figure, Figure)
    left, right = figure.axes
    np.testing.assert_allclose(line(left, "ticket")[1], line(right, "ticket")[1] - 5)
    titles = [ax.get_title() + ax.get_title(loc="left") for ax in (left, right)]
    assert titles == ["here", "there"]


def test_differences_are_paired_and_drawn_about_zero(table):
    ax = plots.differences(table, [("ticket", "dense"), ("ticket", "reinit")], margin=0.3)
    for other in ("dense", "reinit"):
        rows = studies.paired(table, "ticket", other)
        x, y, _ = line(ax, f"ticket − {other}")
        np.testing.assert_allclose(x, 100 * rows.density)
        np.testing.assert_allclose(y, rows["mean"])
    heights = [set(drawn.get_ydata()) for drawn in ax.get_lines()]
    assert {0} in heights and {-0.3} in heights


def test_two_differences_can_be_told_apart(table):
    ax = plots.differences(table, [("ticket", "dense"), ("ticket", "reinit")])
    looks = [
        (drawn.get_color(), drawn.get_marker(), drawn.get_linestyle())
        for drawn in ax.get_lines()
        if "−" in str(drawn.get_label())
    ]
    assert len(set(looks)) == 2


def test_curves_draw_the_mean_over_replicates():
    rows = [
        (name, 1, 0.8, replicate, "during", step, "val", "accuracy", 90 + replicate + step / 10)
        for name in ("dense", "ticket")
        for replicate in range(3)
        for step in (0, 10, 20)
    ]
    columns = ["treatment", "level", "density", "replicate", "moment", "step", "split", "metric",
               "value"]  # fmt: skip
    ax = plots.curves(pd.DataFrame(rows, columns=columns))
    for name in ("dense", "ticket"):
        x, y, drawn = line(ax, name)
        np.testing.assert_allclose(x, [0, 10, 20])
        np.testing.assert_allclose(y, [91, 92, 93])
        assert drawn.get_color() == plots.COLOURS[name]
    assert ax.get_xlabel() == "iteration" and ax.get_ylabel() == "validation accuracy (%)"


def test_histograms_are_shares_of_their_own_count():
    values = {"ticket": np.arange(100) / 100, "reinit": np.arange(10) / 10}
    ax = plots.histogram(values, "weight")
    for band in ax.collections:
        heights = band.get_paths()[0].vertices[:, 1]
        assert 0 < heights.max() <= 1
    assert len(ax.collections) == 2 and ax.get_ylabel() == "share of the weights"


def test_every_figure_draws_where_it_is_told(table):
    _, ax = plt.subplots()
    for found in (
        plots.levels(table, ax=ax),
        plots.differences(table, [("ticket", "dense")], ax=ax),
        plots.histogram({"ticket": [1.0, 2.0]}, "weight", ax=ax),
    ):
        assert found is ax and isinstance(found, Axes)
    assert len(plt.get_fignums()) == 1
    plots.style()
