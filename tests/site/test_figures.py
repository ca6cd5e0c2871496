"""The figures in the pages of the built site: each answers, and so that it can be seen."""

import json
import re

import pytest
from conftest import NO_SITE, SITE


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
