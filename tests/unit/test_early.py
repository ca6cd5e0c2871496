"""Criteria at initialisation, each against an independent computation in double precision."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lth_utils import anatomy, models, pruning
from lth_utils.errors import InputError
from lth_utils.lottery import imp
from lth_utils.masks import Mask
from lth_utils.pruning import Outlook, criterion
from lth_utils.pruning._probe import batches
from lth_utils.store import Store

SEEDS = [0, 1]
EARLY = ("snip", "grasp", "synflow")


@pytest.fixture
def make(toy_task):
    """``make(network, **changes)``: a toy task with its initial weights."""

    def make(network="lenet-300-100", **changes):
        prune = {"conv": 0.2, "shortcut": 0.2, "linear": 0.2, "output": 0.2}
        task = replace(toy_task, network=network, prune=prune, **changes)
        return task, task.init(SEEDS)

    return make


def seen(task, seed):
    """Everything that a criterion looks at for a seed, as one batch in double precision."""
    images, labels = (torch.cat(part) for part in zip(*batches(task, seed, 0), strict=True))
    return images.double(), labels


def gradients(task, weights, seed, squared=False):
    """By automatic differentiation of a hand-written LeNet: g, or half the gradient of |g|²."""
    images, labels = seen(task, seed)
    w = {n: v.double().requires_grad_(n.endswith("weight")) for n, v in weights.items()}
    x = images.flatten(1)
    for layer in ("fc1", "fc2", "output"):
        x = x @ w[f"{layer}.weight"].T + w[f"{layer}.bias"]
        x = x if layer == "output" else x.clamp(min=0)
    losses = torch.logsumexp(x, 1) - x[torch.arange(len(labels)), labels]
    wanted = [v for v in w.values() if v.requires_grad]
    g = torch.autograd.grad(losses.mean(), wanted, create_graph=squared)
    if squared:
        g = torch.autograd.grad(sum((part**2).sum() for part in g) / 2, wanted)
    return dict(zip([n for n in w if n.endswith("weight")], g, strict=True))


def close(a, b, rtol=1e-3, atol=1e-6):
    torch.testing.assert_close(a.double(), b.double(), rtol=rtol, atol=atol)


# SNIP ---------------------------------------------------------------------------------------------


def test_snip_s_gradient_is_that_of_a_loop_written_by_hand(make):
    """The mean of absolute gradients, a sum for a mean, or other images."""
    task, weights = make()
    outlook = Outlook(task, weights, SEEDS)
    for r, seed in enumerate(SEEDS):
        own = gradients(task, {n: w[r] for n, w in weights.items()}, seed)
        for name, g in own.items():
            close(outlook.gradient[name][r], g)


def test_snip_keeps_what_changes_the_loss_most_if_it_is_scaled(make):
    """The derivative of the loss by a gate on each weight, by finite differences (Lee et al.,
    2019, equation 3); a sign that counts, or a weight left out."""
    task, weights = make()
    mask = pruning.snip(weights, task.dense_mask(SEEDS), 0.7, "global", task=task, seeds=SEEDS)
    images, labels = seen(task, SEEDS[0])
    net = models.to_module(task.model, weights, 0).double()

    def loss():
        with torch.no_grad():
            return F.cross_entropy(net(images), labels).item()

    # Of the outermost layer, where a small step crosses no kink.
    w, kept = net.output.weight.data, mask["output.weight"][0]
    effect = torch.zeros_like(w)
    for i in range(w.numel()):
        value, ends = w.flatten()[i].item(), []
        for gate in (1 + 1e-4, 1 - 1e-4):
            w.view(-1)[i] = gate * value
            ends.append(loss())
        w.view(-1)[i] = value
        effect.view(-1)[i] = abs(ends[0] - ends[1]) / 2e-4
    assert 0 < kept.sum() < kept.numel()
    assert effect[kept].min() >= effect[~kept].max() - 1e-6
    g = Outlook(task, weights, SEEDS).gradient["output.weight"][0]
    close((w * g).abs(), effect, rtol=1e-2)


# GraSP --------------------------------------------------------------------------------------------


def test_grasp_s_product_is_half_the_gradient_of_the_squared_gradient(make):
    """The Hessian of another batch than the gradient's, or a factor that differs by layer."""
    task, weights = make()
    outlook = Outlook(task, weights, SEEDS)
    for r, seed in enumerate(SEEDS):
        own = gradients(task, {n: w[r] for n, w in weights.items()}, seed, squared=True)
        for name, product in own.items():
            close(outlook.hessian_gradient[name][r], product)


def test_grasp_keeps_what_the_length_of_the_gradient_needs(make):
    """The wrong way round: it would keep the weights whose removal makes the gradient longer. By
    finite differences of |g|² in a gate on each weight of the last layer."""
    task, weights = make()
    mask = pruning.grasp(weights, task.dense_mask(SEEDS), 0.5, "layer", task=task, seeds=SEEDS)
    name, alone = "output.weight", {n: w[0].double() for n, w in weights.items()}

    def length(gate, i):
        w = alone[name].clone()
        w.view(-1)[i] *= gate
        g = gradients(task, {n: v.detach() for n, v in (alone | {name: w}).items()}, SEEDS[0])
        return sum((part**2).sum() for part in g.values()).item()

    kept = mask[name][0].flatten()
    lost = torch.tensor([length(1 + 1e-4, i) - length(1 - 1e-4, i) for i in range(len(kept))])
    assert lost.max() > 0 > lost.min()
    assert lost[kept].min() >= lost[~kept].max() - 1e-9
    # The weights that go would have lengthened the gradient most.
    assert not kept[lost.argmin()] and kept[lost.argmax()]


# SynFlow ------------------------------------------------------------------------------------------


def test_synflow_is_a_sum_over_paths(make):
    """Of a tiny network, path by path: the product of absolute weights, whatever the data."""
    task, weights = make(width=0.01)
    a, b, c = (weights[f"{layer}.weight"][0].double().abs() for layer in ("fc1", "fc2", "output"))
    scores = [torch.zeros_like(w) for w in (a, b, c)]
    for i in range(a.shape[1]):
        for j in range(a.shape[0]):
            for k in range(b.shape[0]):
                for m in range(c.shape[0]):
                    path = a[j, i] * b[k, j] * c[m, k]
                    for score, at in zip(scores, ((j, i), (k, j), (m, k)), strict=True):
                        score[at] += path
    outlook = Outlook(task, weights, None)
    for score, w, name in zip(scores, (a, b, c), outlook.flow, strict=True):
        close(outlook.flow[name][0] * w, score, rtol=1e-9, atol=0)


@pytest.mark.parametrize("network", ["lenet-300-100", "conv-2", "vgg-11", "vgg-11-plain"])
def test_what_flows_is_conserved_from_layer_to_layer_and_unit_to_unit(network, make_wide):
    """Tanaka et al. (2020), theorems 1 and 2: biases that add to it, or negative weights."""
    task, weights = make_wide(network)
    for name, w in weights.items():  # a network whose shifts are not neutral
        if name.endswith(("bias", "running_mean")):
            weights[name] = w + 1.0
    flow = Outlook(task, weights, None).flow
    scores = {n: flow[n] * weights[n].double().abs() for n in flow}
    totals = torch.stack([s.flatten(1).sum(1) for s in scores.values()])
    close(totals, totals[:1].expand_as(totals), rtol=1e-9, atol=0)
    first, second, *_ = scores.values()
    if second.dim() == first.dim():  # what comes into a unit leaves it
        close(first.flatten(2).sum(2), second.transpose(1, 2).flatten(2).sum(2), rtol=1e-9, atol=0)


@pytest.fixture
def make_wide(make_dataset, monkeypatch):
    """``make_wide(network)``: a task on toy pictures large enough for convolutions."""
    from lth_utils import datasets, tasks
    from lth_utils.recipes import Adam, Recipe

    pictures = make_dataset(60, 20, 20, shape=(3, 16, 16))
    monkeypatch.setattr(datasets, "load", lambda name, *args, **options: pictures)

    def make(network, **changes):
        task = tasks.Task(
            name="toy-pictures",
            title="Toy",
            network=network,
            dataset="toy",
            recipe=Recipe("20it", 10, Adam(0.01), every="5it"),
            prune={"conv": 0.2, "shortcut": 0.2, "linear": 0.2, "output": 0.2},
            scope="global",
            width=0.06,
            **changes,
        )
        return task, task.init(SEEDS)

    return make


def test_synflow_never_empties_a_layer_where_other_criteria_do(make_wide):
    """One round in place of a hundred, or scores that are not those of what is left."""
    task, _ = make_wide("vgg-11")
    table = anatomy.collapse(task, ["snip", "synflow"], [0.005], SEEDS)
    empty = table.groupby("criterion").empty_layers
    assert empty.max()["synflow"] == 0 < empty.min()["snip"]
    pruned_once = criterion(pruning.synflow.scores)  # registers anew: put back below
    weights, dense = task.init(SEEDS), task.dense_mask(SEEDS)
    pruning.CRITERIA["synflow"] = pruning.synflow
    once = pruned_once(weights, dense, 0.995, "global", task=task)
    assert (anatomy.empty_layers(once) > 0).all()


def test_synflow_needs_no_data_and_no_seeds(make, monkeypatch):
    task, weights = make()
    monkeypatch.setattr(type(task.data), "normalise", None)
    pruning.synflow(weights, task.dense_mask(SEEDS), 0.5, task=task)
    with pytest.raises(InputError, match=r"pass task=\.\.\."):
        pruning.synflow(weights, task.dense_mask(SEEDS), 0.5)


# Rounds -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scope", ["layer", "global", "erdos-renyi"])
@pytest.mark.parametrize("rounds", [1, 7, 100])
def test_rounds_remove_exactly_what_one_round_does(make, monkeypatch, scope, rounds):
    """A rounding at each round that adds up; layers that lose what they should not."""
    monkeypatch.setattr(pruning._criteria, "CRITERIA", {})
    task, weights = make()
    asked = []

    @criterion(rounds=rounds)
    def watched(layer):
        asked.append(layer.kept)
        return layer.weights.abs()

    fractions = {"fc1.weight": 0.9, "fc2.weight": 0.55, "output.weight": 0.0}
    dense = task.dense_mask(SEEDS)
    begun = pruning.magnitude(weights, dense, 0.2)
    left = watched(weights, begun, fractions, scope)
    once = pruning.magnitude(weights, begun, fractions, scope)
    if scope != "erdos-renyi":  # which divides anew what is to go in each round
        assert left == once
    assert left.kept.tolist() == once.kept.tolist() and left <= begun
    assert torch.equal(left["output.weight"], begun["output.weight"])
    firsts = asked[:: len(dense)]
    assert len(asked) == rounds * len(dense)
    counts = [int(kept[0].sum()) for kept in firsts]
    assert counts == sorted(counts, reverse=True)
    if rounds > 1:  # by the same factor each time
        ratio = 0.1 ** (1 / rounds)
        if scope == "layer":
            assert counts[1] / counts[0] == pytest.approx(ratio, abs=1 / counts[1])


def test_each_round_scores_what_the_last_has_left(make, monkeypatch):
    """A hundred rounds of the dense network's scores."""
    monkeypatch.setattr(pruning._criteria, "CRITERIA", {})
    task, weights = make()
    asked = []

    @criterion(rounds=5)
    def watched(layer):
        asked.append((layer.kept, layer.flow))
        return layer.weights.abs() * layer.flow

    watched(weights, task.dense_mask(SEEDS), 0.9, "global", task=task)
    for (kept, flow), (later, less) in zip(asked[::3], asked[3::3], strict=False):
        assert (later <= kept).all() and not torch.equal(later, kept)
        assert (less <= flow + 1e-12).all() and not torch.equal(less, flow)


# Batch norm, dropout, and what stays as it was ----------------------------------------------------


@pytest.mark.parametrize("network", ["vgg-11", "resnet-20"])
def test_the_loss_is_that_of_a_first_step_of_training(make_wide, network):
    """Statistics that nothing has filled yet: at the start they would do nothing at all."""
    task, weights = make_wide(network)
    found = Outlook(task, weights, SEEDS).gradient
    net = models.to_module(task.model, weights, 0).train()
    total = {n: 0 for n in found}
    for images, labels in batches(task, SEEDS[0], 0):
        net.zero_grad()
        F.cross_entropy(net(images), labels).backward()
        total = {n: t + net.get_parameter(n).grad / 20 for n, t in total.items()}
    for name, g in total.items():
        close(found[name][0], g, rtol=1e-2, atol=1e-5)


def test_a_look_changes_nothing(make_wide):
    """A count of batches, a statistic or a mode that another computation would then find."""
    task, weights = make_wide("resnet-20")
    model = task.model.train()
    model.bn.eval()
    modes = [m.training for m in model.modules()]
    values = {n: v.clone() for n, v in model.state_dict().items()}
    given = {n: w.clone() for n, w in weights.items()}
    outlook = Outlook(task, weights, SEEDS)
    assert outlook.hessian_gradient and outlook.flow
    assert [m.training for m in model.modules()] == modes
    assert all(torch.equal(v, values[n]) for n, v in model.state_dict().items())
    assert all(torch.equal(w, given[n]) and not w.requires_grad for n, w in weights.items())


def test_nothing_is_left_out_by_dropout(make):
    task, weights = make()
    dropped = replace(task, dropout=0.5)
    for part in ("gradient", "hessian_gradient", "flow"):
        one, other = (getattr(Outlook(t, weights, SEEDS), part) for t in (task, dropped))
        for n in one:
            close(one[n], other[n], rtol=1e-5)


def test_a_member_alone_is_the_member_in_the_population(make):
    task, weights = make()
    together = Outlook(task, weights, SEEDS, 1)
    alone = Outlook(task, {n: w[1:] for n, w in weights.items()}, SEEDS[1:], 1)
    for part in ("gradient", "hessian_gradient", "flow"):
        for name, x in getattr(together, part).items():
            close(getattr(alone, part)[name][0], x[1], rtol=1e-5)


@pytest.mark.parametrize("name", EARLY)
def test_pruned_weights_are_zero_for_whoever_looks(make, name):
    """The gradient of a network that nobody will train."""
    task, weights = make()
    mask = pruning.magnitude(weights, task.dense_mask(SEEDS), 0.5)
    filled = {n: torch.where(mask[n], w, 10.0) if n in mask else w for n, w in weights.items()}
    prune = pruning.by_name(name)
    found = prune(mask.apply(weights), mask, 0.3, seeds=SEEDS, task=task)
    assert found == prune(filled, mask, 0.3, seeds=SEEDS, task=task)
    assert found <= mask and found != mask


@pytest.mark.parametrize("name", ["snip", "grasp"])
@pytest.mark.parametrize("lacks", ["task", "seeds"])
def test_a_criterion_that_looks_at_images_says_what_it_needs(make, name, lacks):
    task, weights = make()
    given = {"task": task, "seeds": SEEDS} | {lacks: None}
    with pytest.raises(InputError, match=r"looks at training images: pass task=... and seeds"):
        pruning.by_name(name)(weights, task.dense_mask(SEEDS), 0.2, **given)


# In the procedure, and what is gone ---------------------------------------------------------------


@pytest.mark.parametrize("name", EARLY)
def test_networks_are_pruned_at_initialisation_by_the_whole_procedure(toy_task, tmp_path, name):
    """Trained weights under a criterion for untrained ones."""
    how = {"criterion": name, "scope": "global", "one_shot": True, "prune_at": "0%"}
    found = imp(toy_task, levels=1, treatments=("ticket",), store=Store(tmp_path), **how)
    seeds = toy_task.seeds
    start, dense = toy_task.init(seeds), toy_task.dense_mask(seeds)
    shares = toy_task.fractions
    kept = {n: 1 - (k[0].numel() - round(shares[n] * k[0].numel())) / k[0].numel()
            for n, k in dense.items()}  # fmt: skip
    prune = pruning.by_name(name)
    mask = prune(start, dense, kept, "global", start=start, seeds=seeds, level=1, task=toy_task)
    assert found.tickets[0].mask == mask


def test_empty_layers_are_counted_for_each_member():
    kept = torch.tensor([[[True, False]], [[False, False]]])
    mask = Mask({"a": kept, "b": ~kept, "c": torch.zeros_like(kept)})
    assert anatomy.empty_layers(mask).tolist() == [1, 2]


def test_the_table_of_a_collapse_adds_up(make_wide):
    task, _ = make_wide("vgg-11")
    table = anatomy.collapse(task, ["magnitude"], [0.5, 0.1], SEEDS)
    assert list(table.groupby("density").empty_layers.min()) == [0, 0]
    for density, rows in table.groupby("density"):
        per_member = rows.groupby("replicate")
        size = task.dense_mask(SEEDS).size
        assert (per_member["size"].sum() == size).all()
        gone = sum(round((1 - density) * n) for n in rows[rows.replicate == 0]["size"])
        assert (per_member.kept.sum() == size - gone).all()
    with pytest.raises(InputError, match="from 0 to 1"):
        anatomy.collapse(task, ["magnitude"], [1.5], SEEDS)


def test_a_network_of_a_reader_s_own_can_be_pruned_before_training(make):
    task, _ = make()
    task.__dict__["model"] = nn.Sequential(
        nn.Flatten(), nn.Linear(16, 6), nn.ReLU(), nn.Linear(6, 4)
    )
    weights = task.init(SEEDS)
    for name in EARLY:
        prune, dense = pruning.by_name(name), task.dense_mask(SEEDS)
        assert prune(weights, dense, 0.5, seeds=SEEDS, task=task).kept.tolist() == [60, 60]
