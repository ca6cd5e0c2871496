"""The command line: ``lth``.

Every mistake that a caller can mend ends in one sentence on the error output and exit status 2;
Ctrl-C ends in exit status 130.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

# What a command needs is imported when it runs, so that ``lth --help`` answers at once.

app = typer.Typer(
    name="lth",
    help="Find winning tickets, beside their controls, from the command line.",
    epilog="Start with: lth tasks, then lth imp lenet-mnist",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
data_app = typer.Typer(
    help="What data is found where; fetch what is missing.", rich_markup_mode=None
)
results_app = typer.Typer(
    help="Recorded studies and the scorecard of the podcast's claims.", rich_markup_mode=None
)
runs_app = typer.Typer(
    help="What the store of finished runs holds; make room in it.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(data_app, name="data")
app.add_typer(results_app, name="results")
app.add_typer(runs_app, name="runs")
tickets_app = typer.Typer(
    help="Tickets as files: the zoo of this book and those of others.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(tickets_app, name="tickets")

Workers = Annotated[
    int | None,
    typer.Option(
        help="Train in so many processes instead of in threads; also for --cluster local."
    ),
]
Cluster = Annotated[
    str | None, typer.Option(help="Train on a Dask cluster: tcp://HOST:PORT, or local.")
]
Runs = Annotated[
    Path | None, typer.Option("--runs", help="The store of finished runs; $LTH_RUNS by default.")
]


def main() -> None:
    """Run a command; print a mistake as one sentence."""
    from lth_utils.errors import InputError

    try:
        app()
    except InputError as error:
        print(f"lth: {error}", file=sys.stderr)
        sys.exit(2)


@contextmanager
def _resumable() -> Iterator[None]:
    """Say after Ctrl-C what was finished, and how to go on."""
    try:
        yield
    except KeyboardInterrupt as stop:
        print("\nlth:", *getattr(stop, "__notes__", ["Stopped before any training."]),
              file=sys.stderr)  # fmt: skip
        raise typer.Exit(130) from None


# Tasks --------------------------------------------------------------------------------------------


@app.command("tasks")
def list_tasks() -> None:
    """List the tasks, each a paper's network, data and recipe."""
    from lth_utils.tasks import TASKS

    for task in TASKS.values():
        live = task.at("live")
        what = "{} levels" if task.supermask is None else "masks trained, weights not"
        print(f"{task.name:18} {task.title} on {task.dataset}, {task.recipe.duration}, "
              f"{what.format(task.levels)}, {task.replicates} replicates")  # fmt: skip
        print(f"{'':18} at live scale: {live.recipe.duration}, {what.format(live.levels)}, "
              f"{live.replicates} replicates")  # fmt: skip


@app.command("new")
def new_task(
    file: Annotated[Path, typer.Argument(help="The file to write, for instance my_study.py.")],
) -> None:
    """Write a task of your own to begin with: a network, data and a recipe, to be changed.

    It runs as it is:  lth new my_study.py, then lth imp my_study.py --scale smoke
    """
    import lth_utils
    from lth_utils.errors import InputError

    if file.suffix != ".py":
        raise InputError(f"A task is written in Python; call the file {file.with_suffix('.py')}.")
    text = Path(lth_utils.__file__).with_name("_starter.py").read_text(encoding="utf-8")
    try:
        with file.open("x", encoding="utf-8") as new:
            new.write(text)
    except FileExistsError:
        raise InputError(f"{file} is there already; choose another name.") from None
    except OSError as error:
        raise InputError(f"{file} cannot be written ({error.strerror}); choose another.") from None
    print(f"Written: {file}. Try it with: lth imp {file} --scale smoke")


# Data ---------------------------------------------------------------------------------------------


@data_app.callback(invoke_without_command=True)
def list_data(context: typer.Context) -> None:
    """Show every dataset and where it was found."""
    if context.invoked_subcommand:
        return
    from lth_utils.datasets import where

    for row in where():
        print(f"{row.name:15} {row.title:18} {row.found.source if row.found else 'not here'}")
        print(f"{'':15} {row.found.folder if row.found else row.get}")


@data_app.command()
def fetch(
    name: Annotated[str, typer.Argument(help="A name that `lth data` lists, such as mnist.")],
    into: Annotated[
        Path | None, typer.Option(help="Folder to download to; the user cache by default.")
    ] = None,
) -> None:
    """Download a dataset, checked against its published digests."""
    from lth_utils.datasets import fetch

    print(f"{name} is in {fetch(name, into)}")


# Pruning, and training masks ----------------------------------------------------------------------

TaskName = Annotated[
    str,
    typer.Argument(
        metavar="TASK",
        help="A name that `lth tasks` lists, or your own: FILE.py, FILE.py:NAME or MODULE:NAME.",
    ),
]
Replicates = Annotated[int | None, typer.Option(help="How many seeds; the task's by default.")]
Scale = Annotated[
    str | None,
    typer.Option(help="smoke (seconds), live (a minute on two cores) or paper (wants a GPU)."),
]
Out = Annotated[
    Path | None, typer.Option(help="Folder for the results; runs/TASK-SCALE by default.")
]
Scope = Annotated[
    str | None,
    typer.Option(help="layer, global, erdos-renyi or sensitivity; the task's by default."),
]
OneShot = Annotated[
    bool, typer.Option("--one-shot", help="Prune every level from the dense network, in one step.")
]
Yes = Annotated[bool, typer.Option("--yes", help="Start long runs without asking.")]


@app.command()
@_resumable()
def imp(
    task: TaskName,
    levels: Annotated[
        int | None, typer.Option(help="How many times to prune; the task's by default.")
    ] = None,
    replicates: Replicates = None,
    scale: Scale = None,
    rewind: Annotated[str, typer.Option(help="Step to rewind to: 500it, 3ep or 1%.")] = "0it",
    treatment: Annotated[
        list[str] | None,
        typer.Option(
            help='What to train at each level, as in "reinit, same signs" or "ticket @ 6%"; repeat '
            "it. The first one is pruned further. By default ticket, reinit and random mask."
        ),
    ] = None,
    criterion: Annotated[str, typer.Option(help="What decides which weights go.")] = "magnitude",
    fraction: Annotated[
        float | None,
        typer.Option(help="Share of the remaining weights that a level removes, in every layer."),
    ] = None,
    scope: Scope = None,
    one_shot: OneShot = False,
    prune_at: Annotated[
        str,
        typer.Option(help="Step of a training at which the criterion looks at its weights."),
    ] = "100%",
    out: Out = None,
    runs: Runs = None,
    workers: Workers = None,
    cluster: Cluster = None,
    check: Annotated[
        bool, typer.Option("--check", help="Say what speaks against believing the result.")
    ] = False,
    yes: Yes = False,
) -> None:
    """Find tickets by iterative pruning, and train each beside its controls.

    Prints test accuracy at the early stop as mean and 95% interval over replicates, and writes
    table.csv, curves.csv and masks.safetensors. What has been finished is kept in the store: the
    same command again goes on where it stopped.

    For example:  lth imp lenet-mnist --levels 8 --replicates 3 --scale live
    """
    from lth_utils import lottery

    options = {
        "levels": levels,
        "rewind": rewind,
        "treatments": treatment or ["ticket", "reinit", "random mask"],
        "criterion": criterion,
        "fractions": fraction,
        "scope": scope,
        "one_shot": one_shot,
        "prune_at": prune_at,
    }
    where = replicates, scale, out, runs, workers, cluster, yes
    found = _run(task, lottery.imp, lottery.predict, options, *where)
    if check:
        from lth_utils import studies

        doubts = studies.check(found) or ["Nothing that a program can see."]
        print("\nWhat speaks against believing it:", *doubts, sep="\n  ")


@app.command()
@_resumable()
def instability(
    task: TaskName,
    step: Annotated[
        list[str] | None,
        typer.Option(
            help="Where copies part, as 500it, 3ep or 1%; repeat it. By default 0, 1, 6%."
        ),
    ] = None,
    levels: Annotated[
        int | None, typer.Option(help="How many times to prune; the task's by default.")
    ] = None,
    replicates: Replicates = None,
    scale: Scale = None,
    scope: Scope = None,
    one_shot: OneShot = False,
    points: Annotated[int, typer.Option(help="Points on the line between two copies.")] = 30,
    out: Out = None,
    runs: Runs = None,
    workers: Workers = None,
    cluster: Cluster = None,
    yes: Yes = False,
) -> None:
    """Train tickets rewound to several steps, each with a copy that sees other SGD noise.

    Prints test accuracies, and between copies the error barrier in points and the distance, all as
    mean and 95% interval over replicates; writes table.csv, curves.csv and masks.safetensors. It
    goes on where it stopped, as `lth imp` does.

    For example:  lth instability mlp-mnist1d --step 0% --step 10% --one-shot --scale live
    """
    from lth_utils import stability

    options = {
        "steps": step or ["0%", "1%", "6%"],
        "levels": levels,
        "scope": scope,
        "one_shot": one_shot,
        "between": stability.Between(points),
    }
    where = replicates, scale, out, runs, workers, cluster, yes
    _run(task, stability.instability, stability.predict, options, *where)


@app.command()
@_resumable()
def supermask(
    task: TaskName,
    density: Annotated[
        list[float] | None,
        typer.Option(help="Share of the weights to keep, for edge-popup; repeat it."),
    ] = None,
    replicates: Replicates = None,
    scale: Scale = None,
    out: Out = None,
    runs: Runs = None,
    workers: Workers = None,
    cluster: Cluster = None,
    yes: Yes = False,
) -> None:
    """Train masks over weights that stay random, beside random masks and the trained network.

    Prints test accuracy at the early stop as mean and 95% interval over replicates, and writes
    table.csv, curves.csv and masks.safetensors. It goes on where it stopped, as `lth imp` does.

    For example:  lth supermask lenet-edge-popup --density 0.5 --density 0.1 --scale live
    """
    from lth_utils import supermasks

    where = replicates, scale, out, runs, workers, cluster, yes
    _run(task, supermasks.learn, supermasks.predict, {"densities": density or None}, *where)


def _run(
    task: str,
    procedure: Callable,
    predict: Callable[..., float],
    options: dict,
    replicates: int | None,
    scale: str | None,
    out: Path | None,
    runs: Path | None,
    workers: int | None,
    cluster: str | None,
    yes: bool,
):
    """Do with a task what a procedure does; show, write and give back what it gives."""
    from lth_utils import tasks
    from lth_utils.errors import InputError
    from lth_utils.store import Store

    chosen = tasks.find(task).at(scale)
    if replicates is not None and replicates < 1:
        raise InputError(f"The number of replicates is 1 or more; got {replicates}.")
    out = out or Path("runs") / f"{chosen.name}-{chosen.scale}"
    _writable(out)
    seeds = range(replicates) if replicates else None
    options = {**options, "seeds": seeds, "store": Store(runs)}
    print(chosen.describe().replace("\n", " "), flush=True)
    with _executor(workers, cluster) as executor:
        _agree(lambda: predict(chosen, **options), yes)
        result = procedure(chosen, executor=executor, **options)
    _show(result.table)
    print(f"\n{result.seconds:.0f} s of training. Written:")
    for path in result.save(out):
        print(f"  {path}")
    return result


def _executor(workers: int | None, cluster: str | None):
    """Where to train, as the options say; None for right here."""
    from lth_utils import executors

    if cluster is not None:
        return executors.cluster(cluster, workers)
    return executors.local(workers) if workers is not None else nullcontext()


def _writable(folder: Path) -> None:
    """Find out before hours of work, not after."""
    from lth_utils.errors import InputError

    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".lth").touch()
        (folder / ".lth").unlink(missing_ok=True)  # another run may have
    except OSError as error:
        raise InputError(
            f"Results cannot be written to {folder} ({error.strerror}); choose another with --out."
        ) from None


def _agree(predict: Callable[[], float], yes: bool) -> None:
    """Ask before what is predicted to take more than ten minutes."""
    from lth_utils.errors import InputError

    if yes or (seconds := predict()) < 600:
        return
    print(f"This is predicted to take about {seconds / 60:.0f} minutes here.", flush=True)
    if not sys.stdin.isatty():
        raise InputError("Add --yes to start a run of more than ten minutes without being asked.")
    typer.confirm("Start?", abort=True)


def _show(table) -> None:
    from lth_utils import studies

    _print_means(
        studies.summary(table), "Test accuracy at the early stop (%), mean and 95% interval"
    )
    if (table.moment == "between").any():
        for metric, unit in (("error barrier", "points of test error"), ("distance", "L2")):
            means = studies.summary(table, metric, moment="between")
            _print_means(means, f"Between copies: {metric} ({unit}), mean and 95% interval")


def _print_means(means, title: str) -> None:
    names = list(dict.fromkeys(means.treatment))
    print(f"\n{title} over replicates")
    print(f"{'level':>5} {'weights':>8}  " + "".join(f"{name:<24}" for name in names))
    for level, rows in means.groupby("level"):
        cells = []
        for name in names:
            row = rows[rows.treatment == name]
            cells.append(_cell(row.iloc[0]) if len(row) else "")
        line = f"{level:5} {rows.density.mean():8.1%}  " + "".join(f"{c:<24}" for c in cells)
        print(line.rstrip())


def _cell(row) -> str:
    if row["n"] == 1:
        return f"{row['mean']:.2f}"
    return f"{row['mean']:.2f} ({row['low']:.2f}, {row['high']:.2f})"


# Runs ---------------------------------------------------------------------------------------------


@runs_app.command("ls")
def list_runs(runs: Runs = None) -> None:
    """List the runs in the store, the one used last at the end."""
    from lth_utils.store import Store

    store = Store(runs)
    units = sorted(store.units(), key=lambda unit: unit.used)
    if not units:
        print(f"No runs yet in {store.root}. Start with: lth imp lenet-mnist")
        return
    rows = [
        (
            unit.key[:10],
            "damaged" if unit.damaged else _what(unit.settings),
            *(_word(unit.settings.get(name)) for name in ("data", "treatment", "level", "seed")),
            f"{unit.seconds:.1f}",
            _size(unit.bytes),
            f"{unit.used:%Y-%m-%d %H:%M}",
        )
        for unit in units
    ]
    head = ("key", "network", "dataset", "treatment", "level", "seed", "seconds", "size", "used")
    _columns(head, rows, left=4)
    print(f"{_count(units, 'run')}, {sum(unit.seconds for unit in units):,.0f} s of training, "
          f"{_size(store.size)} in {store.root}")  # fmt: skip


@runs_app.command("show")
def show_run(
    key: Annotated[str, typer.Argument(help="The first characters of a key in `lth runs ls`.")],
    runs: Runs = None,
) -> None:
    """Show a run's settings, where it comes from, and its loss and accuracy."""
    from lth_utils.errors import InputError
    from lth_utils.lottery import CURVES
    from lth_utils.store import Store

    store = Store(runs)
    key = store.find(key)
    unit = store.load(key)
    if unit is None:
        raise InputError(f"Run {key[:10]} was damaged and has been removed; run its study again.")
    print(f"{key}\n\nSettings")
    _lines(unit.settings)
    print("\nProvenance")
    _lines({"seconds": unit.seconds, **unit.provenance})
    rows = unit.history[~unit.history.moment.isin(CURVES)]
    metrics = rows.pivot_table(
        index=["moment", "step"], columns=["split", "metric"], values="value", sort=False
    )
    print("\nLoss, and accuracy in percent")
    for (moment, step), values in metrics.iterrows():
        cells = ", ".join(f"{split} {metric} {v:.4g}" for (split, metric), v in values.items())
        print(f"  {moment} at {step}: {cells}")


@runs_app.command("gc")
def make_room(
    limit: Annotated[
        str | None,
        typer.Option(
            help="Size that may stay, such as 5GB; $LTH_RUNS_LIMIT by default, else there is none."
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be removed.")
    ] = False,
    runs: Runs = None,
) -> None:
    """Remove what interrupted runs left, then what has not been used for longest.

    What is being computed just now stays.
    """
    from lth_utils.store import Store, byte_count

    store = Store(runs)
    before = store.size
    removed = store.gc(byte_count(limit) if limit else None, dry_run)
    freed = sum(piece.bytes for piece in removed)
    for piece in removed:
        what = f"damaged {piece.kind}" if piece.damaged else piece.kind
        print(f"{piece.key[:10]}  {what}, {_size(piece.bytes)}")
    print(f"{'Would free' if dry_run else 'Freed'} {_size(freed)}; "
          f"{_size(before - freed)} stay in {store.root}")  # fmt: skip


def _columns(head, rows, left: int) -> None:
    """Print rows of words under each other, the first columns ranged left."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    for row in (head, *rows):
        cells = [
            cell.ljust(width) if i < left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        print("  ".join(cells).rstrip())


def _what(settings) -> str:
    """The network that was trained, or that two were compared."""
    return "(line)" if "between" in settings else _word(settings.get("network"))


def _word(value) -> str:
    """The name in a setting; of a list, its first entry."""
    while isinstance(value, list) and value:
        value = value[0]
    return "" if value is None else str(value)


def _lines(settings) -> None:
    import json

    for name, value in settings.items():
        print(f"  {name}: {value if isinstance(value, str) else json.dumps(value)}")


def _count(things, name: str) -> str:
    return f"{len(things)} {name}{'' if len(things) == 1 else 's'}"


def _size(count: float) -> str:
    names = ["TB", "GB", "MB", "kB", "B"]
    while count >= 999.5 and len(names) > 1:
        count /= 1000
        names.pop()
    return f"{count:.3g} {names[-1]}"


# Tickets ------------------------------------------------------------------------------------------

TicketName = Annotated[
    str, typer.Argument(metavar="TICKET", help="A file, or a name that `lth tickets ls` lists.")
]
Where = "A folder, also as file://, or user/name on the Hugging Face Hub."


@tickets_app.command("ls")
def list_tickets(
    folder: Annotated[
        Path | None, typer.Argument(help="A folder of tickets; the book's by default.")
    ] = None,
) -> None:
    """List tickets: density and accuracy in percent, the step rewound to, seeds and size."""
    from lth_utils import tickets

    table = tickets.ls(folder)
    if table.empty:
        print(f"No tickets in {folder}. tickets.save writes them; `lth tickets pull` gets them.")
        return
    rows = [["" if cell != cell else str(cell) for cell in row] for row in table.values.tolist()]
    _columns(list(table), rows, left=3)


@tickets_app.command("show")
def show_ticket(name: TicketName) -> None:
    """Show where a ticket comes from, and what it keeps of each layer."""
    from dataclasses import asdict

    from lth_utils import tickets

    ticket = tickets.load(name)
    p, counts = ticket.provenance, ticket.mask.counts()
    print(ticket)
    known = ["unknown" if value is None else f"{value:.2f}" for value in p.accuracy]
    _lines({
        "start": "drawn by its seeds" if ticket.drawn else "weights in the file",
        "digests of the start": ", ".join(digest[:16] for digest in ticket.digests),
        "test accuracy when found (%)": ", ".join(known),
        "saved": p.date,
    })  # fmt: skip
    task = asdict(p.task) if p.task else {"task": "not in the file"}
    parts = {"Notes": p.notes, "Images": asdict(p.images), "Code": asdict(p.code), "Task": task}
    for title, part in parts.items():
        print(f"\n{title}")
        _lines({name: value for name, value in part.items() if value not in (None, {}, "")})
    print("\nKept of each layer, the mean over members")
    means = counts.groupby("layer", sort=False)[["kept", "size", "density"]].mean()
    rows = [[f"  {layer}", f"{row.kept:,.0f}", f"{row['size']:,.0f}", f"{row.density:.2%}"]
            for layer, row in means.iterrows()]  # fmt: skip
    _columns(("  layer", "kept", "of", "density"), rows, left=1)


@tickets_app.command("verify")
def verify_tickets(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[TICKET]...", help="Files, or names of the book's; all of these."),
    ] = None,
) -> None:
    """Check that files are whole, and that each start is the one that the ticket was found with."""
    from lth_utils import tickets
    from lth_utils.errors import DataError, InputError

    names, bad = names or list(tickets.ls().name), 0
    for name in names:
        try:
            print(f"good     {name}: {tickets.load(name)}")
        except DataError as error:
            bad += 1
            print(f"NOT GOOD {error}")
    if bad:
        raise InputError(f"{bad} of {_count(names, 'ticket')} cannot be used.")


@tickets_app.command("push")
def push_tickets(
    files: Annotated[list[Path], typer.Argument(help="Files of tickets.")],
    to: Annotated[str, typer.Option(help=Where)],
) -> None:
    """Copy tickets to where others can pull them; each is checked first."""
    from lth_utils import tickets

    for name in tickets.push(files, to):
        print(f"{name} is in {to}")


@tickets_app.command("pull")
def pull_tickets(
    source: Annotated[str, typer.Option("--from", help=Where)],
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Of tickets; all by default.")
    ] = None,
    into: Annotated[Path, typer.Option(help="The folder to copy into.")] = Path("."),
) -> None:
    """Copy tickets from where others have pushed them; each is checked before it is kept."""
    from lth_utils import tickets

    for path in tickets.pull(source, names or None, into):
        print(f"{path}: {tickets.load(path)}")


# Results ------------------------------------------------------------------------------------------


@results_app.callback(invoke_without_command=True)
def results(
    context: typer.Context,
    folder: Annotated[
        Path | None, typer.Option(help="Where the recorded tables are; the book's by default.")
    ] = None,
) -> None:
    """Rebuild scorecard.csv from the recorded tables, and show what is settled."""
    context.obj = folder
    if context.invoked_subcommand:
        return
    from lth_utils import studies
    from lth_utils.datasets import embedded

    folder = folder or embedded("results")
    card = studies.scorecard(folder)
    _writable(folder)
    card.to_csv(folder / "scorecard.csv", index=False)
    for _, row in card[card.verdict != "open"].iterrows():
        ours = f"{row.ours:.2f} ({row.low:.2f}, {row.high:.2f})"
        print(f"{row.claim} {row.verdict}: {row.quantity}: {ours}, {row.replicates} replicates")
    print(f"{(card.verdict == 'open').sum()} of {len(card)} claims are open. "
          f"Written: {folder / 'scorecard.csv'}")  # fmt: skip


@results_app.command("ls")
def list_results(context: typer.Context) -> None:
    """List the studies, what each takes on two cores, and whether it is recorded."""
    from lth_utils import studies
    from lth_utils.errors import DataError

    for study in studies.STUDIES.values():
        try:
            state = studies.recorded(study.name, context.obj).provenance["date"]
        except DataError:
            state = f"not recorded: {study.pending}" if study.pending else "not recorded"
        print(f"{study.name:22} {study.title} (about {study.minutes} min): {state}")


@results_app.command("run")
@_resumable()
def run_study(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="A name that `lth results ls` lists, or all.")],
    scale: Annotated[
        str | None, typer.Option(help="smoke to try it out; the study's own by default.")
    ] = None,
    as_published: Annotated[
        bool,
        typer.Option("--as-published", help="The paper's settings in full; wants a GPU."),
    ] = False,
    levels: Annotated[
        int | None, typer.Option(help="Stop after so many levels; go on later with more.")
    ] = None,
    runs: Runs = None,
    workers: Workers = None,
    cluster: Cluster = None,
    yes: Annotated[bool, typer.Option("--yes", help="Start long runs without asking.")] = False,
) -> None:
    """Run a study, or what is left of it, and record its table, curves and provenance."""
    from lth_utils import studies
    from lth_utils.datasets import embedded
    from lth_utils.store import Store

    chosen = studies.STUDIES.values() if name == "all" else [studies.by_name(name)]
    # Only a whole study at its own scale may replace what is recorded.
    trial = scale is not None or levels is not None
    folder = context.obj or (Path("runs") / "results" if trial else embedded("results"))
    _writable(folder)
    with _executor(workers, cluster) as executor:
        for study in chosen:
            if scale is None:
                _agree(partial(study.predict, as_published, levels, Store(runs)), yes)
            studies.record(
                study, folder, scale, as_published, levels, Store(runs), executor=executor
            )
            print(f"Recorded {study.name} in {folder}")


if __name__ == "__main__":
    main()
