"""Weights are looked at before the end of training, or pruned networks are compared with the dense
one: which weights these are, and for how long everything is trained."""

from dataclasses import replace

import pytest
import torch

from lth_utils import controls, lottery, pruning, stability
from lth_utils.errors import InputError
from lth_utils.recipes import SGD, Schedule
from lth_utils.store import Store
from lth_utils.training import train


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


@pytest.mark.parametrize("prune_at", ["0%", "50%", "100%"])
def test_one_shot_looks_at_the_dense_network_at_the_step(toy_task, store, prune_at):
    """The trained weights, whatever was asked for."""
    seeds = toy_task.seeds
    found = lottery.imp(toy_task, prune_at=prune_at, one_shot=True, store=store)
    start, mask = toy_task.init(seeds), toy_task.dense_mask(seeds)
    at = toy_task.train(start, mask, seeds, keep=(prune_at,)).at[prune_at]
    assert found.tickets[0].mask == pruning.magnitude(at, mask, toy_task.fractions)
    if prune_at == "0%":
        assert found.tickets[0].mask == pruning.magnitude(start, mask, toy_task.fractions)
    # The ticket starts where it always did.
    assert all(torch.equal(found.tickets[0].start[n], w) for n, w in start.items())


def test_each_level_looks_at_its_own_network_at_the_step(toy_task, store):
    """The dense network's, at every level."""
    seeds, half = toy_task.seeds, "50%"
    found = lottery.imp(toy_task, prune_at=half, store=store)
    start, mask = toy_task.init(seeds), toy_task.dense_mask(seeds)
    for ticket in found.tickets:
        at = toy_task.train(start, mask, seeds, keep=(half,)).at[half]
        mask = pruning.magnitude(at, mask, toy_task.fractions)
        assert ticket.mask == mask
    again = lottery.imp(toy_task, prune_at=half, store=store)
    assert again.table.equals(found.table)


def test_the_end_by_any_name_is_the_end(toy_task, store):
    """Two keys for one experiment."""
    lottery.imp(toy_task, store=store)
    before = len(list(store.units()))
    assert lottery.predict(toy_task, prune_at="20it", store=store) == 0
    lottery.imp(toy_task, prune_at="20it", store=store)
    assert len(list(store.units())) == before


def test_other_steps_are_other_units(toy_task, store):
    """A mask found at one step taken for that of another."""
    masks = [
        lottery.imp(toy_task, prune_at=at, store=store).tickets[0].mask for at in ("25%", "75%")
    ]
    assert masks[0] != masks[1]


@pytest.mark.parametrize(
    "options",
    [
        {"rewind": "50%", "prune_at": "25%"},
        {"treatments": ("ticket @ 50%",), "prune_at": "25%"},
    ],
)
def test_a_network_that_has_not_begun_cannot_be_looked_at(toy_task, store, options):
    with pytest.raises(InputError, match="has not begun to train; prune later"):
        lottery.imp(toy_task, store=store, **options)
    # The dense network has, and one-shot it alone is looked at.
    lottery.imp(toy_task, store=store, one_shot=True, **options)


def test_nothing_is_trained_twice_and_all_is_foretold(toy_task, store):
    """A key that is foretold otherwise than it is made."""
    options = {"prune_at": "50%", "treatments": ("ticket", "reinit")}
    assert lottery.predict(toy_task, store=store, **options) > 0
    lottery.imp(toy_task, store=store, **options)
    assert lottery.predict(toy_task, store=store, **options) == 0


# Ways to retrain ----------------------------------------------------------------------------------


@pytest.fixture
def dropping(toy_task):
    """The rate drops to a tenth half-way."""
    recipe = replace(toy_task.recipe, optimiser=SGD(0.1), schedule=Schedule(milestones=("50%",)))
    return replace(toy_task, recipe=recipe)


WAYS = ("ticket @ 25%", "rate rewinding @ 25%", "fine-tune @ 25%")


def test_all_ways_to_retrain_have_equal_budgets(dropping, store):
    """One that trains for the whole recipe beside others that repeat three quarters of it."""
    found = lottery.imp(dropping, treatments=WAYS, one_shot=True, levels=1, store=store)
    during = found.curves[found.curves.level == 1]
    for name in WAYS:
        steps = during[during.treatment == name].step
        assert (steps.min(), steps.max()) == (5, 20)


def test_fine_tuning_is_the_last_rate_from_the_trained_weights(dropping, store):
    """The first rate, or the rewound weights."""
    seeds = dropping.seeds
    between = stability.ToDense(points=3)
    found = lottery.imp(dropping, treatments=WAYS, one_shot=True, levels=1, store=store,
                        between=stability.ToDense(points=3))  # fmt: skip
    start, mask = dropping.init(seeds), dropping.dense_mask(seeds)
    dense = dropping.train(start, mask, seeds, keep=("25%",))
    sparse = pruning.magnitude(dense.weights, mask, dropping.fractions)
    last = replace(dropping.recipe, optimiser=SGD(0.01), schedule=Schedule())
    by_hand = {
        "ticket @ 25%": (dense.at["25%"], dropping.recipe),
        "rate rewinding @ 25%": (dense.weights, dropping.recipe),
        "fine-tune @ 25%": (dense.weights, last),
    }
    table = found.table
    for name, (weights, recipe) in by_hand.items():
        run = train(dropping.model, weights, sparse, dropping.data, recipe, seeds, "25%")
        rows = table[(table.treatment == name) & (table.moment == "end")]
        rows = rows[(rows.split == "test") & (rows.metric == "loss")]
        theirs = run.history[(run.history.moment == "end") & (run.history.split == "test")]
        theirs = theirs[theirs.metric == "loss"]
        assert rows.value.tolist() == theirs.value.tolist()
        # And what lies between it and the dense network.
        for i, seed in enumerate(seeds):
            one = {n: w[i : i + 1] for n, w in dense.weights.items()}
            other = {n: w[i : i + 1] for n, w in run.weights.items()}
            expected = between(dropping, one, other, seed)
            expected = expected[expected.moment == "between"].set_index("metric").value
            mine = table[(table.treatment == name) & (table.moment == "between")]
            mine = mine[mine.replicate == seed].set_index("metric").value
            assert mine.to_dict() == expected.to_dict()


def test_every_sparse_network_is_compared_with_the_dense_one(toy_task, store):
    """Copies only, or the dense network with itself."""
    options = {"treatments": ("ticket", "reinit"), "between": stability.ToDense(points=3)}
    found = lottery.imp(toy_task, store=store, **options)
    rows = found.table[(found.table.moment == "between") & (found.table.metric == "distance")]
    count = rows.groupby(["level", "treatment"]).size()
    assert count.to_dict() == {(level, n): 2 for level in (1, 2) for n in ("ticket", "reinit")}
    assert (rows.value > 0).all()
    lines = found.curves[found.curves.moment == "line"]
    ends = lines[(lines.step == 0) & (lines.metric == "accuracy")]
    dense = found.table[(found.table.level == 0) & (found.table.moment == "end")]
    dense = dense[(dense.split == "test") & (dense.metric == "accuracy")]
    for (_, _), each in ends.groupby(["level", "treatment"]):
        assert each.value.tolist() == pytest.approx(dense.value.tolist(), abs=1e-4)
    assert lottery.predict(toy_task, store=store, **options) == 0


def test_a_copy_is_still_compared_with_its_original(toy_task, store):
    names = ("ticket", "ticket, copy")
    found = lottery.imp(toy_task, treatments=names, between=stability.Between(points=3),
                        store=store)  # fmt: skip
    rows = found.table[found.table.moment == "between"]
    assert set(rows.treatment) == {"ticket"}
    assert controls.original_of("ticket, copy") == "ticket"


# Criteria of one's own ----------------------------------------------------------------------------


def test_other_rounds_are_another_criterion(toy_task, store):
    """Whoever scores in more rounds and runs again is given the results of the old ones."""
    masks = []
    for rounds in (1, 5):

        def stubborn(layer):
            return (layer.weights * layer.kept).abs() - layer.start.abs()

        pruner = pruning.criterion(rounds=rounds)(stubborn)
        lottery.imp(toy_task, criterion=pruner, levels=1, treatments=("ticket",), store=store)
        masks.append(len(list(store.units())))
    pruning.CRITERIA.pop("stubborn")
    assert masks[1] == masks[0] + len(toy_task.seeds)


def test_each_level_may_have_fractions_of_its_own(toy_task, store):
    """The first level's for all, or a level for which there are none."""
    names = list(toy_task.fractions)
    fractions = [dict.fromkeys(names, 0.5), dict.fromkeys(names, 0.0)]
    found = lottery.imp(toy_task, fractions=fractions, treatments=("ticket",), store=store)
    assert found.tickets[0].mask == found.tickets[1].mask
    assert found.tickets[0].mask.density.tolist() == pytest.approx([0.5, 0.5], abs=0.01)
    with pytest.raises(InputError, match="fractions for 2 levels, not for 3; give one number"):
        lottery.imp(toy_task, levels=3, fractions=fractions, store=store)
