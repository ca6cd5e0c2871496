"""The figures in the pages of the built site: each answers, and so that it can be seen.

Those whose numbers are compared with Python's stand on a page of their own, and need no site.
"""

import json
import re

import pytest
import torch
from conftest import NO_SITE, SITE

from lth_utils import datasets, studies, widgets


def pages_with(words):
    if not SITE.is_dir():
        pytest.skip(NO_SITE)
    found = [
        path for path in sorted(SITE.rglob("*.html"))
        if words in path.read_text(encoding="utf-8") and "_modules" not in path.parts
    ]  # fmt: skip
    if not found:
        pytest.skip(f"no page has what this looks at ({words})")
    return found


@pytest.fixture
def figures(visit):
    """``figures(kind)``: every figure of a kind, page by page, once it is there."""

    def figures(kind):
        for path in pages_with(f"widgets._{kind}."):
            page, wrong = visit(path.as_uri())
            page.locator(f'[data-lth="{kind}"]').first.wait_for()
            yield from page.locator(f'[data-lth="{kind}"]').all()
            assert not wrong, path

    return figures


def picture(figure):
    return figure.locator("canvas").first.evaluate("canvas => canvas.toDataURL()")


def test_masks_follow_the_slider_and_show_the_control(figures):
    for figure in figures("masks"):
        headline, before = figure.locator("[aria-live]").inner_text(), picture(figure)
        figure.get_by_label("level of pruning").press("ArrowLeft")
        assert figure.locator("[aria-live]").inner_text() != headline
        assert picture(figure) != before
        before = picture(figure)
        figure.get_by_label("random mask").check()
        assert picture(figure) != before, "the random mask is the ticket's"


def test_levels_switch_treatments_and_tell_numbers(figures):
    for figure in figures("levels"):
        lines = figure.locator("polyline")
        count = lines.count()
        assert count, "no treatment is drawn"
        name = figure.locator("[data-treatment]").first.get_attribute("data-treatment")
        switch = figure.get_by_role("checkbox", name=name, exact=True)
        switch.uncheck()
        assert lines.count() == count - 1
        switch.check()
        figure.get_by_label("single replicates").check()
        assert figure.locator("[data-replicates] circle").count()
        figure.get_by_role("application").press("ArrowRight")
        figure.get_by_role("application").press("ArrowRight")
        told = figure.locator("[aria-live]").inner_text()
        assert "of weights remaining (level" in told, told
        assert figure.locator(".lth-ring").count() == 1


def test_playground_reads_stored_digits_and_drawn_ones(figures):
    for figure in figures("playground"):
        answers = figure.locator("output")
        right = shown = 0
        for _ in range(10):
            figure.get_by_role("button", name="Show me").click()
            told = figure.locator("[aria-live]").inner_text()
            digit = told.removeprefix("A test digit, a ")[0]
            assert digit.isdigit(), told
            right += sum(answer == digit for answer in answers.all_inner_texts())
            shown += answers.count()
        assert right >= 0.9 * shown, "networks of 97% and more cannot be that wrong"

        figure.get_by_role("button", name="Clear").click()
        assert set(answers.all_inner_texts()) == {"–"}, "an answer to an empty pad"

        pad = figure.get_by_role("application")
        pad.scroll_into_view_if_needed()
        box = pad.bounding_box()
        mouse = figure.page.mouse
        mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] * 0.15)
        mouse.down()
        mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] * 0.85, steps=8)
        mouse.up()
        assert answers.all_inner_texts() == ["1"] * answers.count(), "a stroke downwards is a one"

        figure.get_by_role("button", name="Clear").click()
        for key in [*["ArrowUp"] * 25, *["ArrowDown"] * 3, " ", *["ArrowDown"] * 20]:
            pad.press(key)
        assert "–" not in answers.all_inner_texts(), "the arrow keys draw nothing"


def test_matrix_compares_the_cells_that_are_picked(figures):
    for figure in figures("matrix"):
        check_matrix(figure)


def check_matrix(figure):
    told = figure.locator("[aria-live]")
    picked = figure.locator("button[aria-pressed=true]")
    assert picked.count() == 2
    first, before = figure.locator("p strong").first.inner_text(), told.inner_text()
    figure.get_by_label("weights remaining", exact=True).press("Home")
    assert figure.locator("p strong").first.inner_text() != first
    assert told.inner_text() != before
    cells = figure.locator("tbody button").all()
    for cell in [cell for cell in cells if cell.get_attribute("aria-pressed") == "false"]:
        cell.press("Enter")
        assert picked.count() == 2 and cell.get_attribute("aria-pressed") == "true"
        name = cell.get_attribute("title")
        assert told.inner_text().startswith(f"{name} − "), told.inner_text()
        assert figure.locator(f'[data-line="{name}"] polyline').count() == 1
    picked.last.press(" ")
    assert picked.count() == 1 and "Pick two cells" in told.inner_text()


def test_supermask_follows_slider_and_masks(figures):
    for figure in figures("supermask"):
        check_supermask(figure)


def check_supermask(figure):
    def settled():
        figure.locator(".lth-accuracy:not(.lth-waiting)").wait_for()
        told = figure.locator("[aria-live]").inner_text()
        hits, of = map(int, re.search(r"(\d+) of (\d+) right", told).groups())
        assert figure.locator("output").inner_text() == f"{100 * hits / of:.1f}%"
        ring = figure.locator(".lth-ring")
        return told, picture(figure), ring.get_attribute("cx"), ring.get_attribute("cy")

    before = settled()
    figure.get_by_label("density", exact=True).press("ArrowRight")
    after = settled()
    assert all(a != b for a, b in zip(before[:3], after[:3], strict=True))
    for kind in ("random", "upside down"):
        figure.get_by_label(kind).check()
        now = settled()
        assert now[0].startswith(f"{kind} mask") and now[1] != after[1] and now[2] == after[2]
    figure.get_by_label("weights of units").check()
    tiles = picture(figure)
    select = figure.get_by_label("hidden units", exact=True)
    if select.locator("option").count() > 1:
        select.select_option(index=1)
        assert picture(figure) != tiles
    said = figure.locator("canvas").get_attribute("aria-label")
    counts = [int(n.replace(",", "")) for n in re.findall(r"([\d,]+) (?:kept|pruned)", said)]
    assert len(counts) == 3 and sum(counts) % 784 == 0


def test_on_paper_stands_what_is_shown_without_its_controls(figures):
    for figure in figures("masks"):
        figure.page.emulate_media(media="print")
        assert figure.locator("canvas").is_visible()
        assert not figure.get_by_label("level of pruning").is_visible()


def test_other_widgets_are_shown_beside_the_figures(visit):
    """An ipywidgets control does nothing without a kernel, but its place is not empty."""
    for path in pages_with('"@jupyter-widgets/controls"'):
        html = path.read_text(encoding="utf-8")
        views = re.findall(r'widget-view\+json">\s*(\{.*?\})\s*</script>', html)
        [state] = re.findall(r'widget-state\+json">(.*?)</script>', html, re.DOTALL)
        models = json.loads(state)["state"]
        ids = [json.loads(view)["model_id"] for view in views]
        others = [i for i in ids if models[i]["model_module"] != "anywidget"]
        page, wrong = visit(path.as_uri())
        if others:
            page.locator(".jupyter-widgets").nth(len(others) - 1).wait_for()
        assert not wrong


def test_without_scripts_there_is_a_picture(visit):
    path = pages_with('class="lth-picture"')[0]
    page, _ = visit(path.as_uri(), java_script_enabled=False)
    for image in page.locator("img.lth-picture").all():
        assert image.is_visible()
        assert image.get_attribute("alt")
        assert image.bounding_box()["width"] > 100


def test_quiz_needs_no_script_and_prints_its_answers(visit):
    for path in pages_with('data-lth="quiz"'):
        page, _ = visit(path.as_uri(), width=390, java_script_enabled=False)
        for question in page.locator('[data-lth="quiz"] fieldset').all():
            assert question.locator("legend").inner_text().strip()
            seen = []
            feedback = question.locator("[role=status] p")
            assert not any(p.is_visible() for p in feedback.all()), "told before it is asked"
            for answer in question.get_by_role("radio").all():
                answer.check()
                [told] = [p.inner_text() for p in feedback.all() if p.is_visible()]
                seen.append(told.split()[0])
            assert seen.count("✓") == 1, seen
            assert seen.count("✗") == len(seen) - 1, seen
        page.emulate_media(media="print")
        for question in page.locator('[data-lth="quiz"] fieldset').all():
            [told] = [p for p in question.locator("[role=status] p").all() if p.is_visible()]
            assert told.inner_text().startswith("✓")


# On a page of their own --------------------------------------------------------------------------

CELLS = {
    "reset": {"found mask": "ticket", "random mask": "random mask"},
    "reinit": {"found mask": "reinit"},
}


@pytest.mark.parametrize("width", [280, 1200])
def test_matrix_tells_the_paired_difference_in_both_directions(alone, width):
    table = studies.recorded("lenet-mnist").table
    page = alone(widgets.matrix(table, CELLS, margin=0.3, baseline="reinit"), width=width)
    figure = page.locator('[data-lth="matrix"]')
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for one, other in (("ticket", "reinit"), ("reinit", "ticket")):
        for name in ("random mask", other, one, "random mask"):  # lets go of all, whatever is on
            cell = figure.get_by_title(name, exact=True)
            if cell.get_attribute("aria-pressed") == "true":
                cell.click()
        figure.get_by_title(other, exact=True).click()
        figure.get_by_title(one, exact=True).click()
        row = studies.paired(table, one, other).iloc[-1]
        told = figure.locator("[aria-live]").inner_text()
        assert told.startswith(f"{one} − {other}: ")
        for number in (row["mean"], row.low, row.high):
            assert f"{number:+.2f}".replace("-", "−") in told, told
        assert "beyond noise" in told, "the sparsest level of this study tells the two apart"
        assert ("does not match" in told) == (row.low <= -0.3)
    for button in figure.get_by_role("button").all():
        assert button.bounding_box()["height"] >= 44
    check_matrix(figure)


def memory(images, **options):
    """A network that reads digits untrained: its units are 300 of them, which vote for theirs."""
    data = datasets.load("mnist-5k")
    seen = data.train.first(300)
    units = data.normalise(seen.images).flatten(1)
    units = units / units.norm(dim=1, keepdim=True)
    votes = torch.nn.functional.one_hot(seen.labels, 10).T - 0.1
    weights = {"fc1.weight": units - units.mean(0), "output.weight": votes}
    scores = {name: values.abs() for name, values in weights.items()}
    return widgets.supermask(weights, scores, data, images=images, **options)


def test_supermask_reads_digits_in_the_page_as_in_python(alone):
    figure = memory(100, densities=(1, 0.5, 0.2, 0.05, 0.005))
    page = alone(figure)
    found = page.evaluate(
        """async () => {
          const { bytes, columns, inflate, keep, right, unpack } = figure;
          const spec = model.get("spec");
          const known = unpack(spec, await inflate(bytes(model)));
          return spec.kinds.map(({ name }) => spec.densities.map((_, stop) =>
            right(known, known.layers.map((layer) => columns(layer, keep(layer, name, stop))))));
        }"""
    )
    assert found == [kind["accuracy"] for kind in figure.spec["kinds"]]
    assert len({hits for kind in found for hits in kind}) > 5, "masks that all answer the same"


@pytest.mark.parametrize("width", [280, 1200])
def test_supermask_answers_on_a_phone_and_on_a_screen(alone, width):
    page = alone(memory(50), width=width)
    figure = page.locator('[data-lth="supermask"]')
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for control in figure.locator("label, select, input[type=range]").all():
        assert not control.is_visible() or control.bounding_box()["height"] >= 44
    check_supermask(figure)
