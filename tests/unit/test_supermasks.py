"""Supermasks: only scores are trained, counts are exact, and what is found is a mask as any."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from lth_utils import models, supermasks
from lth_utils.controls import TREATMENTS, random_mask
from lth_utils.errors import InputError
from lth_utils.lottery import imp
from lth_utils.models import Masked
from lth_utils.randomness import stream
from lth_utils.recipes import SGD, Recipe
from lth_utils.store import Store
from lth_utils.supermasks import Bernoulli, EdgePopup, learn, mask, masked, network, sample
from lth_utils.training import _captured, _train, evaluate, train

SEEDS = [0, 1, 2]
RULES = [Bernoulli(), Bernoulli(True, True, 1.0), EdgePopup(0.3), EdgePopup(0.3, False, False)]
RECIPE = Recipe("23it", 10, SGD(5.0, momentum=0.9), every="7it")


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[n], b[n]) for n in a)


def fixed(weights):
    return {name: w for name, w in weights.items() if not name.endswith("scores")}


@pytest.fixture(params=RULES, ids=str)
def rule(request):
    return request.param


@pytest.fixture
def hidden(net, rule):
    return masked(net, rule)


@pytest.fixture
def hidden_task(toy_task):
    """``hidden_task(rule)``: the toy task with masks in place of weights."""

    def make(rule, **changes):
        recipe = Recipe("20it", 10, SGD(20.0, momentum=0.9), every="5it")
        return replace(toy_task, supermask=rule, recipe=recipe, dense=toy_task.recipe, **changes)

    return make


# What is trained, and what is not -----------------------------------------------------------------


def test_only_scores_are_trained(hidden, toy):
    """Weights or biases that move while masks are searched: the subnetwork was not there."""
    assert all(name.endswith("scores") for name in models.trainable(hidden))
    start = models.initialise(hidden, SEEDS)
    run = train(hidden, start, models.dense_mask(hidden, 3), toy, RECIPE, SEEDS)
    assert same(fixed(run.weights), fixed(start))
    moved = [n for n in run.weights if not torch.equal(run.weights[n], start[n])]
    assert moved == models.trainable(hidden)
    assert len({run.weights["fc1.scores"][i].sum().item() for i in range(3)}) == 3


def test_gradients_reach_scores_only(hidden, toy):
    values = {n: w[0] for n, w in models.initialise(hidden, [0]).items()}
    for value in values.values():
        value.requires_grad_()
    outputs = torch.func.functional_call(
        hidden.train(), values, (toy.normalise(toy.train.images[:20]),)
    )
    outputs.square().sum().backward()
    assert all(values[n].grad.abs().sum() > 0 for n in models.trainable(hidden))
    assert [name for name, _ in hidden.named_parameters()] == models.trainable(hidden)


def test_a_score_of_a_weight_left_out_has_a_gradient_too(net, toy):
    """Or what edge-popup once leaves out could never come back."""
    hidden = masked(net, EdgePopup(0.3))
    values = {n: w[0] for n, w in models.initialise(hidden, [0]).items()}
    values["output.scores"].requires_grad_()
    outputs = torch.func.functional_call(hidden, values, (toy.normalise(toy.train.images[:20]),))
    outputs.sum().backward()
    kept = EdgePopup(0.3).choice(values["output.scores"])
    lively = values["output.scores"].grad.abs().sum(0) > 0  # inputs that are not dead
    assert (~kept[:, lively]).any()
    assert (values["output.scores"].grad[:, lively][~kept[:, lively]] != 0).all()


def test_what_is_not_masked_is_not_trained_either(make_dataset):
    net = models.build("vgg-11", (3, 32, 32), 4, 0.02)
    hidden = masked(net, EdgePopup(0.5))
    assert len(models.trainable(hidden)) == len(models.prunable(net))
    start = models.initialise(hidden, [0])
    data = make_dataset(20, 10, 10, shape=(3, 32, 32))
    run = train(hidden, start, models.dense_mask(hidden), data, RECIPE, [0], end="2it")
    norms = [n for n in start if "bn" in n and n.endswith((".weight", ".bias"))]
    assert norms and all(torch.equal(run.weights[n], start[n]) for n in norms)


def test_the_original_stays_as_it_is(net, rule):
    before = list(net.state_dict())
    hidden = masked(net, rule)
    assert list(net.state_dict()) == before
    assert not any(isinstance(m, Masked) for m in net.modules())
    assert models.prunable(hidden) == models.prunable(net)
    assert models.dense_mask(hidden).shapes == models.dense_mask(net).shapes


# What weights start as ----------------------------------------------------------------------------


def test_constants_are_the_signs_of_the_weights_they_stand_for(net):
    plain = models.initialise(net, SEEDS)
    constants = models.initialise(masked(net, Bernoulli(constant=True)), SEEDS)
    for name in models.prunable(net):
        w = constants[name]
        assert torch.equal(w.sign(), plain[name].sign())
        assert torch.allclose(w.abs(), torch.tensor(models.glorot_normal(w.shape[1:])))
    assert same(fixed(models.initialise(masked(net, Bernoulli()), SEEDS)), plain), (
        "the initial weights are the ticket's"
    )


def test_edge_popup_takes_the_deviation_of_he(net):
    w = models.initialise(masked(net, EdgePopup()), SEEDS)["fc1.weight"]
    assert torch.allclose(w.abs(), torch.tensor(models.kaiming_normal(w.shape[1:])))
    w = models.initialise(masked(net, EdgePopup(constant=False)), SEEDS)["fc1.weight"]
    assert w.std().item() == pytest.approx(models.kaiming_normal(w.shape[1:]), rel=0.1)


# The rules ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("density", [0.03, 0.1, 0.5, 0.997, 1.0])
@pytest.mark.parametrize("shape", [(7, 13), (4, 3, 3, 3), (1, 1)])
def test_top_k_keeps_exactly_k(density, shape):
    scores = stream(0, "probe", "scores").normal(*shape)
    kept = EdgePopup(density).choice(scores)
    assert kept.sum() == round(density * scores.numel())
    if 0 < kept.sum() < kept.numel():
        assert scores[kept].min() >= scores[~kept].max()


def test_top_k_is_exact_among_equal_scores():
    assert EdgePopup(0.3).choice(torch.zeros(10, 10)).sum() == 30


@pytest.mark.parametrize("density", [0, -0.1, 1.01])
def test_an_impossible_density_is_one_sentence(density):
    with pytest.raises(InputError, match="above 0 and at most 1"):
        EdgePopup(density)


def test_a_mask_is_kept_with_its_probability():
    scores = torch.tensor([-2.0, 0.0, 1.5]).repeat(20_000, 1)
    draws = torch.from_numpy(stream(0, "mask").coarse(*scores.shape))
    kept = Bernoulli().kept(scores, draws)
    assert set(kept.unique().tolist()) == {0.0, 1.0}
    spread = 5 * np.sqrt(0.25 / 20_000)
    assert torch.allclose(kept.mean(0), torch.sigmoid(scores[0]), atol=spread)


def test_the_slope_is_that_of_the_probability():
    scores = torch.tensor([-1.0, 0.5, 2.0], requires_grad=True)
    Bernoulli().kept(scores, torch.tensor([0.9, 0.1, 0.5])).sum().backward()
    p = torch.sigmoid(scores.detach())
    assert torch.allclose(scores.grad, p * (1 - p))


@pytest.mark.parametrize("start", [0, 2, -1.5])
def test_scores_start_where_they_are_told_to(net, start):
    """A whole number is a start as well, and makes no tensor of integers."""
    scores = models.initialise(masked(net, Bernoulli(start=start)), [0])["fc1.scores"]
    assert scores.dtype == torch.float32 and (scores == start).all()


def test_rescaling_is_by_weights_over_kept():
    draws = torch.tensor([0.9, 0.1, 0.2, 0.95])
    kept = Bernoulli(rescale=True).kept(torch.zeros(4), draws)
    assert kept.tolist() == [0, 2, 2, 0]
    nothing = Bernoulli(rescale=True).kept(torch.zeros(4), torch.ones(4))
    assert nothing.tolist() == [0, 0, 0, 0], "an empty layer divides by zero"
    assert EdgePopup(0.25).kept(torch.arange(4.0), None).tolist() == [0, 0, 0, 2]


# Draws --------------------------------------------------------------------------------------------


def test_coarse_draws_are_uniform_and_never_an_end():
    draws = stream(0, "mask").coarse(100_001)
    assert draws.dtype == np.float32 and draws.shape == (100_001,)
    assert 0 < draws.min() < 1e-3 and 1 - 1e-3 < draws.max() < 1
    assert abs(draws.mean() - 0.5) < 5 / np.sqrt(12 * 100_001)
    assert len(np.unique(draws[:1000])) > 990


def test_a_member_alone_equals_itself_in_a_population(hidden, toy):
    start = models.initialise(hidden, SEEDS)
    together = train(hidden, start, models.dense_mask(hidden, 3), toy, RECIPE, SEEDS)
    alone = train(hidden, {n: w[1:2] for n, w in start.items()}, models.dense_mask(hidden), toy,
                  RECIPE, [1])  # fmt: skip
    assert same(together.member(1).weights, alone.weights)


def test_trained_in_two_parts_equals_straight_where_there_is_no_momentum(hidden, toy):
    """Every step draws by its own name, whatever was drawn before."""
    recipe = replace(RECIPE, optimiser=SGD(5.0))
    start, every = models.initialise(hidden, [0]), models.dense_mask(hidden)
    straight = train(hidden, start, every, toy, recipe, [0])
    half = train(hidden, start, every, toy, recipe, [0], end="11it")
    rest = train(hidden, half.weights, every, toy, recipe, [0], begin="11it")
    assert same(straight.weights, rest.weights)


def test_copies_of_a_seed_draw_other_masks(net, toy):
    hidden = masked(net, Bernoulli())
    start = models.initialise(hidden, [0, 0])
    recipe = replace(RECIPE, batch=len(toy.train))  # the order of the images plays no part
    run = train(hidden, start, models.dense_mask(hidden, 2), toy, recipe, [0, 0], copies=[0, 1])
    assert not torch.equal(*run.weights["fc1.scores"])


def test_what_draws_on_the_cpu_is_never_captured(net, toy, monkeypatch):
    monkeypatch.setenv("LTH_COMPILE", "eager")
    for rule, captured in ((Bernoulli(), False), (EdgePopup(), True)):
        hidden = masked(net, rule)
        start = models.initialise(hidden, [0])
        run = train(hidden, start, models.dense_mask(hidden), toy, RECIPE, [0], end="2it")
        assert (run.paths == ("captured",)) == captured


# What is found ------------------------------------------------------------------------------------


def test_a_found_mask_gives_the_accuracy_that_was_reported(hidden, net, toy):
    """A mask in the table that is not the one evaluated, or a scale that gets lost."""
    start = models.initialise(hidden, SEEDS)
    run = train(hidden, start, models.dense_mask(hidden, 3), toy, RECIPE, SEEDS)
    found = mask(hidden, run.weights)
    weights = network(hidden, run.weights, found)
    models.check_weights(net, weights)
    assert all((weights[n][~found[n]] == 0).all() for n in found)
    _, accuracy = evaluate(net, weights, toy, toy.test)
    assert accuracy.tolist() == pytest.approx(run.accuracy().tolist())


def test_sampled_masks_differ_by_number_and_follow_the_scores(net):
    hidden = masked(net, Bernoulli())
    weights = models.initialise(hidden, SEEDS)
    weights["fc1.scores"].fill_(50.0)
    weights["fc2.scores"].fill_(-50.0)
    one, other = (sample(hidden, weights, SEEDS, number) for number in (0, 1))
    assert one["fc1.weight"].all() and not one["fc2.weight"].any()
    assert one != other and one == sample(hidden, weights, SEEDS, 0)


def test_edge_popup_has_nothing_to_sample(net):
    hidden = masked(net, EdgePopup())
    with pytest.raises(InputError, match="draws no mask"):
        sample(hidden, models.initialise(hidden, [0]), [0])


def test_a_plain_network_has_no_supermask(net):
    with pytest.raises(InputError, match="no masks that are trained"):
        mask(net, models.initialise(net, [0]))


# The procedure ------------------------------------------------------------------------------------


def test_learning_gives_one_table_with_its_controls(hidden_task, tmp_path):
    task = hidden_task(EdgePopup())
    found = learn(task, (0.7, 0.2), store=Store(tmp_path))
    assert set(found.table.treatment) == {"supermask", "random mask", "dense"}
    rows = found.table[found.table.treatment != "dense"]
    for level, density in ((1, 0.7), (2, 0.2)):
        assert rows[rows.level == level].density.unique() == pytest.approx(density, abs=0.01)
    assert [ticket.level for ticket in found.tickets] == [1, 2] == list(found.trained)
    assert (found.tickets[1].mask.density < found.tickets[0].mask.density).all()
    chosen, drawn = (
        found.tickets[0].mask.counts()
        if name == "supermask"
        else random_mask(found.tickets[0].mask, task.seeds, 1).counts()
        for name in ("supermask", "random mask")
    )
    assert (chosen.kept == drawn.kept).all()


def test_learning_again_trains_nothing(hidden_task, tmp_path, monkeypatch):
    task = hidden_task(Bernoulli())
    first = learn(task, store=Store(tmp_path))
    monkeypatch.setattr(_train, "_course", None)
    again = learn(task, store=Store(tmp_path))
    assert first.table.equals(again.table)


def test_prediction_counts_what_is_missing(hidden_task, tmp_path):
    task, store = hidden_task(EdgePopup()), Store(tmp_path)
    assert supermasks.predict(task, (0.5, 0.1), store=store) > 0
    learn(task, (0.5, 0.1), store=store)
    assert supermasks.predict(task, (0.5, 0.1), store=store) == 0


def test_drawn_masks_are_reported_beside_the_most_probable(hidden_task, tmp_path):
    found = learn(hidden_task(Bernoulli(start=3.0)), store=Store(tmp_path))
    rows = found.table[found.table.metric == "sampled accuracy"]
    assert len(rows) == 2 and set(rows.moment) == {"end"}
    assert set(rows.treatment) == {"supermask"} and rows.value.between(0, 100).all()


def test_supermasks_under_two_rules_are_two_results(hidden_task, tmp_path):
    store = Store(tmp_path)
    learn(hidden_task(EdgePopup(0.5)), store=store)
    before = len(list(store.units()))
    learn(hidden_task(EdgePopup(0.5, rescale=False)), store=store)
    assert len(list(store.units())) == before + 2, "dense is shared, the masks are not"


def test_mistakes_are_one_sentence(hidden_task, toy_task):
    with pytest.raises(InputError, match="trains weights; give it a rule"):
        learn(toy_task)
    with pytest.raises(InputError, match="density is learnt"):
        learn(hidden_task(Bernoulli()), (0.5,))
    with pytest.raises(InputError, match=r"supermasks\.learn"):
        imp(hidden_task(Bernoulli()))
    assert "supermask" not in TREATMENTS


def test_masks_are_trained_in_convolutions_too(make_dataset):
    net = models.build("conv-2", (3, 8, 8), 4, 0.05)
    assert isinstance(net, nn.Module)
    for rule in RULES:
        hidden = masked(net, rule)
        start = models.initialise(hidden, [0, 1])
        data = make_dataset(30, 10, 10, shape=(3, 8, 8))
        run = train(hidden, start, models.dense_mask(hidden, 2), data, RECIPE, [0, 1], end="3it")
        assert same(fixed(run.weights), fixed(start))
        assert not torch.equal(run.weights["conv1.scores"], start["conv1.scores"])


def test_no_path_for_chains_takes_masked_layers(net, toy, rule):
    """The compiled step knows nothing of scores, and would train the wrong tensors."""
    hidden = masked(net, rule)
    run = train(hidden, models.initialise(hidden, [0]), models.dense_mask(hidden), toy, RECIPE,
                [0], end="1it")  # fmt: skip
    assert run.paths == ("plain",)
    assert not _captured._backend()
