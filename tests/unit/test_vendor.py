"""The site's own JavaScript: pinned, checked, and done without where there is no npm."""

import base64
import hashlib
import io
import os
import runpy
import sys
import tarfile
from pathlib import Path

import pytest
import yaml

BOOK = Path(__file__).parents[2] / "book"
SCRIPT = BOOK / "vendor.py"


@pytest.fixture
def vendor(tmp_path, monkeypatch):
    """Run the script on an empty book with a given ``npm``; gives the configuration written."""
    source = tmp_path / "source"
    source.mkdir()

    def run(npm=None, **replaced):
        tools = tmp_path / "tools"
        tools.mkdir()
        if npm is not None:
            (tools / "npm").write_text(npm)
            (tools / "npm").chmod(0o755)
        monkeypatch.setenv("PATH", f"{tools}{os.pathsep}/bin" if npm else str(tools))
        monkeypatch.setattr(sys, "argv", ["vendor.py", str(source)])
        module = runpy.run_path(str(SCRIPT))
        module["main"].__globals__.update(replaced, CACHE=tmp_path / "cache")
        module["main"]()
        return yaml.safe_load((source / "config.yml").read_text())

    return run


def pack(archive, contents):
    """An archive as npm packs it."""
    with tarfile.open(archive, "w:gz") as files:
        for name, content in contents.items():
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(content)
            files.addfile(member, io.BytesIO(content))
    return archive


@pytest.mark.parametrize("npm", [None, "#!/bin/sh\nexit 1\n"], ids=["no npm", "no network"])
def test_without_npm_the_book_is_built_all_the_same(vendor, npm, capsys):
    config = vendor(npm)
    assert "mathjax_path" not in config["sphinx"]["config"]
    assert "usual address" in capsys.readouterr().err
    assert config["title"]


def test_a_package_that_was_changed_is_refused(vendor, tmp_path):
    archive = pack(tmp_path / "changed.tgz", {"es5/tex-mml-chtml.js": b"alert(1)"})
    with pytest.raises(SystemExit, match="does not have the digest"):
        vendor(f'#!/bin/sh\ncp {archive} "$4/mathjax.tgz"\n')
    assert not (tmp_path / "cache").exists()


def test_what_is_wanted_and_nothing_else_lies_where_pages_look(vendor, tmp_path):
    everything = {
        "es5/tex-mml-chtml.js": b"MathJax",
        "es5/input/tex/extensions/ams.js": b"ams",
        "es5/tex-svg-full.js": b"not wanted",
        "require.js": b"require",
        "dist/embed-amd.js": b"viewer",
        "LICENSE": b"BSD",
        "../outside.js": b"not wanted",
    }
    archive = pack(tmp_path / "package.tgz", everything)
    digest = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    packages = runpy.run_path(str(SCRIPT))["SHA512"]
    npm = f'#!/bin/sh\ncp {archive} "$4/some.tgz"\n'
    config = vendor(npm, SHA512=dict.fromkeys(packages, digest))

    static = tmp_path / "source" / "_extra" / "_static"
    laid = {str(p.relative_to(static)) for p in static.rglob("*") if p.is_file()}
    assert laid == {
        "vendor/mathjax/es5/tex-mml-chtml.js",
        "vendor/mathjax/es5/input/tex/extensions/ams.js",
        "vendor/requirejs/require.js",
        "vendor/html-manager/dist/embed-amd.js",
        "vendor/html-manager/LICENSE",
    }
    assert (static / config["sphinx"]["config"]["mathjax_path"]).is_file()


def test_pages_ask_for_the_versions_that_are_fetched():
    module = runpy.run_path(str(SCRIPT))
    script = (BOOK / "_static" / "figures.js").read_text()
    for package in (module["REQUIRE"], module["VIEWER"]):
        assert f'"{package}/' in script
