"""Iterative pruning: counts, rewinding, controls, and what is never computed twice."""

import warnings
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from lth_utils import models, pruning, tasks
from lth_utils.errors import InputError
from lth_utils.lottery import TABLE, _imp, imp, predict
from lth_utils.masks import Mask
from lth_utils.recipes import SGD, Adam, Augment, Schedule
from lth_utils.store import Store


@pytest.fixture(autouse=True)
def no_damage():
    """Reading what was just written must never warn."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="A stored run was damaged")
        yield


@pytest.fixture
def trainings(monkeypatch):
    """Every training that is really done, as (treatment-blind) seeds, in order."""
    done = []
    train = tasks.Task.train

    def counted(self, start, mask, seeds, *args, **options):
        done.extend(seeds)
        return train(self, start, mask, seeds, *args, **options)

    monkeypatch.setattr(tasks.Task, "train", counted)
    return done


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[n], b[n]) for n in a)


def nearly_equal(one, other):
    """Equal but for the rounding of products over populations of another size."""
    which = ["treatment", "level", "density", "replicate", "split"]
    values = [
        table[(table.moment == "end") & (table.metric == "loss")]
        .set_index(which)
        .value.sort_index()
        for table in (one, other)
    ]
    assert len(one) == len(other)
    pd.testing.assert_series_equal(*values, rtol=1e-3)


def layer_counts(fractions, levels):
    """Weights kept by each layer at each level, by the rule alone."""
    counts = {"fc1.weight": 15 * 16, "fc2.weight": 5 * 15, "output.weight": 4 * 5}
    yield counts
    for _ in range(levels):
        counts = {n: c - round(fractions[n] * c) for n, c in counts.items()}
        yield counts


# Algorithm 1 --------------------------------------------------------------------------------------


def test_the_algorithm_is_the_loop_that_the_book_shows(toy_task):
    found = imp(toy_task, treatments=("ticket",))
    seeds = toy_task.seeds
    start, mask = toy_task.init(seeds), toy_task.dense_mask(seeds)
    for level in range(toy_task.levels + 1):
        run = toy_task.train(start, mask, seeds)
        rows = found.table.query("level == @level and moment == 'end' and split == 'test'")
        rows = rows[rows.metric == "accuracy"]
        assert rows.value.tolist() == pytest.approx(run.accuracy().tolist(), abs=1e-9)
        if level < toy_task.levels:
            mask = pruning.magnitude(run.weights, mask, toy_task.fractions, scope="layer")
            assert found.tickets[level].mask == mask


def test_mistake_5_a_density_that_is_not_the_one_trained(toy_task):
    found = imp(toy_task, levels=4)
    total = 335
    for level, counts in enumerate(layer_counts(toy_task.fractions, 4)):
        rows = found.table[found.table.level == level]
        assert set(rows.density) == {sum(counts.values()) / total}
        if level:
            by_layer = found.tickets[level - 1].mask.counts()
            for layer, count in counts.items():
                assert (by_layer[by_layer.layer == layer].kept == count).all()
    assert [ticket.level for ticket in found.tickets] == [1, 2, 3, 4]


def test_a_global_scope_keeps_the_total_that_layers_would(toy_task):
    found = imp(toy_task, levels=1, scope="global", treatments=("ticket",))
    [_, counts] = layer_counts(toy_task.fractions, 1)
    assert found.tickets[0].mask.kept.tolist() == [sum(counts.values())] * 2
    by_layer = found.tickets[0].mask.counts()
    assert by_layer.kept.tolist() != [c for c in counts.values() for _ in range(2)]


def test_each_mask_lies_within_the_one_before(toy_task):
    masks = [ticket.mask for ticket in imp(toy_task, levels=4).tickets]
    for before, after in pairwise(masks):
        assert after <= before and after != before


def test_mistake_3_tickets_that_start_from_trained_weights(toy_task):
    dense = toy_task.init(toy_task.seeds)
    for ticket in imp(toy_task, levels=3).tickets:
        assert equal(ticket.start, dense)
        assert ticket.rewind == "0it"


def test_a_rewound_ticket_starts_from_the_dense_network_at_that_step(toy_task):
    run = toy_task.train(toy_task.init((0, 1)), toy_task.dense_mask((0, 1)), (0, 1), keep=("50%",))
    found = imp(toy_task, rewind="50%", treatments=("ticket",))
    for ticket in found.tickets:
        assert equal(ticket.start, run.at["50%"])
    level1 = found.tickets[0]
    again = toy_task.train(level1.start, level1.mask, (0, 1), begin="50%")
    rows = found.table.query("level == 1 and moment == 'end' and metric == 'loss'")
    expected = again.history.query("moment == 'end' and metric == 'loss'")
    for split in ("val", "test"):
        assert rows[rows.split == split].value.tolist() == pytest.approx(
            expected[expected.split == split].value.tolist()
        )
    assert found.curves[found.curves.level == 1].step.min() == 10


def test_one_shot_pruning_is_one_level(toy_task):
    found = imp(toy_task, levels=1, fractions=0.9, treatments=("ticket",))
    assert found.tickets[0].mask.counts().groupby("layer").kept.first().to_dict() == {
        "fc1.weight": 24,
        "fc2.weight": 75 - 68,  # 67.5 rounds to even
        "output.weight": 2,
    }


def test_no_levels_train_the_dense_network_alone(toy_task):
    found = imp(toy_task, levels=0)
    assert found.tickets == []
    assert set(found.table.treatment) == {"dense"} and set(found.table.level) == {0}


def test_controls_decide_nothing(toy_task, tmp_path):
    alone = imp(toy_task, treatments=("ticket",), store=Store(tmp_path / "a"))
    beside = imp(
        toy_task, treatments=("ticket", "reinit", "random mask"), store=Store(tmp_path / "b")
    )
    for a, b in zip(alone.tickets, beside.tickets, strict=True):
        assert a.mask == b.mask
    first = imp(toy_task, treatments=("reinit", "ticket"), store=Store(tmp_path / "c"))
    assert first.tickets[0].mask == alone.tickets[0].mask  # pruned from the same dense network
    assert first.tickets[1].mask != alone.tickets[1].mask  # pruned from the trained reinit


def test_controls_are_trained_at_their_levels_and_the_ticket_at_every_one(toy_task):
    table = imp(replace(toy_task, control_levels=(2,)), levels=4).table
    assert {name: sorted(set(rows["level"])) for name, rows in table.groupby("treatment")} == {
        "dense": [0],
        "ticket": [1, 2, 3, 4],
        "reinit": [2, 4],  # and always at the last
        "random mask": [2, 4],
    }


def test_each_treatment_is_trained_from_its_own_weights_and_mask(toy_task):
    names = ("ticket", "reinit", "random mask", "fine-tune", "rate rewinding")
    how = replace(toy_task.recipe, optimiser=SGD(0.3), schedule=Schedule(("50%",)))
    found = imp(replace(toy_task, recipe=how), levels=1, treatments=names, rewind="25%")
    losses = found.table.query("level == 1 and moment == 'end' and metric == 'loss'")
    for replicate in (0, 1):
        values = losses[(losses.replicate == replicate) & (losses.split == "val")].value
        assert len(set(values)) == len(names)


def test_every_criterion_runs_by_name(toy_task):
    # A rate at which signs change, or some criteria would say the same.
    task, masks = replace(toy_task, recipe=replace(toy_task.recipe, optimiser=Adam(0.1))), {}
    for name in pruning.CRITERIA:
        # Globally, for rescaled magnitudes differ between layers alone.
        found = imp(task, levels=1, scope="global", criterion=name, treatments=("ticket",))
        masks[name] = found.tickets[0].mask
    assert len({str([m.tolist() for m in mask.values()]) for mask in masks.values()}) == len(masks)
    assert not masks["magnitude"] <= masks["smallest"]


def test_augmentation_and_a_schedule_pass_through(toy_task):
    how = replace(toy_task.recipe, augment=Augment(True, 1), schedule=Schedule(("50%",)))
    assert len(imp(replace(toy_task, recipe=how), levels=1).table)


# The tables ---------------------------------------------------------------------------------------


def test_the_table_is_tidy_and_whole(toy_task):
    found = imp(toy_task)
    assert list(found.table) == list(found.curves) == TABLE
    assert set(found.table.moment) == {"early stop", "end"}
    assert set(found.curves.moment) == {"during"}
    which = ["treatment", "level", "replicate", "moment", "split", "metric"]
    assert not found.table.duplicated(which).any()
    trainings = 2 * (1 + 2 * 3)
    assert len(found.table) == trainings * 2 * 2 * 2  # moments, splits, metrics
    assert len(found.curves) == trainings * 5 * 2  # steps 0, 5, 10, 15, 20
    assert not found.table.isna().any().any()


# The store ----------------------------------------------------------------------------------------


def test_the_same_call_again_trains_nothing_and_gives_an_equal_table(toy_task, trainings):
    first = imp(toy_task)
    assert len(trainings) == 2 * (1 + 2 * 3)
    trainings.clear()
    second = imp(toy_task)
    assert trainings == []
    pd.testing.assert_frame_equal(first.table, second.table, check_exact=True)
    pd.testing.assert_frame_equal(first.curves, second.curves, check_exact=True)
    for a, b in zip(first.tickets, second.tickets, strict=True):
        assert a.mask == b.mask and equal(a.start, b.start)
    assert second.seconds == pytest.approx(first.seconds, abs=0.01)


def test_three_replicates_become_five_by_training_two(toy_task, trainings, tmp_path):
    imp(toy_task, seeds=range(3))
    trainings.clear()
    grown = imp(toy_task, seeds=range(5))
    assert sorted(trainings) == [3] * 7 + [4] * 7  # dense, and three treatments at two levels
    whole = imp(toy_task, seeds=range(5), store=Store(tmp_path / "other"))
    nearly_equal(grown.table, whole.table)
    assert all(a.mask == b.mask for a, b in zip(grown.tickets, whole.tickets, strict=True))


def test_a_treatment_or_a_level_more_trains_that_alone(toy_task, trainings):
    imp(toy_task, treatments=("ticket",))
    trainings.clear()
    imp(toy_task, treatments=("ticket", "reinit"))
    assert len(trainings) == 2 * 2
    trainings.clear()
    imp(toy_task, treatments=("ticket", "reinit"), levels=3)
    assert len(trainings) == 2 * 2


def test_a_replicate_alone_is_the_same_in_a_larger_study(toy_task, tmp_path):
    alone = imp(toy_task, seeds=[1], store=Store(tmp_path / "a")).table
    among = imp(toy_task, seeds=[0, 1, 2], store=Store(tmp_path / "b")).table
    nearly_equal(alone, among[among.replicate == 1])


@pytest.mark.parametrize(
    ("changes", "options"),
    [
        ({}, {"fractions": 0.5}),
        ({}, {"scope": "global"}),
        ({}, {"criterion": "smallest"}),
        ({}, {"rewind": "50%"}),
        ({"width": 0.06}, {}),
        ({"every": "4it"}, {}),
        ({"batch": 11}, {}),
    ],
    ids=lambda v: "-".join(v),
)
def test_other_settings_find_nothing_that_was_stored_for_these(
    toy_task, trainings, changes, options
):
    imp(toy_task, levels=1, treatments=("ticket",))
    trainings.clear()
    recipe = {k: v for k, v in changes.items() if k != "width"}
    task = replace(toy_task, recipe=replace(toy_task.recipe, **recipe))
    task = replace(task, width=changes.get("width", task.width))
    imp(task, levels=1, treatments=("ticket",), **options)
    assert len(trainings) >= 2  # at the least the ticket of each seed is trained anew


def test_a_dense_network_is_shared_by_every_way_to_prune_it(toy_task, trainings):
    imp(toy_task, levels=1, treatments=("ticket",))
    trainings.clear()
    imp(toy_task, levels=1, treatments=("ticket",), criterion="smallest")
    assert len(trainings) == 2


def test_a_damaged_unit_is_trained_again_and_nothing_else(toy_task, trainings, tmp_path):
    runs = Store(tmp_path / "runs")
    first = imp(toy_task, store=runs)
    [histories, weights] = [
        sorted(runs.root.rglob(name)) for name in ("history.csv", "end.safetensors")
    ]
    for path in (histories[0], weights[-1]):
        path.write_bytes(path.read_bytes()[:-7])
    damaged = {histories[0].parent, weights[-1].parent}
    trainings.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        second = imp(toy_task, store=runs)
    assert len(trainings) == len(damaged)
    nearly_equal(first.table, second.table)


def test_an_interrupted_study_goes_on_where_it_stopped(toy_task, trainings, monkeypatch):
    whole = tasks.Task.train
    calls = []

    def interrupted(self, *args, **options):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return whole(self, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(tasks.Task, "train", interrupted)
        with pytest.raises(KeyboardInterrupt):
            imp(toy_task, treatments=("ticket",), seeds=range(2))
    done = len(trainings)
    assert done == 4  # the dense networks and level 1
    imp(toy_task, treatments=("ticket",), seeds=range(2))
    assert len(trainings) == done + 2


def test_seeds_from_an_array_are_the_same_seeds(toy_task, trainings):
    imp(toy_task, levels=0, seeds=[0, 1])
    trainings.clear()
    imp(toy_task, levels=0, seeds=np.arange(2))
    assert trainings == []


# Saving -------------------------------------------------------------------------------------------


def test_what_is_saved_can_be_read_back(toy_task, tmp_path):
    found = imp(toy_task)
    paths = found.save(tmp_path / "deep" / "out")
    assert [p.name for p in paths] == ["table.csv", "curves.csv", "masks.safetensors"]
    pd.testing.assert_frame_equal(pd.read_csv(paths[0]), found.table)
    pd.testing.assert_frame_equal(pd.read_csv(paths[1]), found.curves)
    packed = load_file(paths[2])
    shapes = models.dense_mask(toy_task.model).shapes
    for ticket in found.tickets:
        names = {n: f"level{ticket.level:02}/{n}" for n in shapes}
        assert Mask.unpack({n: packed[k] for n, k in names.items()}, shapes) == ticket.mask


def test_masks_of_an_earlier_run_are_not_passed_off_as_this_one(toy_task, tmp_path):
    imp(toy_task, levels=1).save(tmp_path)
    paths = imp(toy_task, levels=0).save(tmp_path)
    assert [p.name for p in paths] == ["table.csv", "curves.csv"]
    assert not (tmp_path / "masks.safetensors").exists()


@pytest.mark.parametrize("in_the_way", ["parent", "table.csv", "masks.safetensors"])
def test_a_folder_that_cannot_be_written_is_one_clear_sentence(toy_task, tmp_path, in_the_way):
    found = imp(toy_task, levels=1, treatments=("ticket",))
    folder = tmp_path / "out"
    if in_the_way == "parent":
        folder.write_text("a file")
        folder = folder / "deeper"
    else:
        (folder / in_the_way).mkdir(parents=True)
    with pytest.raises(InputError, match="cannot be written to .*choose another folder"):
        found.save(folder)


# Bad input ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"levels": -1}, "levels is 0 or more; got -1"),
        ({"seeds": []}, "at least one"),
        ({"seeds": [1, 2, 1]}, r"different seeds.*\[1, 2, 1\]"),
        ({"treatments": ()}, "at least one treatment"),
        ({"treatments": ("tickets",)}, "Unknown treatment 'tickets'. Known: ticket"),
        ({"criterion": "size"}, "Unknown criterion 'size'"),
        ({"rewind": "200%"}, "beyond the recipe"),
        ({"rewind": "later"}, "is not a step"),
    ],
    ids=lambda v: None if isinstance(v, str) else "-".join(v),
)
def test_bad_input_is_said_before_anything_is_trained(toy_task, trainings, options, message):
    with pytest.raises(InputError, match=message):
        imp(toy_task, **options)
    if "rewind" not in options:
        assert trainings == []


@pytest.mark.parametrize(
    "options", [{"fractions": 1.5}, {"fractions": {"fc1.weight": 0.2}}, {"scope": "everywhere"}],
    ids=lambda v: "-".join(v),
)  # fmt: skip
def test_an_impossible_way_to_prune_is_said_before_hours_of_training(toy_task, trainings, options):
    with pytest.raises(InputError):
        imp(toy_task, **options)
    assert trainings == []


def test_the_bar_is_off_where_the_environment_says(monkeypatch):
    assert _imp.bar(None)["disable"]
    monkeypatch.setenv("LTH_PROGRESS", "1")
    assert not _imp.bar(None)["disable"]
    assert _imp.bar(False)["disable"]


def test_weights_trained_under_another_mask_are_never_pruned_by_the_found_one(toy_task, trainings):
    with pytest.raises(InputError, match="'random mask' trains under another mask"):
        imp(toy_task, treatments=("random mask", "ticket"))
    assert trainings == [0, 1]  # the dense network of either seed, and no more


def test_a_prediction_grows_with_what_is_asked_for_and_not_with_what_is_stored(toy_task, tmp_path):
    long = replace(toy_task, recipe=replace(toy_task.recipe, duration="2000it"))
    store = Store(tmp_path)
    little = predict(long, levels=0, seeds=[0], store=store)
    much = predict(long, levels=4, seeds=range(25), store=store)
    assert 0 < little < much
    imp(toy_task, store=store)
    assert predict(toy_task, store=store) == 0
    assert predict(toy_task, levels=3, store=store) > 0
