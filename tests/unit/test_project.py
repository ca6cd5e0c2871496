"""The project's own files agree with one another, and the chapters keep the house rules."""

import ast
import json
import re
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "lth_utils"
BOOK = ROOT / "book"
PLOTTING = ("plots.", "plt.", "sns.")


@pytest.fixture(scope="module")
def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def config():
    return yaml.safe_load((ROOT / "_config.yml").read_text())


@pytest.fixture(scope="module")
def chapters():
    """Every notebook of the site, by its path inside book/; the assignments are not in it."""
    found = {
        str(path.relative_to(BOOK)): json.loads(path.read_text(encoding="utf-8"))
        for path in sorted(BOOK.rglob("*.ipynb"))
        if not {".ipynb_checkpoints", "assignments"} & set(path.parts)
    }
    assert found, f"there is no notebook under {BOOK}"
    return found


def code(notebook):
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def source(cell):
    return "".join(cell["source"])


def drawn(cell):
    """What a cell does, without the functions that it only defines."""
    lines = [line for line in source(cell).splitlines() if not line.startswith(("%", "!"))]
    defines = (ast.FunctionDef, ast.Import, ast.ImportFrom)
    tree = ast.parse("\n".join(lines))
    return "\n".join(ast.unparse(node) for node in tree.body if not isinstance(node, defines))


def setup_cells(chapters):
    cells = {path: source(code(nb)[0]) for path, nb in chapters.items() if code(nb)}
    assert cells, "no chapter has code"
    return cells


def requirements(project, *extras):
    lines = project["dependencies"] + [
        line for extra in extras for line in project["optional-dependencies"][extra]
    ]
    return {canonicalize_name(r.name): r for r in map(Requirement, lines)}


# Dependencies ------------------------------------------------------------------------------------


def test_lock_pins_what_pyproject_asks_for(project):
    lines = [
        line
        for line in (ROOT / "requirements.lock").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    loose = [line for line in lines if not re.fullmatch(r"[\w.-]+==[\w.]+", line)]
    assert not loose, "not a plain pin that every index can serve"
    pins = [(canonicalize_name(n), v) for n, v in (line.split("==") for line in lines)]
    assert len(dict(pins)) == len(pins), "a package is pinned twice"

    wanted = requirements(project, "book", "test")
    wrong = {
        name: (str(asked), dict(pins).get(name, "not pinned"))
        for name, asked in wanted.items()
        if not asked.specifier.contains(dict(pins).get(name, "0"), prereleases=True)
    }
    assert not wrong, "the lock does not fit pyproject.toml: write it anew with `make lock`"


def test_environment_is_in_step_with_pyproject(project):
    listed = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    pip = [line for entry in listed if isinstance(entry, dict) for line in entry["pip"]]
    conda = [entry for entry in listed if isinstance(entry, str)]

    [python] = [line for line in conda if line.startswith("python=")]
    assert SpecifierSet(project["requires-python"]).contains(python.split("=")[1])

    [editable] = [line for line in pip if line.startswith("-e ")]
    extras = re.fullmatch(r"-e \.\[([\w,]+)\]", editable)[1].split(",")
    assert "book" in extras
    asked = requirements(project, *extras)  # a KeyError names an extra that is not there

    named = [line for line in conda + pip if line not in (python, editable, "pip")]
    apart = [
        line
        for line in named
        if (wanted := Requirement(line)).specifier
        != getattr(asked.get(canonicalize_name(wanted.name)), "specifier", None)
    ]
    assert not apart, "a package whose bounds are not those of pyproject.toml"


def test_every_import_is_a_declared_dependency(project):
    distributions = {"PIL": "pillow", "yaml": "pyyaml", "distributed": "dask"}
    declared = set(requirements(project, "scale", "hub"))
    missing = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in PACKAGE.rglob("*.py")
        for name, _ in imports(path)
        if (top := name.split(".")[0]) not in sys.stdlib_module_names
        and top != "lth_utils"
        and canonicalize_name(distributions.get(top, top)) not in declared
    }
    assert not missing


# Rooms -------------------------------------------------------------------------------------------


def imports(path):
    """(module, imported name or None) of every import that runs; not those for type checkers."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for block in [n for n in ast.walk(tree) if isinstance(n, ast.If)]:
        if "TYPE_CHECKING" in ast.unparse(block.test):
            block.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports name the package, not dots"
            yield from ((node.module, alias.name) for alias in node.names)


def test_a_room_imports_only_rooms_below_it():
    """The order is that of the API pages, ground floor first."""
    rooms = [Path(page).name for page in toc_pages() if page.startswith("appendix/api/")]
    rooms.remove("index")
    built = {p.stem for p in PACKAGE.glob("[!_]*.py")}
    built |= {p.name for p in PACKAGE.iterdir() if (p / "__init__.py").is_file()}
    assert built <= set(rooms), f"without an API page: {sorted(built - set(rooms))}"

    upward = []
    for floor, room in enumerate(rooms):
        files = [PACKAGE / f"{room}.py", *(PACKAGE / room).rglob("*.py")]
        for path in filter(Path.is_file, files):
            for module, name in imports(path):
                parts = module.split(".")
                if parts[0] != "lth_utils":
                    continue
                other = parts[1] if len(parts) > 1 else name
                if other in rooms[floor + 1 :]:
                    upward.append(f"{room} imports {other}")
    assert not upward


# Pages -------------------------------------------------------------------------------------------


def toc_pages():
    def walk(entry):
        if isinstance(entry, dict):
            for key, value in entry.items():
                if key in ("root", "file"):
                    yield value
                elif isinstance(value, list):
                    for inner in value:
                        yield from walk(inner)

    return list(walk(yaml.safe_load((BOOK / "_toc.yml").read_text())))


def test_every_chapter_is_in_the_table_of_contents(chapters):
    left_out = set(chapters) - {f"{page}.ipynb" for page in toc_pages()}
    assert not left_out, "a page that no reader would find"


def test_notebooks_are_kept_without_outputs(chapters):
    kept = [
        path
        for path, notebook in chapters.items()
        for cell in code(notebook)
        if cell["outputs"] or cell["execution_count"] is not None
    ]
    assert not kept, "run `make tidy`"


def test_every_chapter_has_the_same_setup_cell(chapters):
    cells = setup_cells(chapters)
    first = next(iter(cells))
    differ = [path for path, cell in cells.items() if cell != cells[first]]
    assert not differ, f"the first code cell is not that of {first}"


def test_setup_cell_names_the_repository_of_config(chapters, config):
    url = config["repository"]["url"]
    for path, cell in setup_cells(chapters).items():
        named = {a.removesuffix(".git") for a in re.findall(r"https?://[^\s\"')@]+", cell)}
        assert named == ({url} if url else set()), (
            f"{path} and _config.yml name different addresses"
        )


def test_launch_buttons_need_a_repository(config):
    assert bool(config["launch_buttons"]) == bool(config["repository"]["url"])


def test_every_figure_has_alt_text_a_caption_and_a_number(chapters):
    lacking, names = [], []
    for path, notebook in chapters.items():
        for number, cell in enumerate(code(notebook)[1:], start=1):  # the setup cell draws nothing
            if not any(word in drawn(cell) for word in PLOTTING):
                continue
            settings = cell["metadata"].get("mystnb", {})
            figure = settings.get("figure", {})
            given = {
                "alt text": settings.get("image", {}).get("alt"),
                "a caption": figure.get("caption"),
                "a name": figure.get("name"),
            }
            for what in [what for what, value in given.items() if not value]:
                lacking.append(f"{path}, code cell {number}: {what}")
            names.append(figure.get("name"))
    assert not lacking
    assert names, "no chapter has a figure"
    named = [name for name in names if name]
    assert len(set(named)) == len(named), "two figures with one name"
