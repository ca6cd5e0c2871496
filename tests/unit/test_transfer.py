"""Transfer: tickets of a source on a task, beside controls that each change one thing."""

from dataclasses import replace

import pytest
import torch

from lth_utils import controls, lottery, models
from lth_utils.controls import uniform_mask
from lth_utils.errors import InputError
from lth_utils.lottery import imp, predict_transfer, transfer
from lth_utils.masks import Mask
from lth_utils.pruning import magnitude
from lth_utils.store import Store
from lth_utils.studies import measure
from lth_utils.tasks import Task

HALVES = {"classes": (0, 1)}
ARMS = ("ticket", "reinit", "random mask", "uniform mask", "random ticket", "random mask, moved")


@pytest.fixture
def task(toy_task):
    return toy_task.changed(classes=(2, 3), prune={"linear": 0.3, "output": 0.0})


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


def value(found, treatment, level, seed):
    rows = measure(found.table, "loss", moment="end")
    rows = rows[(rows.treatment == treatment) & (rows.level == level) & (rows.replicate == seed)]
    return rows.value.item()


def test_what_arrives_is_the_sources_ticket_with_a_new_head(task, store):
    """Mistake 3: a ticket that holds trained weights; and one that has been moved to nowhere."""
    found = transfer(task, HALVES, treatments=ARMS, store=store)
    source = imp(task.changed(**HALVES), treatments=("ticket",), store=store)
    for own, arrived in zip(source.tickets, found.tickets, strict=True):
        for name, kept in own.mask.items():
            if name != "output.weight":
                assert torch.equal(arrived.mask[name], kept)
                assert torch.equal(arrived.start[name], own.start[name])
        assert arrived.mask["output.weight"].all()
        assert not torch.equal(arrived.start["output.weight"], own.start["output.weight"])
    # And it is trained as anybody would train it.
    last = found.tickets[-1]
    run = task.train(last.start, last.mask, task.seeds)
    losses = run.history[(run.history.moment == "end") & (run.history.split == "test")]
    losses = losses[losses.metric == "loss"].value.tolist()
    assert [value(found, "ticket", 2, seed) for seed in task.seeds] == pytest.approx(losses)


def test_the_table_has_the_tasks_own_ticket_under_a_name_of_its_own(task, store):
    found = transfer(task, HALVES, treatments=ARMS, store=store)
    own = imp(task, treatments=("ticket",), store=store)
    assert set(found.table.treatment) == {"dense", "native", *ARMS}
    assert value(found, "native", 2, 0) == value(own, "ticket", 2, 0)
    assert value(found, "native", 2, 0) != value(found, "ticket", 2, 0)
    # Between networks of one shape it is all one whether a mask is drawn before the move or after.
    assert value(found, "random mask, moved", 2, 0) == value(found, "random mask", 2, 0)
    assert len({value(found, name, 2, 0) for name in (*ARMS, "native")}) == len(ARMS)
    without = transfer(task, HALVES, native=False, store=store)
    assert "native" not in set(without.table.treatment)
    assert "dense" in set(without.table.treatment)


def test_both_directions_share_what_either_has_found(task, store):
    there = transfer(task, HALVES, store=store)
    back = transfer(task.changed(**HALVES), {"classes": (2, 3)}, store=store)
    trained = len(list(store.units()))
    assert trained == sum(there.paths.values()) + sum(back.paths.values()) - 2 * 2 * (1 + 2)
    again = transfer(task, HALVES, store=store)
    assert len(list(store.units())) == trained and again.table.equals(there.table)


def test_a_unit_is_known_by_its_source_its_head_and_how_it_was_grown(task, store):
    """What was found of one source is never taken for another's."""

    def keys():
        return {unit.key for unit in store.units()}

    known = set()
    wide = task.changed(width=0.1)
    for target, source, options in (
        (task, HALVES, {}),
        (task, HALVES, {"head": "kept"}),
        (task, {"label_noise": 0.5}, {}),
        (task, HALVES, {"scope": "global"}),
        (wide, {"width": 0.05}, {}),
        (wide, {"width": 0.05}, {"grown": "core"}),
        (task, HALVES, {"rewind": "5it"}),
    ):
        before = keys()
        found = transfer(target, source, treatments=("ticket",), levels=1, store=store, **options)
        new = keys() - before
        assert len(new) >= 2 and len(found.table[found.table.treatment == "ticket"])
        assert not new & known
        known |= new


def test_levels_without_controls_move_nothing(task, store):
    late = task.changed(control_levels=(2,))
    found = transfer(late, HALVES, store=store)
    assert set(found.table[found.table.treatment == "ticket"].level) == {2}
    assert set(found.table[found.table.treatment == "native"].level) == {1, 2}
    assert [ticket.level for ticket in found.tickets] == [2]


def test_what_is_stored_takes_no_time(task, store):
    assert predict_transfer(task, HALVES, store=store) > 0
    transfer(task, HALVES, store=store)
    assert predict_transfer(task, HALVES, store=store) == 0
    assert predict_transfer(task, HALVES, treatments=("uniform mask",), store=store) > 0


def test_across_recipes_the_data_stay_and_the_head_may(task, store):
    slow = {"recipe": {"duration": "12it"}}
    found = transfer(task, slow, head="kept", store=store)
    source = imp(task.changed(**slow), treatments=("ticket",), store=store)
    assert found.tickets[1].mask == source.tickets[1].mask
    assert value(found, "ticket", 2, 0) != value(found, "native", 2, 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"treatments": ()}, "Name at least one treatment"),
        ({"treatments": ("fine-tune",)}, "needs more than a ticket"),
        ({"treatments": ("ticket, frozen if grown",)}, "needs more than a ticket"),
        ({"treatments": ("ticket @ 5it",)}, "no step of its own"),
        ({"treatments": ("random mask, moved, random signs",)}, "'moved' comes last"),
        ({"treatments": ("ticket, frozen, moved",)}, "Only a mask and a start can be moved"),
        ({"treatments": ("tocket",)}, "Unknown treatment 'tocket'"),
        ({"head": "none"}, "Unknown head"),
    ],
    ids=str,
)
def test_what_cannot_be_moved_is_refused(task, store, options, message):
    with pytest.raises(InputError, match=message):
        transfer(task, HALVES, store=store, **options)


def test_images_of_another_shape_are_refused(task, store):
    with pytest.raises(InputError, match=r"shape \(1, 2, 2\) cannot be moved to"):
        transfer(task, {"pool": 2}, store=store)


def test_moved_means_nothing_where_nothing_is_moved(task, store):
    with pytest.raises(InputError, match="Only lth.lottery.transfer moves"):
        imp(task, treatments=("ticket", "random mask, moved"), store=store)


# Classes, and the controls -----------------------------------------------------------------------


def test_only_some_classes_are_left_numbered_anew(toy):
    some = toy.only((3, 1))
    assert some.classes == ("d", "b") and some.num_classes == 2
    for name in ("train", "val", "test"):
        part, whole = getattr(some, name), getattr(toy, name)
        own = torch.isin(whole.labels, torch.tensor([1, 3]))
        assert torch.equal(part.images, whole.images[own])
        assert torch.equal(part.labels == 0, whole.labels[own] == 3)
    assert some.fingerprint != toy.fingerprint != toy.only((1, 3)).fingerprint != some.fingerprint
    assert some.title == "Toy, only d, b" and some.note == ""
    for wrong in ((0,), (0, 0), (0, 4), (-1, 2)):
        with pytest.raises(InputError, match="at least two different classes of Toy, from 0 to 3"):
            toy.only(wrong)


def test_a_task_of_all_classes_is_as_it_was(toy_task):
    assert Task.__dataclass_fields__["classes"].default is None
    assert toy_task.data.fingerprint == "0" * 64
    half = replace(toy_task, classes=(0, 1))
    assert half.data.num_classes == 2 and half.model.output.out_features == 2


def test_a_uniform_mask_keeps_as_many_of_the_network_and_not_of_each_layer(net):
    start = models.initialise(net, range(20))
    mask = magnitude(start, models.dense_mask(net, 20), {"fc1.weight": 0.9, "fc2.weight": 0.2,
                                                         "output.weight": 0.0})  # fmt: skip
    drawn = uniform_mask(mask, range(20), 1)
    assert drawn.kept.equal(mask.kept) and drawn["output.weight"].all()
    shares = drawn.counts().groupby("layer").density.mean()
    cut = sum(mask[name][0].sum() for name in ("fc1.weight", "fc2.weight")).item()
    expected = cut / sum(mask[name][0].numel() for name in ("fc1.weight", "fc2.weight"))
    assert shares["fc1.weight"] == pytest.approx(expected, abs=0.03)
    assert shares["fc2.weight"] == pytest.approx(expected, abs=0.06)
    whole = models.dense_mask(net, 2)
    assert uniform_mask(whole, [0, 1]) == whole


def test_the_largest_start_is_as_many_of_each_layer_and_no_smaller_one(task, store):
    """Signed weights for their size, or one weight too many."""
    ticket = imp(task, treatments=("ticket",), levels=1, store=store).tickets[0]
    mask = controls.largest(ticket.start, ticket.mask)
    assert mask.counts().kept.tolist() == ticket.mask.counts().kept.tolist()
    for name, kept in mask.items():
        for w, k in zip(ticket.start[name].abs(), kept, strict=True):
            assert k.all() or w[k].min() >= w[~k].max()
    found = transfer(task, HALVES, treatments=("ticket", "large init"), levels=1, store=store)
    assert value(found, "large init", 1, 0) != value(found, "ticket", 1, 0)


def test_a_random_ticket_has_nothing_of_the_ticket(task, store):
    now = imp(task, treatments=("ticket",), levels=1, store=store).tickets[0]
    situation = controls.Situation(
        mask=now.mask, start=now.start, rewound=now.start, rewind="0it", trained=now.start,
        recipe=task.recipe, seeds=task.seeds, level=1, draw=task.init,
    )  # fmt: skip
    arm = controls.by_name("random ticket")(situation)
    assert arm.mask.counts().kept.tolist() == now.mask.counts().kept.tolist()
    assert arm.mask != now.mask
    assert not torch.equal(arm.start["fc1.weight"], now.start["fc1.weight"])
    assert arm.mask == controls.by_name("random mask")(situation).mask  # one draw, two starts
    assert isinstance(arm.mask, Mask) and lottery.NATIVE == "native"
