"""A real browser, the built site, and figures on a page of their own."""

import base64
import functools
import http.server
import shutil
import threading
from pathlib import Path

import pytest

SITE = Path(__file__).resolve().parents[2] / "_build" / "html"
NO_SITE = "the site is not built: `make book` first"
FLAGS = ["--no-sandbox", "--disable-background-networking", "--disable-component-update"]


@pytest.fixture(scope="session")
def browser():
    """The system's Chromium, without a window."""
    executable = shutil.which("chromium") or shutil.which("google-chrome")
    if executable is None:
        pytest.skip("there is no Chromium here to look at pages with")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=executable, args=FLAGS)
        yield browser
        browser.close()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="session")
def server():
    """The address at which the site is served."""
    handler = functools.partial(Quiet, directory=SITE)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def visit(browser):
    """``visit(address, width)``: a page, and what went wrong on it, a list that grows.

    What is asked of anyone but the site is refused and listed.
    """
    contexts = []

    def visit(address, width=1300, **options):
        context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        contexts.append(context)
        page, wrong = context.new_page(), []
        own = ("file:", "data:", "blob:", "about:", "http://127.0.0.1:")

        def check(route):
            if route.request.url.startswith(own):
                return route.continue_()
            wrong.append(f"asks {route.request.url}")
            return route.abort()

        context.route("**/*", check)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda said: said.type == "error" and wrong.append(said.text))
        page.goto(address)
        return page, wrong

    yield visit
    for context in contexts:
        context.close()


# A figure as Jupyter or the site's script would show it, given what its model holds.
SHOW = """
async ({ esm, css, spec, data }) => {
  const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
  const held = { spec, data: new DataView(bytes.buffer) };
  const address = URL.createObjectURL(new Blob([esm], { type: "text/javascript" }));
  window.figure = await import(address);
  window.model = { get: (name) => held[name] };
  document.body.innerHTML = `<style>${css}</style><div id="el"></div>`;
  await figure.default.render({ model, el: document.getElementById("el") });
}
"""


@pytest.fixture
def alone(visit):
    """``alone(figure)``: a page with nothing but that figure, and no Jupyter."""

    def alone(figure, **options):
        page, wrong = visit("about:blank", **options)
        page.set_content("<!doctype html><html lang=en><body></body></html>")
        data = base64.b64encode(figure.data).decode()
        held = {"esm": figure._esm, "css": figure._css, "spec": figure.spec, "data": data}
        page.evaluate(SHOW, held)
        assert not wrong
        return page

    return alone
