"""Run the chapters in a scratch copy of the book, each once, as a reader would.

    python tests/notebooks/run.py --scale smoke                        what `make test` does
    python tests/notebooks/run.py --scale live --into _build/executed  what `make book` does
    python tests/notebooks/run.py --scale live pruning tickets         those with these words in
                                                                       their paths

The copy lies outside the project and runs start from an empty store, so that a chapter can lean
neither on files that a reader lacks nor on results of an earlier run. With ``--into`` the executed
notebooks are kept there, all or none, and are not executed again before something that they show
has changed.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SECONDS_A_CELL = {"smoke": 120, "live": 300, "paper": 7 * 24 * 3600}
TEXT = {".md", ".bib", ".yml", ".css", ".js"}
SCRATCH = shutil.ignore_patterns(".ipynb_checkpoints", "__pycache__", "_build")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("words", nargs="*", help="only chapters with one of these in their path")
    parser.add_argument("--scale", choices=SECONDS_A_CELL, default="smoke")
    parser.add_argument("--into", type=Path, help="keep the executed notebooks in this folder")
    args = parser.parse_args()

    data = data_source(args.scale)
    print(f"Chapters at scale {args.scale}, data: {data}", flush=True)
    state = fingerprint(args.scale, data, *args.words)
    stamp = args.into / ".fingerprint" if args.into else None
    if stamp and stamp.is_file() and stamp.read_text() == state:
        print("Nothing that the chapters show has changed: they are not run again.")
        return 0

    with tempfile.TemporaryDirectory(prefix="lottery-tickets-") as scratch:
        book = Path(scratch) / "book"
        shutil.copytree(ROOT / "book", book, ignore=SCRATCH)
        chapters = [
            chapter
            for chapter in sorted(book.rglob("*.ipynb"))
            if wanted(chapter.relative_to(book), args.words)
        ]
        if not chapters:
            print(f"No notebook to run under {ROOT / 'book'}.", file=sys.stderr)
            return 1
        code = execute(book, chapters, args.scale, data, keep=bool(args.into))
        if code == 0 and args.into:
            shutil.rmtree(args.into, ignore_errors=True)
            for chapter in chapters:
                kept = args.into / chapter.relative_to(book)
                kept.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(chapter, kept)
            stamp.write_text(state)
    return code


def wanted(chapter: Path, words: list[str]) -> bool:
    """Whether to run a chapter; the assignments have tests of their own."""
    if "assignments" in chapter.parts:
        return False
    return not words or any(word in chapter.as_posix() for word in words)


def data_source(scale: str) -> str:
    """The reader's ``$LTH_DATA`` as an absolute path; the embedded data without it and in tests."""
    given = os.environ.get("LTH_DATA", "")
    if scale == "smoke" or given in ("", "embedded"):
        return "embedded"
    return str(Path(given).expanduser().resolve())


def fingerprint(*settings: str) -> str:
    """A digest of all that can change an executed notebook; the text pages cannot."""
    files = [ROOT / "requirements.lock", ROOT / "pyproject.toml"]
    for folder in ("lth_utils", "data", "book"):
        files += sorted(p for p in (ROOT / folder).rglob("*") if p.is_file())
    digest = hashlib.sha256("\0".join(settings).encode())
    for path in files:
        name = path.relative_to(ROOT)
        if {"__pycache__", ".ipynb_checkpoints"} & set(name.parts):
            continue
        if name.parts[0] == "book" and path.suffix in TEXT:
            continue
        digest.update(f"{name.as_posix()}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def execute(book: Path, chapters: list[Path], scale: str, data: str, keep: bool) -> int:
    """pytest's exit code; with ``keep``, outputs are written into the notebooks."""
    # One thread a kernel: two kernels that each take every core slow one another down.
    one_thread = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
    scratch = {"LTH_RUNS": str(book.parent / "runs"), "IPYTHONDIR": str(book.parent / "ipython")}
    settings = {"LTH_SCALE": scale, "LTH_DATA": data, "LTH_PROGRESS": "0", **scratch}
    workers = min(2, os.cpu_count() or 1, len(chapters))
    command = [sys.executable, "-m", "pytest", "--nbmake", "--rootdir=.", "-p", "no:cacheprovider"]
    command += [f"--nbmake-timeout={SECONDS_A_CELL[scale]}", f"-n{workers}", "--dist=worksteal"]
    command += ["--durations=0", "--durations-min=1"]
    command += ["--overwrite"] if keep else []
    command += [str(chapter.relative_to(book)) for chapter in chapters]
    return subprocess.call(command, cwd=book, env=os.environ | one_thread | settings)


if __name__ == "__main__":
    sys.exit(main())
