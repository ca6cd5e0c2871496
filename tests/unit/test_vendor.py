"""The site's own JavaScript: pinned, checked, and done without where there is no npm."""

import io
import os
import runpy
import sys
import tarfile
from pathlib import Path

import pytest
import yaml

SCRIPT = Path(__file__).parents[2] / "book" / "vendor.py"


@pytest.fixture
def vendor(tmp_path, monkeypatch):
    """Run the script on an empty book with a given ``npm``; gives the configuration written."""
    source = tmp_path / "source"
    source.mkdir()

    def run(npm=None):
        tools = tmp_path / "tools"
        tools.mkdir()
        if npm is not None:
            (tools / "npm").write_text(npm)
            (tools / "npm").chmod(0o755)
        monkeypatch.setenv("PATH", f"{tools}{os.pathsep}/bin" if npm else str(tools))
        monkeypatch.setattr(sys, "argv", ["vendor.py", str(source)])
        module = runpy.run_path(str(SCRIPT))
        module["main"].__globals__["CACHE"] = tmp_path / "cache"
        module["main"]()
        return yaml.safe_load((source / "config.yml").read_text())

    return run


@pytest.mark.parametrize("npm", [None, "#!/bin/sh\nexit 1\n"], ids=["no npm", "no network"])
def test_without_npm_the_book_is_built_all_the_same(vendor, npm, capsys):
    config = vendor(npm)
    assert "mathjax_path" not in config["sphinx"]["config"]
    assert "usual address" in capsys.readouterr().err
    assert config["title"]


def test_a_package_that_was_changed_is_refused(vendor, tmp_path):
    archive = tmp_path / "changed.tgz"
    with tarfile.open(archive, "w:gz") as files:
        script = b"alert(1)"
        member = tarfile.TarInfo("package/es5/tex-mml-chtml.js")
        member.size = len(script)
        files.addfile(member, io.BytesIO(script))
    with pytest.raises(SystemExit, match="does not have the digest"):
        vendor(f'#!/bin/sh\ncp {archive} "$4/mathjax.tgz"\n')
    assert not (tmp_path / "cache").exists()
