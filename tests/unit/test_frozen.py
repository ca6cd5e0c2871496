"""Frozen weights: pruned, at work, and never moved."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from test_paths import (
    OPTIMISERS,
    SEEDS,
    Place,
    close,
    interrupted,
    on,
    random_mask,
    recipe,
    tanh_net,
    weights_of,
)
from torch import nn

from lth_utils import controls, models, pruning
from lth_utils.controls import modifier
from lth_utils.errors import InputError
from lth_utils.lottery import imp, predict
from lth_utils.masks import Mask
from lth_utils.models import forward
from lth_utils.randomness import stream
from lth_utils.store import Store
from lth_utils.training import _sparse, evaluate, train

PATHS = ["plain", "dense"]


@pytest.fixture
def mask(net):
    return random_mask(net, 0.4)


@pytest.fixture
def frozen(net, mask):
    """About half of what is pruned."""
    return random_mask(net, 0.5, seed=1) & ~mask


# Training -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_a_frozen_weight_moved_by_momentum_decay_or_adam(
    path, optimiser, net, mask, frozen, toy, monkeypatch
):
    start = weights_of(net, torch.float32)
    what = (net, start, mask, toy, recipe(optimiser), SEEDS)
    run = on(path, monkeypatch, *what, keep=(0, 13, 50), frozen=frozen)
    for step in (0, 13, 50):
        for name, w in run.at[step].items():
            if name in mask:
                assert torch.equal(w[frozen[name]], start[name][frozen[name]])
                assert not w[~(mask | frozen)[name]].any()
    assert all((run.weights[n] != start[n])[kept].any() for n, kept in mask.items())


@pytest.mark.parametrize("path", PATHS)
def test_a_frozen_weight_that_does_nothing(path, net, mask, frozen, toy, monkeypatch):
    start = weights_of(net, torch.float32)
    run = on(path, monkeypatch, net, start, mask, toy, recipe(iterations=0), SEEDS, frozen=frozen)
    acting = (mask | frozen).apply(start)
    expected = evaluate(net, acting, toy, toy.test)[1]
    assert run.accuracy().tolist() == expected.tolist()
    images = toy.normalise(toy.test.images, torch.float32)
    assert not torch.allclose(forward(net, mask.apply(start), images), forward(net, acting, images))
    # And in training: what is kept learns other values beside it.
    what = (net, start, mask, toy, recipe(), SEEDS)
    with_it, without = (on(path, monkeypatch, *what, frozen=f) for f in (frozen, None))
    for name, kept in mask.items():
        assert (with_it.weights[name] != without.weights[name])[kept].any()


@pytest.mark.parametrize("optimiser", OPTIMISERS)
@pytest.mark.parametrize("make", [lambda: models.LeNet((1, 4, 4), 4, 0.05), tanh_net])
def test_the_dense_path_freezes_as_the_plain_path_does(optimiser, make, toy, monkeypatch):
    net = make()
    mask = random_mask(net, 0.3)
    frozen = random_mask(net, 0.5, seed=1) & ~mask
    frozen["fc2.weight"][:] = False  # a layer that is pruned and freezes nothing
    what = (net, weights_of(net), mask, toy, recipe(optimiser), SEEDS)
    plain, dense = (on(path, monkeypatch, *what, frozen=frozen) for path in PATHS)
    close(dense.weights, plain.weights, rtol=1e-9, atol=1e-14)


def test_autograd_and_a_loop_by_hand_agree(net, mask, frozen, toy):
    """An oracle with no mask in it: the gradients of frozen and pruned weights are set to zero."""
    start = weights_of(net)
    run = train(net, start, mask, toy, recipe("nesterov", 5), SEEDS, frozen=frozen)
    module = models.to_module(net.double(), start, 1, mask | frozen)
    net.float()
    layers = dict(module.named_parameters())
    how = OPTIMISERS["nesterov"]
    optimiser = torch.optim.SGD(layers.values(), how.rate, momentum=how.momentum, nesterov=True)
    order = np.concatenate([_order(toy, epoch) for epoch in range(2)])
    for step in range(5):
        index = torch.from_numpy(order[10 * step : 10 * step + 10])
        images = toy.normalise(toy.train.images[index], torch.float64)
        optimiser.zero_grad()
        nn.functional.cross_entropy(module(images), toy.train.labels[index]).backward()
        for name, kept in mask.items():
            layers[name].grad[~kept[1]] = 0
        optimiser.step()
    close({n: w[1] for n, w in run.weights.items()}, dict(layers.items()), rtol=1e-9, atol=1e-12)


def _order(toy, epoch):
    return stream(SEEDS[1], "order", epoch).permutation(len(toy.train))


@pytest.mark.parametrize("path", PATHS)
def test_nothing_frozen_changes_no_bit(path, net, mask, toy, monkeypatch):
    nothing = mask & ~mask
    what = (net, weights_of(net, torch.float32), mask, toy, recipe("momentum and decay"), SEEDS)
    none, empty = (on(path, monkeypatch, *what, frozen=f) for f in (None, nothing))
    assert all(torch.equal(none.weights[n], empty.weights[n]) for n in none.weights)


def test_convolutions_freeze_in_the_layout_that_they_are_trained_in(make_dataset):
    net = nn.Sequential()
    for name, layer in (("conv", nn.Conv2d(1, 6, 3)), ("relu", nn.ReLU()),
                        ("flatten", nn.Flatten()), ("output", nn.Linear(24, 4))):  # fmt: skip
        net.add_module(name, layer)
    mask = random_mask(net, 0.4)
    start = weights_of(net, torch.float32)
    data = make_dataset(97, 41, 53)
    run = train(net, start, mask, data, recipe("momentum and decay"), SEEDS, frozen=~mask)
    assert set(run.paths) == {"plain"}
    for name, kept in mask.items():
        assert torch.equal(run.weights[name][~kept], start[name][~kept])


def test_the_captured_step_freezes_as_the_plain_step_does(net, mask, frozen, toy, monkeypatch):
    what = (net, weights_of(net), mask, toy, recipe(), SEEDS)
    plain = on("plain", monkeypatch, *what, frozen=frozen)
    monkeypatch.setenv("LTH_COMPILE", "eager")
    captured = on("captured", monkeypatch, *what, frozen=frozen)
    close(captured.weights, plain.weights, rtol=1e-9, atol=1e-14)


def test_the_sparse_path_which_knows_no_frozen_weight_does_not_take_it(net, toy):
    mask = random_mask(net, 0.1)
    some = ~mask & Mask({n: torch.zeros_like(k) for n, k in mask.items()})
    some["fc1.weight"][1] = ~mask["fc1.weight"][1]  # of the second member alone
    what = (net, weights_of(net), mask, toy, recipe(iterations=1), SEEDS)
    assert train(*what, frozen=some).paths == ("sparse", "dense", "sparse")


@pytest.mark.parametrize("path", PATHS)
def test_a_frozen_member_alone_is_itself_in_a_population(path, net, mask, frozen, toy, monkeypatch):
    start = weights_of(net, torch.float32)
    frozen["fc1.weight"][0] = False
    together = on(path, monkeypatch, net, start, mask, toy, recipe(), SEEDS, frozen=frozen)
    for i, seed in enumerate(SEEDS):
        mine = {n: w[i : i + 1] for n, w in start.items()}
        what = (net, mine, mask.member(i), toy, recipe(), [seed])
        alone = on(path, monkeypatch, *what, frozen=frozen.member(i))
        close(alone.weights, together.member(i).weights, rtol=0)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("optimiser", ["adam", "momentum and decay"])
def test_a_frozen_training_resumed_is_the_straight_one(
    path, optimiser, net, mask, frozen, toy, monkeypatch
):
    what = (net, weights_of(net, torch.float32), mask, toy, recipe(optimiser), SEEDS)
    straight = on(path, monkeypatch, *what, frozen=frozen)
    monkeypatch.setattr(_sparse, "BELOW", 0.0)
    monkeypatch.setenv("LTH_DENSE", "1" if path == "dense" else "0")
    places = [Place() for _ in SEEDS]
    for when in (4, 7):
        interrupted(when, *what, checkpoints=places, frozen=frozen)
    resumed = train(*what, checkpoints=places, frozen=frozen)
    assert all(place.loads for place in places)
    close(resumed.weights, straight.weights, rtol=0)
    assert resumed.history.equals(straight.history)


def test_what_cannot_be_frozen_is_said(net, mask, frozen, toy):
    what = (net, weights_of(net), mask, toy, recipe(), SEEDS)
    with pytest.raises(InputError, match="Only a pruned weight can be frozen"):
        train(*what, frozen=frozen | mask)
    with pytest.raises(InputError, match="2 members where 3"):
        train(*what, frozen=frozen.member(0, 1))
    with pytest.raises(InputError, match="does not fit at fc1"):
        train(*what, frozen=Mask({n: k for n, k in frozen.items() if n != "fc1.weight"}))


# Whole studies ------------------------------------------------------------------------------------

NAMES = (
    "ticket", "ticket, frozen", "ticket, frozen if grown", "ticket, frozen at random",
    "reinit, same signs", "reshuffle, frozen if shrunk", "constant, same signs, untrained",
)  # fmt: skip


def losses(found, treatment):
    rows = found.table.query("treatment == @treatment and moment == 'end' and metric == 'loss'")
    return rows.sort_values(["level", "split", "replicate"]).value.tolist()


@pytest.mark.parametrize("criterion", ["magnitude", "large init large final", "random same sign"])
def test_any_criterion_with_any_treatments_is_one_table(criterion, toy_task):
    found = imp(toy_task, treatments=NAMES, criterion=criterion)
    assert set(found.table.treatment) == {"dense", *NAMES}
    whole = found.table[found.table.level > 0]
    assert set(whole.groupby(["treatment", "level", "replicate"]).size()) == {8}
    assert len({tuple(losses(found, name)) for name in NAMES}) == len(NAMES)


def test_a_frozen_replicate_of_a_study_alone_is_itself_beside_others(toy_task, tmp_path):
    whole = imp(toy_task, treatments=NAMES, store=Store(tmp_path / "a"))
    names = ("ticket", "ticket, frozen if grown")
    alone = imp(toy_task, treatments=names, seeds=[1], store=Store(tmp_path / "b"))
    keys = ["treatment", "level", "moment", "split", "metric"]
    mine = whole.table[(whole.table.replicate == 1) & whole.table.treatment.isin(("dense", *names))]
    one, other = (t.sort_values(keys).reset_index(drop=True) for t in (mine, alone.table))
    assert one.equals(other)


def test_a_frozen_weight_lost_on_the_way_to_a_worker(toy_task, tmp_path):
    here = imp(toy_task, treatments=NAMES, store=Store(tmp_path / "a"))
    with ThreadPoolExecutor(1) as executor:
        there = imp(toy_task, treatments=NAMES, store=Store(tmp_path / "b"), executor=executor)
    assert here.table.equals(there.table)


def test_untrained_is_the_accuracy_of_the_start(toy_task):
    found = imp(toy_task, levels=1, rewind="25%", treatments=("ticket", "ticket, untrained"))
    ticket, task = found.tickets[0], toy_task
    expected = evaluate(task.model, ticket.mask.apply(ticket.start), task.data, task.data.test)[1]
    rows = found.table.query("treatment == 'ticket, untrained' and split == 'test'")
    rows = rows[rows.metric == "accuracy"]
    for moment in ("early stop", "end"):
        assert rows[rows.moment == moment].value.tolist() == expected.tolist()
    assert set(rows.step) == {0}


def test_what_is_not_trained_is_not_counted(toy_task, tmp_path, monkeypatch):
    counted, totals = [], []

    class Bar:
        def __init__(self, total, **_):
            totals.append(total)

        __enter__ = lambda self: self  # noqa: E731
        __exit__ = set_description = lambda self, *_: None
        update = lambda self, n: counted.append(n)  # noqa: E731

    monkeypatch.setattr("lth_utils.lottery._imp.tqdm", Bar)
    for _ in range(2):  # trained, then found in the store
        imp(toy_task, treatments=("ticket", "ticket, untrained"))
        assert sum(counted) == totals[-1] == 3 * 2 * 20
        counted.clear()
    monkeypatch.setattr("lth_utils.costs.pace", lambda *_: (1.0, 0.0))
    names = ("ticket", "reinit, untrained")
    assert predict(toy_task, treatments=names, store=Store(tmp_path)) == 3 * 2 * 20


def test_mistake_a_reader_edits_a_modifier_and_is_given_the_old_results(
    toy_task, monkeypatch, tmp_path
):
    monkeypatch.setattr(controls, "MODIFIERS", dict(controls.MODIFIERS))
    results = []
    for size in (0.5, 2.0):

        @modifier("scaled")
        def scaled(now, arm, size=size):
            return controls.replace(arm, start={n: size * w for n, w in arm.start.items()})

        found = imp(toy_task, levels=1, treatments=("ticket", "ticket, scaled"))
        results.append(losses(found, "ticket, scaled"))
    assert results[0] != results[1]


def test_an_unknown_part_of_a_name_is_said_before_anything_is_trained(toy_task, monkeypatch):
    monkeypatch.setattr("lth_utils.lottery._units.train", None)
    monkeypatch.setattr("lth_utils.tasks.train", None)
    with pytest.raises(
        InputError, match="Unknown modifier of a treatment 'same sign'. Known: same"
    ):
        imp(toy_task, treatments=("ticket", "reinit, same sign"))


@pytest.mark.parametrize("one_shot", [False, True])
def test_a_weight_pruned_long_ago_grew_or_shrank_when_it_was_last_trained(
    one_shot, toy_task, monkeypatch
):
    """Its trained value at later levels is zero, which says nothing."""
    seen, found = [], []
    monkeypatch.setattr(controls, "TREATMENTS", dict(controls.TREATMENTS))
    magnitude = pruning.magnitude

    @controls.treatment("spy")
    def spy(now):
        seen.append(now)
        return controls.TREATMENTS["ticket"](now)

    def watched(weights, mask, *args, **options):
        found.append((weights, mask))
        return magnitude(weights, mask, *args, **options)

    watched.scores = magnitude.scores
    imp(toy_task, treatments=("spy",), criterion=watched, one_shot=one_shot)
    first, second = seen
    pruned = ~first.mask
    for name in pruned:
        assert torch.equal(second.last[name][pruned[name]], found[0][0][name][pruned[name]])
        now_trained = found[1][1][name]
        assert torch.equal(second.last[name][now_trained], found[1][0][name][now_trained])
        assert (second.last[name] != 0).all()
