"""Fetch the JavaScript that pages need: the site then asks nobody else.

    python book/vendor.py _build/source

Each package is taken from npm at a pinned version, checked against a pinned
digest, and laid below ``_extra/_static/vendor`` of the book's copy. Beside it a
configuration is written, ``config.yml``, that serves the files from the site
itself. Where there is no npm, or no network, the pages take MathJax, and the
viewer that ipywidgets needs, from their usual addresses, and the build says so.
The book's own figures need neither.
"""

import base64
import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
CACHE = ROOT / "_build" / "vendor"

MATHJAX = "mathjax@3.2.2"
# What shows ipywidgets; _static/figures.js loads it on pages that have some.
REQUIRE = "requirejs@2.3.8"
VIEWER = "@jupyter-widgets/html-manager@1.0.15"
SHA512 = {
    MATHJAX: "Bt+SSVU8eBG27zChVewOicYs7Xsdt40qm4+UpHyX7k0"
    "/O9NliPc+x77k1/FEsPsjKPZGJvtRZM1vO+geW0OhGw==",
    REQUIRE: "7/cTSLOdYkNBNJcDMWf+luFvMriVm7eYxp4BcFCsAX0"
    "wF421Vyce5SXP17c+Jd5otXKGNehIonFlyQXSowL6Mw==",
    VIEWER: "5thBIV6ymNgmPVOHvzx+gGy8ZSKmSazhtGw4/c4xJDV"
    "zRhG9PTeQsRjF3FUTopvFi//SABeNz1yp47bCrJ3CQA==",
}
# For MathJax the one script that a page loads, and what that loads when a
# formula needs it.
WANTED = {
    MATHJAX: (
        "es5/tex-mml-chtml.js",
        "es5/output/chtml/fonts/woff-v2/",
        "es5/input/tex/extensions/",
    ),
    REQUIRE: ("require.js",),
    VIEWER: ("dist/embed-amd.js", "LICENSE"),
}


def main() -> int:
    source = Path(sys.argv[1])
    config = yaml.safe_load((ROOT / "_config.yml").read_text())
    try:
        folders = {package: fetch(package) for package in WANTED}
    except (OSError, subprocess.TimeoutExpired) as error:
        note = f"Pages take MathJax from its usual address: {error}."
        print(note, file=sys.stderr)
    else:
        vendor = source / "_extra" / "_static" / "vendor"
        for package, folder in folders.items():
            name = package.rsplit("@", 1)[0].rsplit("/")[-1]
            shutil.copytree(folder, vendor / name)
        config["sphinx"]["config"] |= {
            "html_extra_path": ["_extra"],
            "mathjax_path": "vendor/mathjax/es5/tex-mml-chtml.js",
        }
    text = yaml.safe_dump(config, sort_keys=False)
    (source / "config.yml").write_text(text)
    return 0


def fetch(package: str) -> Path:
    """The folder with a package's wanted files; npm is asked only once."""
    folder = CACHE / package
    if folder.is_dir():
        return folder
    npm = shutil.which("npm")
    if npm is None:
        raise OSError("npm is not installed")
    with tempfile.TemporaryDirectory() as scratch:
        command = [npm, "pack", package, "--pack-destination", scratch]
        result = subprocess.run(command, capture_output=True, timeout=120)
        archives = list(Path(scratch).glob("*.tgz"))
        if result.returncode or not archives:
            raise OSError(f"npm could not fetch {package}")
        sha512 = hashlib.sha512(archives[0].read_bytes()).digest()
        if base64.b64encode(sha512).decode() != SHA512[package]:
            # No reason to go on without: a published file has been changed.
            sys.exit(f"{package} does not have the digest given in {__file__}.")
        unpacked = Path(scratch) / "unpacked"
        unpack(archives[0], WANTED[package], unpacked)
        folder.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(unpacked, folder)
    return folder


def unpack(archive: Path, wanted: tuple[str, ...], into: Path) -> None:
    with tarfile.open(archive) as files:
        for member in files:
            name = member.name.removeprefix("package/")
            if member.isfile() and name.startswith(wanted):
                target = into / name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(files.extractfile(member).read())


if __name__ == "__main__":
    sys.exit(main())
