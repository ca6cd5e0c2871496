"""Every page of the built site, in a real browser, on a screen and on a phone."""

import pytest
from conftest import NO_SITE, SITE

PAGES = [str(path.relative_to(SITE)) for path in sorted(SITE.rglob("*.html"))]
PAGES = [page for page in PAGES if not page.startswith("_static/")]
CHAPTERS = [page for page in PAGES if not page.startswith("_modules/")]  # not the source code


def each(pages):
    none = pytest.param("none", marks=pytest.mark.skip(reason=NO_SITE))
    return pytest.mark.parametrize("page", pages or [none])


@pytest.fixture(autouse=True)
def own_copies():
    """Without npm the site takes MathJax from elsewhere, which the build said."""
    if not (SITE / "_static" / "vendor").is_dir():
        pytest.skip("the site was built without npm, so that its pages ask other addresses")


def settle(page):
    """Wait for what is shown after the page has been read: figures and formulas."""
    page.wait_for_load_state("load")
    page.wait_for_function("!window.MathJax?.startup?.promise || window.MathJax.startup.output")
    page.evaluate("async () => { await window.MathJax?.startup?.promise }")
    page.wait_for_function("document.querySelectorAll('.lth-picture').length === 0")


@each(PAGES)
def test_page_of_a_file_asks_nobody_and_fits_a_phone(visit, page):
    shown, wrong = visit((SITE / page).as_uri(), width=390, has_touch=True)
    settle(shown)
    assert not wrong
    wide = shown.evaluate("document.documentElement.scrollWidth")
    assert wide <= 390, "the whole page scrolls sideways"


@each(CHAPTERS)
def test_page_of_a_server_asks_nobody(visit, server, page):
    shown, wrong = visit(f"{server}/{page}")
    settle(shown)
    assert not wrong


def test_several_panels_stay_readable_on_a_phone(visit):
    page, wrong = visit((SITE / "part1_small" / "winning_tickets.html").as_uri(), width=390)
    page.wait_for_selector(".wide img")
    for image in page.query_selector_all(".wide img"):
        image.scroll_into_view_if_needed()
        assert image.bounding_box()["width"] >= 600
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert not wrong
