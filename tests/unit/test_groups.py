"""Whole heads: a head goes or stays, and as many go as were asked for."""

import pytest
import torch

from lth_utils import models, pruning, training
from lth_utils.errors import InputError
from lth_utils.lottery import imp
from lth_utils.pruning import heads_at_random, heads_by_loss, heads_by_magnitude, magnitude
from lth_utils.recipes import Adam, Recipe
from lth_utils.store import Store
from lth_utils.tasks import Task

SEEDS = (0, 1)


@pytest.fixture
def task(little_text):
    task = Task(
        name="toy-text",
        title="Transformer",
        network="transformer-2",
        dataset="python-docs",
        recipe=Recipe("4it", 4, Adam(0.01), every="2it"),
        prune={"linear": 0.3, "output": 0.3},
        levels=2,
        replicates=2,
        width=0.25,
    )
    task.__dict__["data"] = little_text
    return task


def fractions(task, share):
    return {name: share if "attention" in name else 0.0 for name in models.prunable(task.model)}


def kept_heads(task, mask):
    """Names of the heads kept by each member, each of them whole."""
    found = [[] for _ in range(mask.members)]
    for head, part in models.heads(task.model).items():
        for r in range(mask.members):
            kept = torch.cat([mask[n][r][where].flatten() for n, where in part.items()])
            assert kept.all() or not kept.any()
            if kept.all():
                found[r].append(head)
    return found


@pytest.mark.parametrize("criterion", [heads_by_magnitude, heads_by_loss, heads_at_random])
def test_heads_go_whole_and_one_at_a_time(criterion, task, monkeypatch):
    """A mask that keeps a little of every head, and no structure to remove."""
    monkeypatch.setattr("lth_utils.pruning._groups.IMAGES", 2)
    weights, mask = task.init(SEEDS), task.dense_mask(SEEDS)
    for left in range(7, 0, -1):
        share = fractions(task, 1 / (left + 1))
        smaller = criterion(weights, mask, share, "global", seeds=SEEDS, level=left, task=task)
        assert all(len(heads) == left for heads in kept_heads(task, smaller))
        assert (smaller & mask) == smaller
        assert all(smaller[n].all() for n in mask if "attention" not in n)
        mask = smaller


def test_the_smallest_head_goes_first(task):
    weights, parts = task.init(SEEDS), list(models.heads(task.model).values())
    for r, head in ((0, 6), (1, 2)):
        for name, where in parts[head].items():
            weights[name][r][where] *= 0.01
    mask = task.dense_mask(SEEDS)
    found = heads_by_magnitude(weights, mask, fractions(task, 1 / 8), "global", task=task)
    names = list(models.heads(task.model))
    assert [set(names) - set(h) for h in kept_heads(task, found)] == [{names[6]}, {names[2]}]


def test_a_head_that_says_nothing_is_not_missed(task):
    """Loss without the head, not of the head alone, and not the higher the better."""
    weights, parts = task.init(SEEDS), list(models.heads(task.model).values())
    seen = task.data.train
    costs = []
    for part in parts:
        without = {n: w.clone() for n, w in weights.items()}
        for name, where in part.items():
            without[name][:, where[0], where[1]] = 0
        costs.append(training.evaluate(task.model, without, task.data, seen)[0])
    least = torch.stack(costs).argmin(0).tolist()
    mask = task.dense_mask(SEEDS)
    found = heads_by_loss(weights, mask, fractions(task, 1 / 8), "global", task=task)
    names = list(models.heads(task.model))
    assert [set(names) - set(h) for h in kept_heads(task, found)] == [{names[i]} for i in least]


def test_random_heads_differ_by_seed_and_level_and_are_drawn_again_alike(task):
    weights, mask = task.init(range(8)), task.dense_mask(range(8))

    def drawn(level):
        share = fractions(task, 1 / 2)
        options = {"seeds": range(8), "level": level, "task": task}
        return kept_heads(task, heads_at_random(weights, mask, share, "global", **options))

    assert drawn(1) == drawn(1) != drawn(2) and len(set(map(tuple, drawn(1)))) > 1


def test_equal_scores_do_not_cut_a_head(task):
    """Dead heads tie: by position a row of each would go."""
    weights = {n: torch.ones_like(w) for n, w in task.init(SEEDS).items()}
    mask = task.dense_mask(SEEDS)
    found = heads_by_magnitude(weights, mask, fractions(task, 1 / 4), "global", task=task)
    assert all(len(heads) == 6 for heads in kept_heads(task, found))


def test_what_would_cut_a_head_is_refused(task):
    weights, mask = task.init(SEEDS), task.dense_mask(SEEDS)
    with pytest.raises(InputError, match="cut a group in two"):
        heads_by_magnitude(weights, mask, fractions(task, 0.2), "global", task=task)
    with pytest.raises(InputError, match="is part of no group"):
        heads_by_magnitude(weights, mask, 1 / 8, "global", task=task)
    with pytest.raises(InputError, match="pass task=..."):
        heads_by_magnitude(weights, mask, fractions(task, 1 / 8), "global")
    with pytest.raises(InputError, match="pass seeds=..."):
        heads_at_random(weights, mask, fractions(task, 1 / 8), "global", task=task)


def test_a_network_without_heads_is_refused(toy_task):
    weights, mask = toy_task.init(SEEDS), toy_task.dense_mask(SEEDS)
    with pytest.raises(InputError, match="has no such groups"):
        heads_by_magnitude(weights, mask, 0.5, "global", task=toy_task)


def test_tickets_of_heads_have_the_weights_that_unstructured_ones_have(task, tmp_path):
    """The comparison at equal weights, and a head that comes back at a later level."""
    shares = [fractions(task, 1 / 8), fractions(task, 1 / 7)]
    options = {
        "fractions": shares, "scope": "global", "treatments": ("ticket",), "rewind": "1it",
        "seeds": (0,),
    }  # fmt: skip
    found = {
        criterion: imp(task, criterion=criterion, store=Store(tmp_path), **options)
        for criterion in (heads_by_magnitude, magnitude)
    }
    heads, single = found[heads_by_magnitude].tickets, found[magnitude].tickets
    for level, left in ((0, 7), (1, 6)):
        assert all(len(h) == left for h in kept_heads(task, heads[level].mask))
        counts = [
            sum(m[n].sum().item() for n in m) for m in (heads[level].mask, single[level].mask)
        ]
        assert abs(counts[0] - counts[1]) <= 2 * len(heads[0].mask)
    assert (heads[1].mask & heads[0].mask) == heads[1].mask
    names = {task.table.study.iloc[0] for task in found.values()}
    assert names == {"toy-text"}


def test_a_reader_may_group_other_things(task):
    """Rows of the output layer: five lines for a new criterion."""

    @pruning.grouped(
        lambda model: {str(i): {"output.weight": (slice(i, i + 1),)} for i in range(96)}
    )
    def rows(now):
        return now.total({n: w.abs() for n, w in now.weights.items()})

    share = dict.fromkeys(models.prunable(task.model), 0.0) | {"output.weight": 0.25}
    mask = rows(task.init(SEEDS), task.dense_mask(SEEDS), share, "global", task=task)
    per_row = mask["output.weight"].float().mean(2)
    assert set(per_row.flatten().tolist()) == {0.0, 1.0} and per_row.mean().item() == 0.75
