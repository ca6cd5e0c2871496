"""Studies with variants: what each runs, what the table keeps apart, and what is never mixed."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from lth_utils import datasets, plots, studies, tasks
from lth_utils.errors import InputError
from lth_utils.lottery import TABLE
from lth_utils.recipes import SGD, Adam, Recipe
from lth_utils.store import Store
from lth_utils.studies import STUDIES, Study, Variant, interval, measure, paired, summary
from lth_utils.studies._recording import MOST_ROWS

FINAL = 2 * 2
"""Rows that a training has for each split: two moments, two metrics."""


TASK = tasks.Task(
    name="toy-task",
    title="Little LeNet",
    network="lenet-300-100",
    dataset="toy",
    recipe=Recipe("6it", 10, Adam(0.01), every="3it"),
    prune={"linear": 0.3, "output": 0.1},
    levels=2,
    replicates=2,
    width=0.05,
)
DROPOUT = Study(
    name="toy-dropout",
    title="With dropout and without",
    task=TASK,
    options={"treatments": ("ticket", "reinit")},
    axis="dropout",
    variants={str(rate): Variant({"dropout": rate}) for rate in (0.0, 0.25, 0.5)},
    splits=("test",),
)


@pytest.fixture
def study(toy_task):
    """Three rates of dropout, at two levels, of a network that trains for 6 iterations."""
    assert toy_task.dataset == TASK.dataset  # which is there to be loaded
    return DROPOUT


@pytest.fixture
def ways(study):
    """Variants that differ in what is passed on."""
    return replace(
        study,
        name="toy-ways",
        axis="way",
        options={"treatments": ("ticket",)},
        variants={
            "iterative": Variant(),
            "one-shot": Variant(options={"one_shot": True}),
            "fine-tune": Variant(options={"treatments": ("fine-tune",)}),
            "short": Variant({"recipe": {"duration": "3it"}}),
        },
    )


# What is run --------------------------------------------------------------------------------------


def test_a_variant_changes_the_task_at_every_scale_and_passes_its_options_on(ways):
    """A comparison that is made at one scale alone, or by the study's options instead."""
    by_scale = {"smoke": {"levels": 1}, "live": {"recipe": {"duration": "5it", "batch": 7}}}
    scaled = replace(ways, task=replace(ways.task, scales=by_scale), changes={"replicates": 4})
    for scale, expected in (
        (None, replace(ways.task, replicates=4)),
        ("smoke", replace(ways.task, scale="smoke", levels=1)),
        ("live", replace(scaled.task.at("live"))),
    ):
        runs = scaled.runs(scale)
        assert list(runs) == ["iterative", "one-shot", "fine-tune", "short"]
        task, options = runs["iterative"]
        assert task == replace(expected, scales=by_scale)
        assert options == {"treatments": ("ticket",)}
        assert runs["one-shot"] == (task, {"treatments": ("ticket",), "one_shot": True})
        assert runs["fine-tune"][1] == {"treatments": ("fine-tune",)}
        short = replace(task, recipe=replace(task.recipe, duration="3it"))
        assert runs["short"][0] == short  # and of the recipe nothing else
    published = scaled.runs(as_published=True)
    assert published["short"][0].replicates == 2 and published["short"][0].recipe.duration == "3it"


def test_a_study_without_variants_has_one_run_without_a_name(study):
    plain = replace(study, axis="", variants={})
    assert plain.runs() == {"": (study.task, dict(study.options))}


@pytest.mark.parametrize(
    "changes",
    [{"axis": ""}, {"variants": {}}, {"axis": "treatment"}, {"axis": "level"}],
    ids=lambda c: str(*c.items()),
)
def test_variants_without_a_column_that_tells_them_apart_are_refused(study, changes):
    """Rows of several variants in one table, and nothing to know them by."""
    with pytest.raises(InputError, match="'toy-dropout' has variants and an axis"):
        replace(study, **changes)


# What is written ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def written(toy, tmp_path_factory):
    """What was found, and what was read back."""
    place = tmp_path_factory.mktemp("written")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets, "load", lambda name, **options: toy)
        found = studies.record(DROPOUT, place, runs=Store(place / "runs"))
    return found, studies.recorded(DROPOUT.name, place)


def test_the_table_holds_every_variant_and_says_which(written):
    found, back = written
    assert list(found) == ["0.0", "0.25", "0.5"]
    assert list(back.table) == [*TABLE, "dropout"] and set(back.table.study) == {"toy-dropout"}
    for name, lottery in found.items():
        rows = back.table[back.table.dropout == float(name)]  # numbers are read back as numbers
        mine = lottery.table[lottery.table.split == "test"]
        np.testing.assert_allclose(rows.value, mine.value, atol=5.1e-7)
        assert rows.treatment.tolist() == mine.treatment.tolist()
    values = back.table.pivot_table(
        index=[c for c in TABLE if c not in ("value", "density", "step")], columns="dropout",
        values="value",
    )  # fmt: skip
    assert (values.nunique(axis=1) > 1).any()  # it does matter who is who


def test_curves_tell_the_variants_apart_as_well(written):
    found, back = written
    assert sorted(back.curves.dropout.unique()) == [0, 0.25, 0.5]
    assert len(back.curves) == sum(len(lottery.curves) for lottery in found.values())


def test_only_the_splits_that_the_study_names_are_kept(study, tmp_path):
    task = replace(study.task, report=("train", "test"), levels=0)
    for splits in (("test",), ("train", "test"), ("val", "test")):
        studies.record(replace(study, task=task, splits=splits), tmp_path)
        assert set(studies.recorded(study.name, tmp_path).table.split) == set(splits)


def test_further_rows_are_asked_of_each_run_and_kept_beside_the_others(study, tmp_path):
    asked = []

    def kept_of(found):
        asked.append(found.task.dropout)
        rows = [
            ("", "ticket", t.level, 1.0, seed, "mask", 0, "none", "kept", n)
            for t in found.tickets
            for seed, n in zip(found.task.seeds, t.mask.kept.tolist(), strict=True)
        ]
        return pd.DataFrame(rows, columns=TABLE)

    studies.record(replace(study, also=kept_of), tmp_path)
    back = studies.recorded(study.name, tmp_path)
    assert asked == [0, 0.25, 0.5]
    kept = measure(back.table[back.table.dropout == 0.5], "kept", moment="mask", split="none")
    assert kept.groupby("level").value.first().tolist() == [239, 171]
    assert set(back.table.study) == {study.name} and back.provenance["rows"] == len(back.table)
    assert len(summary(back.table[back.table.dropout == 0])) == 5  # and disturb no other metric


def test_provenance_has_the_variants_and_what_they_share(study, tmp_path):
    """Settings of the first variant that pass for those of all."""
    variants = {
        "wide": Variant({"width": 0.1}),
        "sgd": Variant({"recipe": {"optimiser": SGD(0.1, momentum=0.9)}}, {"one_shot": True}),
        "like": Variant(options={"criterion": "momentum", "seeds": range(2)}),
    }
    changed = replace(study, axis="what", variants=variants, changes={"levels": 1})
    studies.record(changed, tmp_path)
    p = studies.recorded(study.name, tmp_path).provenance
    assert p["axis"] == "what"
    assert p["variants"] == {
        "wide": {"changes": {"width": 0.1}, "options": {}},
        "sgd": {
            "changes": {
                "recipe": {
                    "optimiser": {"rate": 0.1, "momentum": 0.9, "decay": 0.0, "nesterov": False}
                }
            },
            "options": {"one_shot": True},
        },
        "like": {"changes": {}, "options": {"criterion": "momentum", "seeds": [0, 1]}},
    }
    assert p["settings"]["width"] == study.task.width and p["changes"] == {"levels": 1}
    assert p["settings"]["recipe"]["optimiser"]["rate"] == 0.01
    assert p["dataset"]["fingerprint"] == study.task.data.fingerprint
    trainings = 3 * 2 * (1 + 2)
    assert sum(p["paths"].values()) == trainings and p["seeds"] == [0, 1]


def test_a_change_of_data_is_in_the_variant_and_not_in_the_dataset_of_all(study, tmp_path):
    noisy = replace(
        study,
        axis="label noise",
        variants={"0.3": Variant({"label_noise": 0.3}), "0": Variant()},
    )
    found = studies.record(noisy, tmp_path, levels=0)
    back = studies.recorded(study.name, tmp_path)
    assert found["0.3"].task.data.fingerprint != found["0"].task.data.fingerprint
    assert back.provenance["dataset"]["fingerprint"] == found["0"].task.data.fingerprint
    assert back.title.startswith("Little LeNet (0.05 × the width) on Toy,")
    assert back.provenance["settings"]["levels"] == 0


def test_recording_again_trains_nothing_and_writes_the_same(ways, tmp_path, monkeypatch):
    store = Store(tmp_path / "own")
    studies.record(ways, tmp_path / "a", runs=store)
    monkeypatch.setattr(tasks.Task, "train", None)
    studies.record(ways, tmp_path / "b", runs=store)
    for name in ("toy-ways.csv", "toy-ways.curves.csv.xz"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_fewer_levels_are_those_of_every_variant(ways, tmp_path):
    found = studies.record(ways, tmp_path, levels=1)
    assert {name: len(lottery.tickets) for name, lottery in found.items()} == dict.fromkeys(
        ways.variants, 1
    )
    assert studies.recorded("toy-ways", tmp_path).provenance["settings"]["levels"] == 1


def test_a_prediction_is_that_of_all_variants_and_knows_what_is_stored(ways, tmp_path):
    store = Store(tmp_path / "own")
    assert ways.predict(store=store) > 0
    studies.record(ways, tmp_path, levels=1, runs=store)
    assert ways.predict(levels=1, store=store) == 0 < ways.predict(store=store)
    more = replace(ways, variants=ways.variants | {"new": Variant(options={"scope": "global"})})
    assert more.predict(levels=1, store=store) > 0


# What is compared ---------------------------------------------------------------------------------


def test_variants_are_summed_up_apart(written):
    found, back = written
    tickets = back.table[back.table.treatment != "reinit"]
    rows = summary(tickets, by="dropout").set_index(["dropout", "level"])
    assert len(rows) == 3 * 3 and (rows.n == 2).all()
    mine = found["0.5"].table
    values = measure(mine[(mine.treatment == "ticket") & (mine.level == 2)]).value
    assert rows.loc[(0.5, 2), "mean"] == pytest.approx(interval(values).mean, abs=1e-5)
    assert rows.loc[(0.5, 2), "high"] == pytest.approx(interval(values).high, abs=1e-4)
    with pytest.raises(InputError, match="no column 'rate'; it has treatment, level"):
        summary(tickets, by="rate")


def test_variants_are_compared_by_seed_and_level_with_the_dense_networks_too(written):
    found, back = written
    tickets = back.table[back.table.treatment.isin(["dense", "ticket"])]
    rows = paired(tickets, 0.5, 0.25, metric="loss", by="dropout").set_index("level")
    assert rows.index.tolist() == [0, 1, 2]
    for level in range(3):
        values = []
        for name in ("0.5", "0.25"):
            table = found[name].table
            mine = table[(table["level"] == level) & (table.treatment != "reinit")]
            values.append(measure(mine, "loss").set_index("replicate").value)
        expected = interval(values[0] - values[1])
        assert tuple(rows.loc[level, ["mean", "low", "high", "n"]]) == pytest.approx(
            expected, abs=1e-4
        )
    with pytest.raises(InputError, match=r"0.9 and 0.5 cannot be compared.*dropouts: 0.0, 0.25"):
        paired(tickets, 0.9, 0.5, by="dropout")


REFUSED = {
    "summary": lambda table: summary(table),
    "paired": lambda table: paired(table, "ticket", "reinit"),
    "summary by the axis": lambda table: summary(table, by="dropout"),
    "paired by the axis": lambda table: paired(table, 0.5, 0.0, by="dropout"),
    "expected": lambda table: studies.expected(studies.Recorded(table, {}, None), 3),
    "value": lambda table: studies.Recorded(table, {}, None).value("ticket", 1),
    "a figure": lambda table: plots.levels(table),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_differs_in_two_things_is_never_averaged(written, name):
    """A mean over replicates that is one over variants, too: its interval means nothing."""
    message = "several values of '(dropout|treatment)' .*: choose one, or compare them with by="
    with pytest.raises(InputError, match=message):
        REFUSED[name](written[1].table)


def test_a_table_that_differs_in_several_things_names_the_first_every_time(made_up):
    table = made_up({("dense", 0): [98.0, 97.0], ("ticket", 1): [98.5, 97.3]})
    mixed = pd.concat([table.assign(b=b, a=a, c=b) for b in "xy" for a in "uv"])
    with pytest.raises(InputError, match=r"several values of 'b' \(x, y\)"):
        summary(mixed)
    assert len(summary(mixed[(mixed.a == "u") & (mixed.b == "x")])) == 2


def test_the_dense_network_that_every_treatment_begins_as_is_no_mixture(written):
    _, back = written
    one = back.table[back.table.dropout == 0.25]
    assert set(summary(one).treatment) == {"dense", "ticket", "reinit"}
    assert len(paired(one, "ticket", "dense")) == 2
    two = back.table[(back.table.treatment == "dense") & (back.table.dropout != 0.5)]
    assert summary(two, by="dropout").level.tolist() == [0, 0]


def test_a_value_is_quoted_of_one_variant(written):
    found, back = written
    for name, lottery in found.items():
        rows = measure(lottery.table)
        rows = rows[(rows.treatment == "ticket") & (rows.level == 1)]
        quoted = back.value("ticket", 1, dropout=float(name))
        assert tuple(quoted) == pytest.approx(tuple(interval(rows.value)), abs=1e-4)
    at_end = back.value("ticket", 1, "loss", moment="end", dropout=0.5)
    assert at_end.mean != back.value("ticket", 1, "loss", moment="end", dropout=0.0).mean
    with pytest.raises(InputError, match="several values of 'dropout'"):
        back.value("ticket", 1)
    with pytest.raises(InputError, match="no accuracy of test"):
        back.value("ticket", 1, dropout=0.7)


# The studies of the book --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def little(make_dataset, little_text):
    """Small data of each shape, under the name of every dataset."""

    def of(name):
        if name == "python-docs":
            return little_text
        shape = {"cifar10": (3, 32, 32), "shapes-32": (3, 32, 32), "mnist-1d": (1, 1, 40)}
        return replace(drawn[shape.get(name, (1, 28, 28))], name=name)

    shapes = ((1, 28, 28), (1, 1, 40), (3, 32, 32))
    drawn = {s: make_dataset(150, 40, 40, shape=s, classes=10) for s in shapes}
    return of


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """One store for all: what studies share is trained once, as on a recording machine."""
    return Store(tmp_path_factory.mktemp("studies"))


@pytest.fixture
def at_hand(little, monkeypatch):
    """Every dataset is found, and is a small made-up one."""
    monkeypatch.setattr(datasets, "find", lambda name: "here")
    monkeypatch.setattr(datasets, "load", lambda name, **options: little(name))


def of_procedure(procedure):
    return [name for name, study in STUDIES.items() if study.procedure == procedure]


def tiny(whole, changes=None, **others):
    """A study at a width and with replicates for tests."""
    scales = {"smoke": whole.task.scales["smoke"] | (changes or {})}
    options = {**whole.options, "seeds": range(2), **others.pop("options", {})}
    return replace(whole, task=replace(whole.task, scales=scales), options=options, **others)


PRUNED = of_procedure("imp")


@pytest.mark.parametrize("name", PRUNED)
def test_every_study_runs_from_end_to_end(name, at_hand, runs, tmp_path):
    """A mistake that shows after hours of training, as a study is written down."""
    whole = STUDIES[name]
    study = tiny(whole, {"width": 0.05})
    found = studies.record(study, tmp_path, scale="smoke", levels=1, runs=runs)
    back = studies.recorded(name, tmp_path)
    variants = list(study.variants) or [""]
    assert list(found) == variants and list(back.table) == TABLE + [study.axis] * bool(study.axis)
    assert np.isfinite(back.table.value).all() and np.isfinite(back.curves.value).all()
    for variant, (task, options) in study.runs("smoke").items():
        mine = found[variant]
        assert mine.task == replace(task, levels=1)
        treatments = {"dense", *options["treatments"]}
        assert set(mine.table.treatment) == treatments
        assert set(study.splits) <= {"val", *task.report}  # or the table lacks what it is for
    compared = back.table.moment == "between"  # six or seven rows for each training
    trained = back.table[back.table.split.isin(study.splits) & ~compared]
    assert len(trained) == sum(
        2 * (1 + len(options["treatments"])) * FINAL * len(study.splits)
        for _, options in study.runs("smoke").values()
    )
    if study.axis:
        values = back.table[study.axis].unique()  # a number is read back as one
        assert [type(v)(name) for v, name in zip(values, variants, strict=True)] == list(values)
        assert back.provenance["axis"] == study.axis
        assert list(back.provenance["variants"]) == variants
        differs = trained.groupby(study.axis).value.apply(tuple)
        # In one level one-shot is iterative, and in few steps few weights change their sign; a
        # narrow network has layers too small to tell, and may keep the same by two ways.
        alike = name in ("lenet-mnist-ways", "lenet-mnist-criteria", "mlp-mnist1d-moments")
        alike |= study.axis == "scope"
        alike |= not whole.options.get("treatments", True)  # masks alone: nothing more is trained
        assert differs.nunique() == len(variants) or alike
    # What the masks add to the table at every level, and the trainings of all.
    also = len(back.table) - len(trained)
    rows = expected_rows(whole) + also / 2 * seeds_and_levels(whole)
    assert rows <= MOST_ROWS


PARTED = of_procedure("instability")


@pytest.mark.parametrize("name", PARTED)
def test_every_study_of_copies_runs_from_end_to_end(name, at_hand, runs, tmp_path):
    whole = STUDIES[name]
    between = whole.options.get("between")
    fewer = {"between": replace(between, points=5)} if between else {}
    study = tiny(whole, {"width": 0.05}, options=fewer)
    studies.record(study, tmp_path, scale="smoke", levels=1, runs=runs)
    back = studies.recorded(name, tmp_path)
    assert list(back.table) == TABLE + [study.axis] * bool(study.axis)
    assert np.isfinite(back.table.value).all() and np.isfinite(back.curves.value).all()
    between = back.table[back.table.moment == "between"]
    options = next(iter(study.runs("smoke").values()))[1]
    dense = options.get("dense", options["steps"])
    pairs = {f"dense @ {step}" for step in dense}
    assert set(between.treatment) == pairs | {f"ticket @ {step}" for step in options["steps"]}
    assert {"distance", "cosine", "error barrier", "midpoint gain"} <= set(between.metric)
    line = back.curves[back.curves.moment == "line"]
    assert set(line.treatment) == set(between.treatment) and line.step.max() == (4 if fewer else 29)
    # As recorded: all trainings, with copies, and six numbers a pair.
    task, options = next(iter(whole.runs().values()))
    steps, alone = options["steps"], options.get("alone", ("reinit",))
    seeds = task.replicates * max(1, len(whole.variants))
    parted = len(options.get("dense", steps)), len(steps) * task.levels
    trained = 1 + parted[0] + 2 * parted[1] + len(alone) * task.levels
    rows = seeds * (trained * FINAL * len(whole.splits) + 6 * sum(parted))
    assert rows <= MOST_ROWS


MASKED = of_procedure("supermasks")


@pytest.mark.parametrize("name", MASKED)
def test_every_study_of_supermasks_runs_from_end_to_end(name, at_hand, runs, tmp_path):
    whole = STUDIES[name]
    # Some of the networks would be too small to be halved, others too large for a test.
    variants = {
        variant: replace(v, changes={k: c for k, c in v.changes.items() if k != "width"})
        for variant, v in whole.variants.items()
    }
    study = tiny(whole, variants=variants)
    studies.record(study, tmp_path, scale="smoke", runs=runs)
    back = studies.recorded(name, tmp_path)
    assert list(back.table) == [*TABLE, study.axis]
    assert np.isfinite(back.table.value).all() and np.isfinite(back.curves.value).all()
    levels = len(study.options.get("densities", [0]))
    assert back.provenance["settings"]["levels"] == back.table.level.max() == levels
    assert {"supermask", "random mask"} <= set(back.table.treatment)
    assert list(back.provenance["variants"]) == list(study.variants)
    seeds = whole.prepared().replicates
    assert len(back.table) / 2 * seeds <= MOST_ROWS


MOVED = of_procedure("transfer")


@pytest.mark.parametrize("name", MOVED)
def test_every_study_of_moved_tickets_runs_from_end_to_end(name, at_hand, runs, tmp_path):
    whole = STUDIES[name]
    smaller = {"width": 0.05} if "conv" in whole.task.network else {}
    study = tiny(whole, {"levels": 1, **smaller})
    studies.record(study, tmp_path, scale="smoke", runs=runs)
    back = studies.recorded(name, tmp_path)
    assert list(back.table) == [*TABLE, whole.axis]
    assert np.isfinite(back.table.value).all() and np.isfinite(back.curves.value).all()
    treatments = {"dense", "native", *whole.options["treatments"]}
    for _, rows in back.table.groupby(whole.axis):
        assert set(rows.treatment) == treatments
        assert len(rows) == 2 * FINAL * len(treatments)
    rows = 0
    for task, options in whole.runs().values():
        due = task.levels if task.control_levels is None else len(task.control_levels)
        trained = 1 + task.levels + due * len(options["treatments"])
        rows += task.replicates * trained * FINAL * len(whole.splits)
    assert rows <= MOST_ROWS


def expected_rows(study):
    """Rows of the trainings of a study as it is recorded."""
    total = 0
    for task, options in study.runs().values():
        seeds, names = options.get("seeds", task.seeds), options["treatments"]
        plan = [task.arms_at(level, task.levels, names) for level in range(1, task.levels + 1)]
        trainings = len(seeds) * (1 + sum(map(len, plan)))
        total += trainings * FINAL * len(study.splits)
    return total


def seeds_and_levels(study):
    task, options = next(iter(study.runs().values()))
    return len(options.get("seeds", task.seeds)) * task.levels


def test_a_study_of_one_variant_more_differs_in_that_alone():
    """Variants differ in what the axis is about, and in nothing by accident."""
    for study in STUDIES.values():
        tasks_of = [task for task, _ in study.runs().values()]
        base = study.prepared()
        for (name, variant), task in zip(study.variants.items(), tasks_of, strict=False):
            changed = {f for f in task.__dataclass_fields__ if getattr(task, f) != getattr(base, f)}
            assert changed <= set(variant.changes), name
        assert len({str(run) for run in study.runs().values()}) == len(study.runs())


def test_rates_of_a_recipe_are_changed_within_it(study):
    """A recipe that a variant replaces instead of changing it forgets its length."""
    fast = replace(study, variants={"fast": Variant({"recipe": {"optimiser": Adam(0.1)}})})
    task, _ = fast.runs()["fast"]
    assert task.recipe == replace(study.task.recipe, optimiser=Adam(0.1))
