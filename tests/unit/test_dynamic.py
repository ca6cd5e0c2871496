"""Masks that move: the update of SET and RigL, and trainings that are interrupted by it."""

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from test_controls import equal, now  # noqa: F401
from test_paths import OPTIMISERS, SEEDS, Place, close, interrupted, on, random_mask, weights_of
from torch import nn

from lth_utils import controls, costs, models
from lth_utils.dynamic import SET, Moving, RigL, Rule, longer, moving, operations, times_as_long
from lth_utils.errors import InputError
from lth_utils.lottery import imp
from lth_utils.lottery._imp import _Design
from lth_utils.masks import Mask
from lth_utils.randomness import stream
from lth_utils.recipes import SGD, Adam, Augment, Recipe, Schedule, Step
from lth_utils.store import Store, canonical
from lth_utils.training import _sparse, evaluate, train
from lth_utils.training._batches import Order

RULES = {"SET": SET(0.4, "5it", "80%"), "RigL": RigL(0.4, "5it", "80%")}
MOVES = (5, 10, 15, 20, 25, 30, 35)  # of 50 iterations, before the fortieth
PATHS = ["plain", "sparse"]


def recipe(rule="RigL", optimiser="adam", iterations=50, **more):
    usual = Recipe(f"{iterations}it", 10, OPTIMISERS[optimiser], every="7it", **more)
    return moving(usual, RULES.get(rule, rule))


@pytest.fixture
def mask(net):
    return random_mask(net, 0.4)


def counts(mask):
    return {name: kept.flatten(1).sum(1).tolist() for name, kept in mask.items()}


# One move -----------------------------------------------------------------------------------------


def test_the_share_falls_along_half_a_cosine_to_nothing():
    locate = lambda step: Step.of(step).iteration(1000, 100)  # noqa: E731
    rule = RigL(0.3, "100it", "75%")
    shares = {at: rule.share(at, locate) for at in range(1001) if rule.share(at, locate)}
    expected = {at: 0.15 * (1 + math.cos(math.pi * at / 750)) for at in range(100, 750, 100)}
    assert shares == pytest.approx(expected)
    assert SET(0.3, "10%", "75%").share(100, locate) == shares[100]
    assert rule.share(0, locate) == 0  # before the first step there is nothing to go by


def test_a_move_by_hand():
    weights = torch.tensor([[0.5, -0.1, 0.0], [0.2, 0.0, -0.9]])
    kept = torch.tensor([[True, True, False], [True, False, True]])
    slopes = torch.tensor([[9.0, 0.3, -0.5], [7.0, 0.4, 8.0]])
    new, grown = RigL().move(weights, kept, slopes, 0.5, None)
    # -0.1 and 0.2 go; of the four places that are free, 0.2's own has the largest gradient.
    assert new.tolist() == [[True, False, True], [True, False, True]]
    assert grown.tolist() == [[False, False, True], [True, False, False]]


@pytest.mark.parametrize("rule", [SET(), RigL()], ids=["SET", "RigL"])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 1.0])
@pytest.mark.parametrize("density", [0.0, 0.1, 0.9, 1.0])
def test_as_many_weights_after_a_move_as_before(rule, share, density):
    generator = torch.Generator().manual_seed(1)
    kept = torch.rand(13, 11, generator=generator) < density
    weights, slopes = torch.randn(2, 13, 11, generator=generator)
    new, grown = rule.move(weights * kept, kept, slopes, share, stream(0, "grown", 1))
    assert new.sum() == kept.sum()
    moved = min(round(share * int(kept.sum())), int((~kept).sum()))
    assert grown.sum() == moved and not (grown & ~new).any()
    dropped = kept & (~new | grown)
    assert dropped.sum() == moved
    if 0 < moved < kept.sum():
        assert weights[dropped].abs().max() <= weights[kept & ~dropped].abs().min()
        free = ~kept | dropped
        if rule.looks and (free & ~grown).any():
            assert slopes[grown].abs().min() >= slopes[free & ~grown].abs().max()


def test_what_set_grows_is_uniform_over_what_is_free():
    kept = torch.zeros(40, dtype=torch.bool)
    kept[:10] = True
    weights = torch.arange(40.0) * kept
    hits = torch.zeros(40)
    for number in range(2000):
        _, grown = SET().move(weights, kept, None, 0.5, stream(0, "grown", number))
        hits += grown
    assert hits[5:10].sum() == 0  # the five largest stay
    expected = 2000 * 5 / 35
    free = torch.cat([hits[:5], hits[10:]])
    assert (free - expected).abs().max() < 5 * (expected * 6 / 7) ** 0.5


def test_bad_rules_are_told_in_a_sentence():
    with pytest.raises(InputError, match="share of the kept weights"):
        RigL(fraction=0.0)
    with pytest.raises(InputError, match="'100it'"):
        SET(every="0it")


# A whole training, against one written out --------------------------------------------------------


def by_hand(net, start, mask, data, rule, optimiser, seed, iterations=50, batch=10):
    """One member in NumPy-like steps: gradients by autograd, everything else written out."""
    w = {n: t[0].clone() for n, t in start.items()}
    kept = {n: k[0].clone() for n, k in mask.items()}
    for n in kept:
        w[n] *= kept[n]
    first, second = ({n: torch.zeros_like(t) for n, t in w.items()} for _ in range(2))
    index = Order(seed, 0, len(data.train)).batches(0, iterations, batch)
    taken, masks = 0, {}
    for at in range(iterations):
        images = data.normalise(data.train.images[index[at]], torch.float64)
        leaves = {n: t.clone().requires_grad_() for n, t in w.items()}
        outputs = torch.func.functional_call(net, leaves, images)
        loss = F.cross_entropy(outputs, data.train.labels[index[at]])
        g = dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))
        if at in MOVES:
            for n, k in kept.items():
                share = 0.2 * (1 + math.cos(math.pi * at / 40))
                n_moved = min(round(share * int(k.sum())), int((~k).sum()))
                score = (
                    g[n].abs().numpy()
                    if rule == "RigL"
                    else stream(seed, "grown", at, n).coarse(*k.shape)
                )
                sizes, places = w[n].abs().numpy(), [*map(tuple, k.nonzero().tolist())]
                gone = {*sorted(places, key=lambda p, s=sizes: s[p])[:n_moved]}
                free = gone.union(map(tuple, (~k).nonzero().tolist()))
                new = sorted(free, key=lambda p, s=score: -s[p])[:n_moved]
                for p in gone:
                    k[p] = False
                for p in new:
                    k[p] = True
                for p in gone.union(new):
                    w[n][p] = first[n][p] = second[n][p] = 0
            continue
        taken += 1
        for n in w:
            if isinstance(optimiser, Adam):
                first[n] = 0.9 * first[n] + 0.1 * g[n]
                second[n] = 0.999 * second[n] + 0.001 * g[n] ** 2
                down = (second[n] / (1 - 0.999**taken)).sqrt() + 1e-8
                w[n] = w[n] - optimiser.rate * first[n] / (1 - 0.9**taken) / down
            else:
                slope = g[n] + optimiser.decay * w[n]
                first[n] = optimiser.momentum * first[n] + slope
                w[n] = w[n] - optimiser.rate * first[n]
            if n in kept:
                w[n] = torch.where(kept[n], w[n], 0.0)
        masks[at] = {n: k.clone() for n, k in kept.items()}
    return w, masks[iterations - 1]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("optimiser", ["adam", "momentum and decay"])
@pytest.mark.parametrize("rule", RULES)
def test_a_training_equals_one_written_out(rule, optimiser, path, net, mask, toy, monkeypatch):
    """Moves at the wrong step, of the wrong weights, with a past that should be forgotten."""
    start = weights_of(net)
    how = recipe(rule, optimiser)
    run = on(path, monkeypatch, net, start, mask, toy, how, SEEDS)
    for i, seed in enumerate(SEEDS):
        mine = {n: w[i : i + 1] for n, w in start.items()}
        arguments = (net, mine, mask.member(i), toy, rule, OPTIMISERS[optimiser], seed)
        weights, kept = by_hand(*arguments)
        for n in mask:
            assert torch.equal(run.mask[n][i], kept[n]), (i, n)
        close(run.member(i).weights, {n: w[None] for n, w in weights.items()}, 1e-8, 1e-12)


# What must hold at every step ---------------------------------------------------------------------


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("optimiser", ["adam", "nesterov"])
@pytest.mark.parametrize("rule", RULES)
def test_counts_are_exact_and_nothing_pruned_is_revived(
    rule, optimiser, path, net, mask, toy, monkeypatch
):
    start = weights_of(net, torch.float32)
    how = recipe(rule, optimiser)
    run = on(path, monkeypatch, net, start, mask, toy, how, SEEDS, keep=range(51))
    assert run.masks[0] == mask and run.mask == run.masks[50]
    for at in range(51):
        assert counts(run.masks[at]) == counts(mask)
        for name, kept in run.masks[at].items():
            assert (run.at[at][name][~kept] == 0).all(), (at, name)
    moves = [at for at in range(50) if run.masks[at] != run.masks[at + 1]]
    assert set(moves) <= set(MOVES) and len(moves) >= len(MOVES) - 1
    for at in moves:
        before, after = run.masks[at], run.masks[at + 1]
        grown = after & ~before
        assert (run.at[at + 1]["fc1.weight"][grown["fc1.weight"]] == 0).all()
        still = before & after  # no step was taken; a weight that stays was not touched
        same = run.at[at]["fc1.weight"] == run.at[at + 1]["fc1.weight"]
        regrown = run.at[at + 1]["fc1.weight"] == 0
        assert (same | regrown)[still["fc1.weight"]].all()


@pytest.mark.parametrize("rule", RULES)
def test_the_sparse_path_moves_as_the_plain_one(rule, net, toy, monkeypatch):
    """Units that die and come back to life as the mask moves."""
    for density in (0.05, 0.2, 0.6):
        what = (net, weights_of(net), random_mask(net, density), toy, recipe(rule), SEEDS)
        plain, sparse = (on(path, monkeypatch, *what, keep=(9, 33)) for path in PATHS)
        for at in (9, 33, 50):
            assert plain.masks[at] == sparse.masks[at]
        close(sparse.weights, plain.weights, rtol=1e-9, atol=1e-13)
        a, b = (run.history.value.to_numpy() for run in (sparse, plain))
        np.testing.assert_allclose(a, b, rtol=1e-9)


@pytest.mark.parametrize("path", PATHS)
def test_the_early_stop_is_looked_at_under_its_own_mask(path, net, mask, toy, monkeypatch):
    """Weights of an earlier mask, evaluated without what has been pruned since."""
    how = recipe("SET", iterations=40)
    how = replace(how, optimiser=SGD(3.0), moves=replace(how.moves, until="100%"))
    start = weights_of(net)
    run = on(path, monkeypatch, net, start, mask, toy, how, SEEDS, keep=range(0, 41, 7))
    stops = run.early_stop
    assert any(stop < 35 for stop in stops)  # or there is nothing to be mistaken about
    rows = run.history[(run.history.moment == "early stop") & (run.history.metric == "loss")]
    for i, stop in enumerate(stops):
        mine = {n: w[i : i + 1] for n, w in run.at[stop].items()}
        loss, _ = evaluate(net, mine, toy, toy.test)
        told = rows[(rows.member == i) & (rows.split == "test")].value.item()
        assert told == pytest.approx(loss.item(), rel=1e-9)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("optimiser", ["adam", "nesterov"])
def test_resumed_equals_straight_to_the_bit(rule, optimiser, path, toy, net, mask, monkeypatch):
    what = (net, weights_of(net, torch.float32), mask, toy, recipe(rule, optimiser), SEEDS)
    straight = on(path, monkeypatch, *what, keep=(10, 30))
    monkeypatch.setattr(_sparse, "BELOW", 2.0)
    monkeypatch.setenv("LTH_SPARSE", "1" if path == "sparse" else "0")
    places = [Place() for _ in SEEDS]
    for when in (1, 7, 4, 2):
        interrupted(when, *what, keep=(10, 30), checkpoints=places)
    assert all(place.saves and place.loads for place in places)
    resumed = train(*what, keep=(10, 30), checkpoints=places)
    close(resumed.weights, straight.weights, rtol=0)
    assert resumed.masks == straight.masks
    assert resumed.history.equals(straight.history)


def test_a_replicate_alone_is_that_of_a_population_and_a_copy_is_another(toy, net, mask):
    start = weights_of(net)
    together = train(net, start, mask, toy, recipe("SET"), SEEDS)
    mine = {n: w[1:2] for n, w in start.items()}
    alone = train(net, mine, mask.member(1), toy, recipe("SET"), [1])
    assert alone.mask == together.mask.member(1) == together.member(1).mask
    copy = train(net, mine, mask.member(1), toy, recipe("SET"), [1], copies=[1])
    assert copy.mask != alone.mask and counts(copy.mask) == counts(alone.mask)


def test_a_convolution_with_augmentation_and_batch_norm_moves_too(make_dataset):
    net = nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 4)
    )
    data = make_dataset(97, 41, 53)
    mask = random_mask(net, 0.4)
    start = models.initialise(net, SEEDS)
    how = recipe(optimiser="momentum and decay", augment=Augment(flip=True, crop=1))
    run = train(net, start, mask, data, how, SEEDS, keep=range(51))
    assert counts(run.mask) == counts(mask) and run.mask != mask
    for name, kept in run.mask.items():
        assert (run.weights[name][~kept] == 0).all()


def test_a_dense_network_has_nothing_to_move(toy, net):
    start, whole = weights_of(net), models.dense_mask(net, 3)
    still = train(net, start, whole, toy, Recipe("50it", 10, Adam(0.01), every="7it"), SEEDS)
    run = train(net, start, whole, toy, recipe(), SEEDS)
    assert run.paths == still.paths == ("dense",) * 3
    close(run.weights, still.weights, rtol=0)


def test_moving_and_frozen_is_refused(toy, net, mask):
    with pytest.raises(InputError, match="cannot be frozen"):
        train(net, weights_of(net), mask, toy, recipe(), SEEDS, frozen=~mask)


def test_a_rule_of_a_readers_own_needs_five_lines(toy, net, mask):
    @dataclass(frozen=True)
    class First(Rule):
        def scores(self, weights, slopes, draws):
            return torch.arange(weights.numel(), 0.0, -1).view_as(weights)

    run = train(net, weights_of(net), mask, toy, recipe(First(1.0, "5it", "80%")), SEEDS)
    n = int(mask["fc1.weight"][0].sum())
    assert run.mask["fc1.weight"][0].flatten()[: n // 4].double().mean() > 0.9


# Recipes and treatments ---------------------------------------------------------------------------


def test_an_ordinary_recipe_has_the_key_that_it_had_and_a_moving_one_tells_all():
    usual = Recipe("100it", 10, Adam(0.01))
    assert usual.moves is None and "moves" not in canonical({"it": usual})
    keys = {canonical({"it": moving(usual, rule)}) for rule in (SET(), RigL(), RigL(0.2))}
    assert len({*keys, canonical({"it": usual})}) == 4
    assert moving(moving(usual, SET()), RigL()) == moving(usual) == Moving(**vars(usual))


def test_what_the_treatments_stand_for_is_pinned():
    """Their keys hold their names alone: whoever changes these gives them other names."""
    assert RigL() == RigL(0.3, "2.5%", "75%") and SET() == SET(0.3, "2.5%", "75%")


def test_treatments_differ_from_the_static_one_in_the_recipe_alone(now):  # noqa: F811
    static, *others = (controls.by_name(name)(now) for name in ("static", "SET", "RigL"))
    assert counts(static.mask) == counts(now.mask) and static.mask != now.mask
    for name in now.mask:
        assert not (static.start[name] == now.start[name]).any()
    assert static.recipe is None and static.begin == "0it"
    for arm, rule in zip(others, (SET(), RigL()), strict=True):
        assert arm.mask == static.mask and equal(arm.start, static.start)
        assert arm.recipe == moving(now.recipe, rule)


def test_layer_densities_of_the_same_total(now):  # noqa: F811
    plain = controls.by_name("RigL")(now)
    for name in ("uniform", "erdos-renyi"):
        arm = controls.by_name(f"RigL, {name}")(now)
        assert arm.mask.kept.tolist() == plain.mask.kept.tolist()
        assert arm.recipe == plain.recipe and equal(arm.start, plain.start)
        assert arm.mask == controls.by_name(f"static, {name}")(now).mask
        assert arm.mask != controls.by_name(f"static, {name}")(replace(now, level=3)).mask
        layers = arm.mask.counts().groupby("layer", sort=False).density.first()
        sizes = arm.mask.shapes
        if name == "uniform":
            assert np.ptp(layers) < 0.02
        else:
            odds = {n: sum(s) / math.prod(s) for n, s in sizes.items()}
            free = [n for n in sizes if layers[n] < 1]
            ratio = [layers[n] / odds[n] for n in free]
            assert len(free) > 1 and max(ratio) / min(ratio) < 1.05


def test_three_times_as_long_stretches_the_rate_and_not_the_time_between_moves(now):  # noqa: F811
    how = Recipe("200it", 10, SGD(0.1), Schedule(("50%", "80it"), warmup="10it"), every="10%")
    arm = controls.by_name("RigL, 3x as long")(replace(now, recipe=how))
    rates = [how.rate(i, 50) for i in range(200)]
    stretched = [arm.recipe.rate(i, 50) for i in range(600)]
    assert stretched[30::3] == pytest.approx(rates[10:])
    assert arm.recipe.cadence(50) == how.cadence(50)

    def moves(recipe):
        n = recipe.iterations(50)
        return [i for i in range(n) if recipe.moves.share(i, lambda s: recipe.iteration(s, 50))]

    short, long = moves(moving(how, RigL())), moves(arm.recipe)
    assert short == list(range(5, 150, 5)) and long == list(range(5, 450, 5))
    assert controls.by_name("dense, 3x as long")(now).recipe.moves is None
    assert [times_as_long(n) for n in ("RigL", "RigL, uniform, 3x as long")] == [1, 3]


def test_a_rewound_arm_three_times_as_long_begins_at_the_same_iteration(now):  # noqa: F811
    arm = controls.by_name("ticket, 3x as long")(now)
    assert now.recipe.iteration(now.rewind, 50) == arm.recipe.iteration(arm.begin, 50) == 10
    assert longer(longer(now.recipe, 2), 3) == longer(now.recipe, 6)


TREATMENTS = ("ticket", "static", "SET", "RigL", "RigL, erdos-renyi", "RigL, 3x as long",
              "dense, 3x as long")  # fmt: skip


def test_imp_trains_them_beside_a_ticket(toy_task, tmp_path):
    store = Store(tmp_path)
    found = imp(toy_task, treatments=TREATMENTS, store=store)
    assert {*found.table.treatment} == {"dense", *TREATMENTS}
    sparse = found.table[(found.table["level"] == 2)]
    assert sparse.groupby("treatment").density.mean().nunique() == 1
    long = found.table[found.table.treatment.str.endswith("3x as long")]
    assert long[long.moment == "end"].step.unique().tolist() == [60]
    again = imp(toy_task, treatments=TREATMENTS, store=store)
    assert again.table.equals(found.table)
    whole = _Design.of(toy_task, None, None, "0it", TREATMENTS, "magnitude", None, None)
    assert whole.iterations("RigL, 3x as long") == 60 == 3 * whole.iterations("RigL")


def test_a_worker_elsewhere_moves_the_same_masks(toy_task, tmp_path):
    arms = {"treatments": ("ticket", "RigL"), "levels": 1}
    here = imp(toy_task, **arms, store=Store(tmp_path / "a"))
    with ThreadPoolExecutor(1) as executor:
        there = imp(toy_task, **arms, store=Store(tmp_path / "b"), executor=executor)
    assert here.table.equals(there.table)


# Operations ---------------------------------------------------------------------------------------


def test_operations_of_a_training_counted_one_by_one(net, mask, toy):
    once = costs.operations(net, (1, 4, 4), mask)
    whole = costs.operations(net, (1, 4, 4), mask | ~mask)
    still = Recipe("50it", 10, Adam(0.01))
    assert operations(net, (1, 4, 4), mask, still, 97).tolist() == (1500 * once).tolist()
    steps, looks = 50 - len(MOVES), len(MOVES)
    expected = 10 * (3 * steps * once + looks * (2 * once + whole))
    assert operations(net, (1, 4, 4), mask, recipe(), 97).tolist() == expected.tolist()
    expected = 30 * steps * once
    assert operations(net, (1, 4, 4), mask, recipe("SET"), 97).tolist() == expected.tolist()
    dense = Mask.dense(mask.shapes)
    assert operations(net, (1, 4, 4), dense, recipe(), 97) == 1500 * whole[:1]
