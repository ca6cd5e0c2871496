"""The command line: ``lth``.

Every mistake that a caller can mend ends in one sentence on the error output and exit status 2.
"""

from __future__ import annotations

import sys
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
app.add_typer(data_app, name="data")
app.add_typer(results_app, name="results")


def main() -> None:
    """Run a command; print a mistake as one sentence."""
    from lth_utils.errors import InputError

    try:
        app()
    except InputError as error:
        print(f"lth: {error}", file=sys.stderr)
        sys.exit(2)


# Tasks --------------------------------------------------------------------------------------------


@app.command("tasks")
def list_tasks() -> None:
    """List the tasks, each a paper's network, data and recipe."""
    from lth_utils.tasks import TASKS

    for task in TASKS.values():
        live = task.at("live")
        print(f"{task.name:15} {task.title} on {task.dataset}, {task.recipe.duration}, "
              f"{task.levels} levels, {task.replicates} replicates")  # fmt: skip
        print(f"{'':15} at live scale: {live.recipe.duration}, {live.levels} levels, "
              f"{live.replicates} replicates")  # fmt: skip


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


# Pruning ------------------------------------------------------------------------------------------


@app.command()
def imp(
    task: Annotated[str, typer.Argument(help="A name that `lth tasks` lists.")],
    levels: Annotated[
        int | None, typer.Option(help="How many times to prune; the task's by default.")
    ] = None,
    replicates: Annotated[
        int | None, typer.Option(help="How many seeds; the task's by default.")
    ] = None,
    scale: Annotated[
        str | None,
        typer.Option(help="smoke (seconds), live (a minute on two cores) or paper (wants a GPU)."),
    ] = None,
    rewind: Annotated[str, typer.Option(help="Step to rewind to: 500it, 3ep or 1%.")] = "0it",
    treatment: Annotated[
        list[str] | None,
        typer.Option(
            help="What to train at each level; repeat it. The first one is pruned further. "
            "By default ticket, reinit and random mask."
        ),
    ] = None,
    criterion: Annotated[str, typer.Option(help="What decides which weights go.")] = "magnitude",
    fraction: Annotated[
        float | None,
        typer.Option(help="Share of the remaining weights that a level removes, in every layer."),
    ] = None,
    scope: Annotated[str | None, typer.Option(help="layer or global.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the results; runs/TASK-SCALE by default.")
    ] = None,
    runs: Annotated[
        Path | None, typer.Option(help="The store of finished runs; $LTH_RUNS by default.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Start long runs without asking.")] = False,
) -> None:
    """Find tickets by iterative pruning, and train each beside its controls.

    Prints test accuracy at the early stop as mean and 95% interval over replicates, and writes
    table.csv, curves.csv and masks.safetensors. What has been finished is kept in the store: the
    same command again goes on where it stopped.

    For example:  lth imp lenet-mnist --levels 8 --replicates 3 --scale live
    """
    from lth_utils import lottery, tasks
    from lth_utils.errors import InputError
    from lth_utils.store import Store

    chosen = tasks.by_name(task).at(scale)
    if replicates is not None and replicates < 1:
        raise InputError(f"The number of replicates is 1 or more; got {replicates}.")
    out = out or Path("runs") / f"{task}-{chosen.scale}"
    _writable(out)
    treatments = treatment or ["ticket", "reinit", "random mask"]
    options = {"levels": levels, "seeds": range(replicates) if replicates else None}
    print(chosen.describe().replace("\n", " "), flush=True)
    _agree(chosen.predict(treatments=treatments, **options), yes)
    result = lottery.imp(
        chosen,
        rewind=rewind,
        treatments=treatments,
        criterion=criterion,
        fractions=fraction,
        scope=scope,
        store=Store(runs),
        **options,
    )
    _show(result.table)
    print(f"\n{result.seconds:.0f} s of training. Written:")
    for path in result.save(out):
        print(f"  {path}")


def _writable(folder: Path) -> None:
    """Find out before hours of work, not after."""
    from lth_utils.errors import InputError

    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".lth").touch()
        (folder / ".lth").unlink()
    except OSError as error:
        raise InputError(
            f"Results cannot be written to {folder} ({error.strerror}); choose another with --out."
        ) from None


def _agree(seconds: float, yes: bool) -> None:
    """Ask before what is predicted to take more than ten minutes."""
    from lth_utils.errors import InputError

    if seconds < 600 or yes:
        return
    print(f"This is predicted to take about {seconds / 60:.0f} minutes here.", flush=True)
    if not sys.stdin.isatty():
        raise InputError("Add --yes to start a run of more than ten minutes without being asked.")
    typer.confirm("Start?", abort=True)


def _show(table) -> None:
    from lth_utils import studies

    means = studies.summary(table)
    names = list(dict.fromkeys(means.treatment))
    print("\nTest accuracy at the early stop (%), mean and 95% interval over replicates")
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
            state = "not recorded"
        print(f"{study.name:22} {study.title} (about {study.minutes} min): {state}")


@results_app.command("run")
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
    runs: Annotated[
        Path | None, typer.Option(help="The store of finished runs; $LTH_RUNS by default.")
    ] = None,
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
    for study in chosen:
        if scale is None:
            _agree(60 * study.minutes, yes)
        studies.record(study, folder, scale, as_published, levels, Store(runs))
        print(f"Recorded {study.name} in {folder}")


if __name__ == "__main__":
    main()
