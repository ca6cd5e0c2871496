"""One-shot pruning: the iterative densities, every mask from the dense network."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from lth_utils import models, pruning, tasks
from lth_utils.controls import TREATMENTS, treatment
from lth_utils.errors import InputError
from lth_utils.lottery import imp, predict
from lth_utils.lottery._imp import _Design
from lth_utils.lottery._units import Bench
from lth_utils.masks import Mask
from lth_utils.store import Store

NAMES = ("ticket", "reinit")


@pytest.fixture
def task(toy_task):
    """Short trainings; three levels, at which 75 weights times 0.3 is a half to be rounded."""
    return replace(toy_task, levels=3, recipe=replace(toy_task.recipe, duration="6it"))


@pytest.fixture
def trainings(monkeypatch):
    """Every training that is done, as (seeds, start, mask)."""
    done, train = [], tasks.Task.train

    def counted(self, start, mask, seeds, *args, **options):
        done.append((list(seeds), start, mask))
        return train(self, start, mask, seeds, *args, **options)

    monkeypatch.setattr(tasks.Task, "train", counted)
    return done


def design(task, levels=None, names=NAMES, fractions=None, scope=None, one_shot=True):
    return _Design.of(task, levels, None, "0it", names, "magnitude", fractions, scope, one_shot)


def iterative(size, share, level):
    """How many weights of a layer remain, by the rule alone."""
    for _ in range(level):
        size -= round(share * size)
    return size


# Counts -------------------------------------------------------------------------------------------


def test_every_layer_keeps_exactly_what_iterative_pruning_keeps(task):
    """A density computed by a formula is a weight or two off what rounding leaves."""
    shots, steps = (imp(task, one_shot=o, treatments=("ticket",)) for o in (True, False))
    for shot, step in zip(shots.tickets, steps.tickets, strict=True):
        assert shot.mask.counts().equals(step.mask.counts())
        assert shot.level == step.level
    columns = ["level", "replicate", "density"]
    assert shots.table[columns].equals(steps.table[columns])


@pytest.mark.parametrize("scale", tasks.SCALES)
@pytest.mark.parametrize("name", ["lenet-300-100", "conv-2", "conv-6"])
def test_the_counts_are_exact_at_every_level_of_the_paper(task, name, scale):
    """Where fractions of several layers, and 24 levels, round in many ways."""
    shape = (1, 28, 28) if name == "lenet-300-100" else (3, 32, 32)
    width = {"smoke": 0.05, "live": 0.125, "paper": 0.25}[scale]
    sizes = {
        n: torch.Size(s).numel()
        for n, s in models.dense_mask(models.build(name, shape, 10, width)).shapes.items()
    }
    stride = {"smoke": 7, "live": 3, "paper": 1}[scale]
    shares = {"conv": 0.1, "linear": 0.2, "output": 0.1}
    whole = replace(
        task, network=name, width=width, prune=shares, stride=stride, levels=24 // stride
    )
    whole.__dict__["model"] = models.build(name, shape, 10, width)
    plan = design(whole)
    for level in range(1, whole.levels + 1):
        for n, fraction in plan.fractions_at(level).items():
            removed = round(fraction * sizes[n])  # as pruning itself counts
            assert sizes[n] - removed == iterative(sizes[n], whole.fractions[n], level)
    assert design(whole, one_shot=False).fractions_at(5) == whole.fractions


def test_one_number_stands_for_every_layer(task):
    found = imp(task, fractions=0.5, one_shot=True, treatments=("ticket",), levels=2)
    kept = found.tickets[1].mask.member(0).counts().set_index("layer").kept
    assert kept.to_dict() == {"fc1.weight": 60, "fc2.weight": 19, "output.weight": 5}


def test_all_or_nothing_can_go_at_once(task):
    for share, kept in ((0.0, 335), (1.0, 0)):
        found = imp(task, fractions=share, one_shot=True, treatments=("ticket",), levels=2)
        assert {int(n) for ticket in found.tickets for n in ticket.mask.kept} == {kept}


def test_global_pruning_keeps_the_total_that_layers_would(task):
    """Iterative global pruning rounds what each layer has left by then, so this is near, not
    equal."""
    shots, steps = (imp(task, one_shot=o, scope="global", treatments=("ticket",), fractions=0.3)
                    for o in (True, False))  # fmt: skip
    sizes = (240, 75, 20)
    for level, (shot, step) in enumerate(zip(shots.tickets, steps.tickets, strict=True), start=1):
        total = sum(iterative(size, 0.3, level) for size in sizes)
        assert shot.mask.kept.tolist() == [total] * 2
        assert (shot.mask.kept - step.mask.kept).abs().max() <= 3 * level / 2
    by_layer = shots.tickets[0].mask.counts()
    assert by_layer.kept.tolist() != [iterative(size, 0.3, 1) for size in sizes for _ in range(2)]


@pytest.mark.parametrize("scope", pruning.SCOPES)
@pytest.mark.parametrize("criterion", ["magnitude", "momentum", "random"])
def test_a_single_level_is_that_of_iterative_pruning(task, scope, criterion):
    """75 times 0.3 is 22.5: what rounds to 22 in one way and to 23 in the other."""
    shot, step = (
        imp(task, levels=1, one_shot=o, scope=scope, criterion=criterion, treatments=("ticket",))
        for o in (True, False)
    )
    assert shot.tickets[0].mask == step.tickets[0].mask
    values = [found.table.drop(columns="study") for found in (shot, step)]
    assert values[0].equals(values[1])


# From the dense network ---------------------------------------------------------------------------


def test_every_mask_is_cut_from_the_dense_network(task):
    """A mask within the one before can come from retrained weights; this is all of it."""
    found = imp(task, one_shot=True, treatments=("ticket",))
    seeds = task.seeds
    start, dense = task.init(seeds), task.dense_mask(seeds)
    trained = task.train(start, dense, seeds).weights
    plan = design(task)
    for ticket in found.tickets:
        fractions = plan.fractions_at(ticket.level)
        assert ticket.mask == pruning.magnitude(trained, dense, fractions)
        assert all(torch.equal(w, start[n]) for n, w in ticket.start.items())
    # Of one ranking, the masks lie within each other.
    assert all(after <= before for before, after in pairwise([t.mask for t in found.tickets]))
    last = imp(task, treatments=("ticket",)).tickets[-1].mask
    assert last != found.tickets[-1].mask  # iterative pruning looks again at every level


def test_what_is_trained_at_a_level_decides_nothing(task, tmp_path):
    masks = [
        [
            t.mask
            for t in imp(
                task, one_shot=True, treatments=names, store=Store(tmp_path / names[0])
            ).tickets
        ]
        for names in (("ticket",), ("fine-tune",), ("reinit", "ticket"))
    ]
    assert masks[0] == masks[1] == masks[2]


def test_fine_tuning_starts_from_the_dense_weights_at_every_level(task, trainings):
    """One-shot pruning and fine-tuning, as it is usually done: not on from the level before."""
    found = imp(task, one_shot=True, treatments=("fine-tune",))
    seeds = task.seeds
    dense = task.train(task.init(seeds), task.dense_mask(seeds), seeds).weights
    levels = trainings[1 : 1 + task.levels]
    assert len(levels) == 3
    for (_, start, mask), ticket in zip(levels, found.tickets, strict=True):
        assert mask == ticket.mask
        assert all(torch.equal(w, dense[n]) for n, w in start.items())


def test_rewinding_and_controls_work_as_ever(task, trainings):
    found = imp(task, one_shot=True, rewind="50%", treatments=("ticket", "reinit", "random mask"))
    seeds = task.seeds
    run = task.train(task.init(seeds), task.dense_mask(seeds), seeds, keep=("50%",))
    for ticket in found.tickets:
        assert all(torch.equal(w, run.at["50%"][n]) for n, w in ticket.start.items())
    assert set(found.table.treatment) == {"dense", "ticket", "reinit", "random mask"}


# Keys and the store -------------------------------------------------------------------------------


def units(task, store, names=NAMES, **options):
    plan = design(task, names=names, **options)
    bench = Bench(task, plan.seeds, plan.settings, store, None, None)
    return bench, bench.keys(plan.plan, plan.kept, plan.one_shot)


def test_the_parents_of_every_level_are_the_dense_units(task, tmp_path):
    """A chain of parents that never trained what is pruned."""
    store = Store(tmp_path)
    imp(task, one_shot=True, treatments=NAMES, store=store)
    _, keys = units(task, store)
    dense = {seed: keys[0, "dense", seed] for seed in task.seeds}
    found = {key: store.load(key).settings for key in keys.values()}
    assert len(found) == len(set(keys.values())) == 2 * (1 + 3 * 2)
    for (level, _, seed), key in keys.items():
        assert found[key]["parent"] == (dense[seed] if level else None)
    imp(task, treatments=NAMES, store=store)
    _, chain = units(task, store, one_shot=False)
    assert store.load(chain[2, "ticket", 0]).settings["parent"] == chain[1, "ticket", 0]


def test_no_unit_but_the_dense_one_is_shared_with_iterative_pruning(task, tmp_path, trainings):
    store = Store(tmp_path)
    _, shot = units(task, store)
    _, step = units(task, store, one_shot=False)
    common = set(shot.values()) & set(step.values())
    assert common == {key for (level, _, _), key in shot.items() if level == 0}
    imp(task, treatments=("ticket",), store=store)
    trainings.clear()
    imp(task, treatments=("ticket",), one_shot=True, store=store)
    assert [seeds for seeds, _, _ in trainings] == [[0, 1]] * 3


def test_keys_are_known_before_anything_is_trained_and_found_again(task, tmp_path, trainings):
    store = Store(tmp_path)
    _, keys = units(task, store)
    first = imp(task, one_shot=True, treatments=NAMES, store=store)
    assert {unit.key for unit in store.units()} == set(keys.values())
    trainings.clear()
    again = imp(task, one_shot=True, treatments=NAMES, store=store)
    assert trainings == [] and again.table.equals(first.table)
    imp(task, one_shot=True, treatments=NAMES, levels=4, store=store)
    assert len(trainings) == 1  # a level more is trained alone: a population of both arms


def test_a_prediction_knows_what_is_stored(task, tmp_path):
    store = Store(tmp_path)
    whole = predict(task, one_shot=True, treatments=NAMES, store=store)
    imp(task, one_shot=True, treatments=NAMES, store=store)
    assert predict(task, one_shot=True, treatments=NAMES, store=store) == 0 < whole
    assert predict(task, treatments=NAMES, store=store) > 0
    assert predict(task, one_shot=True, treatments=NAMES, levels=4, store=store) > 0
    imp(task, treatments=NAMES, store=store)
    assert predict(task, treatments=NAMES, store=store) == 0


def test_a_damaged_dense_unit_is_trained_again_and_the_rest_stays(task, tmp_path, trainings):
    store = Store(tmp_path)
    first = imp(task, one_shot=True, treatments=("ticket",), store=store)
    _, keys = units(task, store, names=("ticket",))
    [folder] = [
        path.parent
        for path in store.root.rglob("end.safetensors")
        if keys[0, "dense", 0] in str(path.parent)
    ]
    weights = folder / "end.safetensors"
    weights.write_bytes(weights.read_bytes()[:-7])
    trainings.clear()
    with pytest.warns(UserWarning, match="damaged"):
        again = imp(task, one_shot=True, treatments=("ticket",), store=store)
    assert [seeds for seeds, _, _ in trainings] == [[0]]
    assert again.table.equals(first.table)


def test_a_chain_under_another_mask_is_refused_here_too(task, monkeypatch):
    monkeypatch.setattr("lth_utils.controls.TREATMENTS", dict(TREATMENTS))

    @treatment("all of it")
    def all_of_it(now):
        return replace(TREATMENTS["ticket"](now), mask=Mask.dense(now.mask.shapes, 2))

    with pytest.raises(InputError, match="'all of it' trains under another mask"):
        imp(task, one_shot=True, treatments=("all of it",))


def test_masks_alone_are_those_of_any_treatments_and_train_nothing_but_the_dense_network(
    task, trainings
):
    trained = imp(task, one_shot=True, treatments=NAMES)
    del trainings[:]
    alone = imp(task, one_shot=True, treatments=())
    assert [seeds for seeds, _, _ in trainings] == []  # the dense one is shared, too
    assert set(alone.table.treatment) == {"dense"}
    assert [t.mask for t in alone.tickets] == [t.mask for t in trained.tickets]
    assert predict(task, one_shot=True, treatments=()) == 0


def test_many_levels_with_no_treatment_have_nothing_to_go_on_from(task):
    with pytest.raises(InputError, match="at least one treatment"):
        imp(task, treatments=())
