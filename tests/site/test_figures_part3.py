"""The figures of rewinding and of densities in a browser: alone with made-up numbers, and in pages.

Alone, what is read in the page is compared with what Python computed.
"""

import re

import numpy as np
import pandas as pd
import pytest
from test_figures import figures  # noqa: F401

from lth_utils import lottery, studies, widgets

STEPS = ["0%", "1%", "6%"]


def made_up(replicates=3, points=30):
    """(table, curves) of a ticket at level 7 whose copies meet from 6% on, and of dense ones."""
    rng = np.random.default_rng(0)
    rows, lines = [], []

    def add(to, name, r, moment, metric, value, step=0):
        level = 7 * (not name.startswith("dense"))
        row = ("made up", name, level, 0.8**level, r, moment, step, "test", metric)
        to.append((*row, value + rng.normal(0, 0.1)))

    for r in range(replicates):
        for name, accuracy in (("dense", 92), ("reinit", 88), ("random mask", 87)):
            add(rows, name, r, "end", "accuracy", accuracy)
        for i, step in enumerate(STEPS):
            add(rows, f"ticket @ {step}", r, "end", "accuracy", 89 + 1.4 * i)
            for name, high in (("ticket", 20), ("dense", 40)):
                barrier = high * (1 - i / 2)
                add(rows, f"{name} @ {step}", r, "between", "distance", high - 5 * i)
                add(rows, f"{name} @ {step}", r, "between", "error barrier", barrier)
                for p in range(points):
                    error = 9 + barrier * np.sin(np.pi * p / (points - 1))
                    add(lines, f"{name} @ {step}", r, "line", "accuracy", 100 - error, p)
    return tuple(pd.DataFrame(r, columns=lottery.TABLE) for r in (rows, lines))


@pytest.fixture(scope="module")
def tables():
    return made_up()


def numbers(text):
    """Every number in a text, minus signs as they are printed."""
    return [float(n) for n in re.findall(r"[-+]?\d+\.\d+", text.replace("−", "-"))]


def told(figure, panel):
    return figure.locator(f'[data-panel="{panel}"] [aria-live]').inner_text()


def path(figure, line):
    return figure.locator(f'[data-line="{line}"] polyline').get_attribute("points")


# Rewinding ---------------------------------------------------------------------------------------


def check_rewind(figure):
    """Every step changes what each panel tells and draws; a click does what the slider does."""
    slider = figure.get_by_role("slider", name="rewind step")
    slider.press("Home")
    panels = [
        panel.get_attribute("data-panel") for panel in figure.locator("[data-panel]").all()
    ]  # fmt: skip
    assert panels
    first = [told(figure, panel) for panel in panels]
    named = slider.get_attribute("aria-valuetext")
    slider.press("ArrowRight")
    after = [told(figure, panel) for panel in panels]
    assert slider.get_attribute("aria-valuetext") != named
    assert all(a != b for a, b in zip(first, after, strict=True)), after
    for panel in {"accuracy", "distance"} & set(panels):
        chart = figure.locator(f'[data-panel="{panel}"] svg[data-pick]')
        chart.scroll_into_view_if_needed()
        chart.click(position={"x": 75, "y": 40})
        assert [told(figure, panel) for panel in panels] == first
        slider.press("ArrowRight")
    for button in figure.get_by_role("radio").all():
        button.check()
        assert told(figure, panels[-1])
    shown = figure.locator("tr.lth-chosen")
    assert shown.count() == 1


def test_rewind_in_the_pages(figures):  # noqa: F811
    for figure in figures("rewind"):
        check_rewind(figure)


@pytest.mark.parametrize("width", [280, 1280])
def test_rewind_answers_on_a_phone_and_on_a_screen(alone, tables, width):
    page = alone(widgets.rewind(*tables, 7, title="Made up"), width=width)
    figure = page.locator('[data-lth="rewind"]')
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for control in figure.locator("label, input[type=range]").all():
        assert control.bounding_box()["height"] >= 44
    for chart in figure.locator("svg.lth-chart").all():
        assert chart.bounding_box()["width"] >= 240 and chart.get_attribute("aria-label")
    check_rewind(figure)


def test_rewind_tells_gap_distance_and_barrier_of_the_step_and_the_pair(alone, tables):
    table, curves = tables
    page = alone(widgets.rewind(table, curves, 7))
    figure = page.locator('[data-lth="rewind"]')
    figure.get_by_role("slider").press("ArrowRight")
    gap = studies.paired(table, "ticket @ 1%", "dense", moment="end").iloc[0]
    words = told(figure, "accuracy").split("Gap to dense")[1]
    assert numbers(words) == pytest.approx([gap["mean"], gap.low, gap.high], abs=0.0051)
    for kind in ("ticket", "dense"):
        figure.get_by_label(kind, exact=True).check()
        rows = table[table.treatment == f"{kind} @ 1%"]
        for panel, metric, exact in (
            ("distance", "distance", 0.051), ("line", "error barrier", 0.0051)
        ):  # fmt: skip
            found = studies.interval(rows[rows.metric == metric].value)
            words = told(figure, panel)
            assert "from 1% on" in words
            assert numbers(words) == pytest.approx(found[:3], abs=exact), words


def test_the_line_is_drawn_as_high_as_its_error_and_on_one_axis_for_all_steps(alone, tables):
    page = alone(widgets.rewind(*tables, 7))
    figure = page.locator('[data-lth="rewind"]')
    slider = figure.get_by_role("slider")
    heights = []
    for _ in STEPS:
        drawn = np.array([p.split(",") for p in path(figure, "line ticket").split()], float)
        assert len(drawn) == 30 and (np.diff(drawn[:, 0]) > 0).all()
        heights.append(drawn[[0, -1], 1].mean() - drawn[:, 1].min())
        slider.press("ArrowRight")
    # Barriers of about 20, 10 and 0 points, in pixels that mean the same at each step.
    assert heights[0] / heights[1] == pytest.approx(2, rel=0.05)
    assert abs(heights[2]) < 0.05 * heights[0]


def test_rewind_with_less_shows_less_and_no_error(alone, tables):
    table, curves = tables
    few = table[~table.treatment.str.startswith(("reinit", "dense @"))]
    page = alone(widgets.rewind(few, None, 7))
    figure = page.locator('[data-lth="rewind"]')
    assert figure.get_by_role("radio").count() == 0
    assert figure.locator("[data-band]").count() == 2
    assert not figure.locator('[data-panel="line"] svg').is_visible()
    check_rewind(figure)

    page = alone(widgets.rewind(table[table.moment == "between"], curves, 7))
    figure = page.locator('[data-lth="rewind"]')
    assert figure.locator("[data-panel]").count() == 2
    check_rewind(figure)

    once = [rows[rows.replicate == 0] for rows in tables]
    page = alone(widgets.rewind(*once, 7))
    figure = page.locator('[data-lth="rewind"]')
    assert figure.locator("polygon").count() == 0
    assert "interval" not in told(figure, "accuracy") and "NaN" not in page.content()


# Densities ---------------------------------------------------------------------------------------

SIZES = {"conv1.weight": 1728, "conv2.weight": 36_864, "conv16.weight": 2_359_296}


def counts(replicates=2, scopes=("global", "layer")):
    rows = []
    for scope in scopes:
        for level in range(6):
            for r in range(replicates):
                for i, (layer, size) in enumerate(SIZES.items()):
                    share = 0.5**level if scope == "layer" else 0.5 ** (level * (0.3 + i))
                    kept = round(size * share) - (r if level else 0)
                    rows.append((scope, level, 0.5**level, r, layer, kept, size))
    names = ["scope", "level", "density", "replicate", "layer", "kept", "size"]
    return pd.DataFrame(rows, columns=names)


def bars(figure):
    return [float(bar.get_attribute("width")) for bar in figure.locator("[data-bar]").all()]


def check_densities(figure):
    """The slider moves headline, bars and numbers; the keys choose layer and level."""
    headline, live = figure.locator("p strong").first, figure.locator("[aria-live]")
    slider = figure.get_by_role("slider", name="level of pruning")
    before = headline.inner_text(), bars(figure), live.inner_text()
    slider.press("Home")
    slider.press("ArrowRight")
    after = headline.inner_text(), bars(figure), live.inner_text()
    assert all(a != b for a, b in zip(before, after, strict=True))
    chart = figure.get_by_role("application")
    for _ in figure.locator("[data-bar]").all():
        chart.press("ArrowUp")
    first = live.inner_text()
    chart.press("ArrowDown")
    assert live.inner_text() != first and headline.inner_text() == after[0]
    chart.press("ArrowRight")
    assert headline.inner_text() != after[0]
    assert slider.input_value() == "2"


def test_densities_in_the_pages(figures):  # noqa: F811
    for figure in figures("densities"):
        check_densities(figure)


@pytest.mark.parametrize("width", [280, 1280])
def test_densities_answer_on_a_phone_and_on_a_screen(alone, width):
    page = alone(widgets.densities(counts(), "Made up", {"conv2": "the second"}), width=width)
    figure = page.locator('[data-lth="densities"]')
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for control in figure.locator("label, input[type=range]").all():
        assert control.bounding_box()["height"] >= 44
    most_left = """figure => Math.min(...[...figure.querySelectorAll("svg text")].map((text) =>
      text.getBoundingClientRect().left - figure.getBoundingClientRect().left))"""
    assert figure.evaluate(most_left) >= 0, "a name is cut off"
    check_densities(figure)


def test_densities_tell_the_counts_of_level_scope_and_layer(alone):
    table = counts()
    page = alone(widgets.densities(table, marked={"conv16": "the last"}))
    figure = page.locator('[data-lth="densities"]')
    live, chart = figure.locator("[aria-live]"), figure.get_by_role("application")
    chart.press("ArrowUp")
    for scope in ("global", "layer"):
        figure.get_by_label(scope, exact=True).check()
        rows = table[(table.scope == scope) & (table.level == 5)].groupby("layer").kept
        for layer, where in (("conv1", live), ("conv16", figure.locator("li"))):
            kept = rows.get_group(f"{layer}.weight")
            size = SIZES[f"{layer}.weight"]
            words = where.inner_text()
            assert words.removeprefix("▸ ").startswith(layer), words
            said = [int(n.replace(",", "")) for n in re.findall(r"\b\d[\d,]*\b(?![.%])", words)]
            mean = int(np.floor(kept.mean() + 0.5))
            assert {mean, size, kept.min(), kept.max()} <= set(said), words
            assert f"{100 * kept.mean() / size:.2g}" in words
    marks = figure.locator("li").inner_text()
    figure.get_by_role("slider").press("ArrowLeft")
    assert figure.locator("li").inner_text() != marks, "a mark's numbers are of another level"


def test_a_tap_on_the_map_chooses_layer_and_level_and_a_look_only_the_layer(alone):
    page = alone(widgets.densities(counts()))
    figure = page.locator('[data-lth="densities"]')
    live, slider = figure.locator("[aria-live]"), figure.get_by_role("slider")
    figure.locator('[data-bar="conv2"]').hover(force=True)
    assert live.inner_text().startswith("conv2") and slider.input_value() == "5"
    figure.locator('[data-cell="2 3"]').click(force=True)
    assert live.inner_text().startswith("conv16") and slider.input_value() == "3"


def test_colours_and_bars_are_logarithmic(alone):
    table = counts(1, ("layer",))
    figure = alone(widgets.densities(table)).locator('[data-lth="densities"]')
    slider, widths = figure.get_by_role("slider"), []
    for _ in range(6):
        widths.append(bars(figure)[0])
        slider.press("ArrowLeft")
    steps = np.diff(widths)
    assert (steps > 0).all() and np.ptp(steps) < 0.02 * steps.mean(), "halving is one step"
    cells = figure.locator('[data-cell^="2 "]').all()
    assert len({cell.get_attribute("fill") for cell in cells}) == 6


def test_a_layer_of_which_nothing_is_left_is_said_and_not_drawn(alone):
    table = counts()
    gone = (table.layer == "conv16.weight") & (table.level == 5)
    page = alone(widgets.densities(table.assign(kept=table.kept.where(~gone, 0))))
    figure = page.locator('[data-lth="densities"]')
    assert len(bars(figure)) == 2 and "none" in figure.locator("svg").last.text_content()
    assert figure.locator('[data-cell="2 5"]').get_attribute("fill") is None
    assert "blank: nothing" in figure.inner_text()
    assert "NaN" not in page.content() and "Infinity" not in page.content()


@pytest.mark.parametrize("kind", ["rewind", "densities"])
def test_on_paper_the_numbers_stand_without_the_controls(alone, tables, kind):
    shown = widgets.rewind(*tables, 7) if kind == "rewind" else widgets.densities(counts())
    page = alone(shown)
    page.emulate_media(media="print")
    figure = page.locator(f'[data-lth="{kind}"]')
    for control in figure.locator("input").all():
        assert not control.is_visible()
    assert figure.locator("[aria-live]").first.is_visible()
    assert figure.locator("svg:has(text)").first.is_visible()
