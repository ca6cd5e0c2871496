"""Structures: units that go as a whole, and a smaller network that computes the same."""

import copy

import pytest
import torch

import lth_utils as lth
from lth_utils import datasets, models, structures, tasks
from lth_utils.errors import InputError
from lth_utils.masks import Mask
from lth_utils.models import forward
from lth_utils.recipes import Adam, Recipe

PICTURE = (3, 16, 16)
NETWORKS = {
    "lenet": (lambda: models.LeNet((1, 6, 6), 10, 0.05), (1, 6, 6)),
    "conv-2": (lambda: models.Conv(PICTURE, 10, 0.05, 2), PICTURE),
    "vgg-11": (lambda: models.VGG(PICTURE, 10, 0.03, 11), PICTURE),
    "resnet-8": (lambda: models.ResNet(PICTURE, 10, 0.4, 8), PICTURE),
    "resnet-50": (lambda: models.ResNet50(PICTURE, 10, 0.05), PICTURE),
    "transformer": (lambda: models.Transformer((1, 1, 8), 12, 0.25), (1, 1, 8)),
}


@pytest.fixture(params=NETWORKS)
def case(request):
    """A network whose every weight, also of batch norm, is worth something, and inputs for it."""
    build, shape = NETWORKS[request.param]
    model, generator = build(), torch.Generator().manual_seed(3)
    weights = {
        name: w + 0.3 * torch.rand(w.shape, generator=generator)
        for name, w in models.initialise(model, [0]).items()
    }
    x = torch.randn(5, *shape, generator=generator)
    if request.param == "transformer":
        x = torch.randint(12, (5, *shape), generator=generator)
    return model, weights, shape, x


def kept_units(mask, group, member=0):
    """For each unit, how many of its weights are kept: in, out."""
    counts = torch.zeros(2, group.size, dtype=torch.long)
    for name, axis, at, unit in group.parts:
        each = mask[name][member].transpose(0, axis).flatten(1).sum(1)
        counts[axis].index_add_(0, unit, each[at])
    return counts


# Masks --------------------------------------------------------------------------------------------


def test_a_unit_goes_as_a_whole_with_all_that_leads_in_and_out(case):
    """A filter whose channel is still read, or a neuron that keeps a bias acting on the next."""
    model, weights, shape, _ = case
    mask = structures.prune(model, weights, shape, share=0.5)
    for group in structures.groups(model, shape):
        into, out = kept_units(mask, group)
        assert ((into > 0) == (out > 0)).all()
        assert (out > 0).sum() == max(1, round(0.5 * group.size))


def test_inputs_and_classes_are_no_units(case):
    model, weights, shape, _ = case
    mask = structures.prune(model, weights, shape, share=0.01)
    names = list(models.prunable(model))
    assert mask[names[-1]].flatten(2).any(2).all()  # every class is still read
    first = mask[names[0]][0].flatten(1)
    if len(shape) == 3 and "character.weight" not in weights:
        assert first.any(0).all()  # and every pixel or colour


def test_no_more_is_kept_than_asked_for_and_nearly_as_much():
    """Comparisons at equal weights in which one side has more."""
    model = models.LeNet()
    weights = models.initialise(model, [0])
    for density in (0.9, 0.5, 0.1, 0.03):
        kept = structures.prune(model, weights, (1, 28, 28), density=density).density.item()
        assert density - 0.004 < kept <= density


def test_the_units_of_least_norm_go():
    model = models.LeNet((1, 2, 2), 3, 0.02)  # 6 units, then 2
    weights = {name: torch.ones_like(w) for name, w in models.initialise(model, [0]).items()}
    weights["fc1.weight"][0, [1, 4]] = 0.1  # small rows, whose columns
    weights["fc2.weight"][0, :, 4] = 9.0  # make up for one of them
    mask = structures.prune(model, weights, (1, 2, 2), share=5 / 6)
    assert (~mask["fc1.weight"][0].any(1)).nonzero().flatten().tolist() == [1]
    assert (~mask["fc2.weight"][0].any(0)).nonzero().flatten().tolist() == [1]


def test_masks_of_fewer_units_lie_one_in_another(case):
    model, weights, shape, _ = case
    many = structures.prune(model, weights, shape, share=0.7)
    for criterion in structures.CRITERIA:
        few = structures.prune(
            model, many.apply(weights), shape, share=0.4, criterion=criterion, seeds=[5], level=2
        )
        assert few <= many


def test_units_at_random_depend_on_the_seed_and_nothing_else():
    model, shape = models.LeNet((1, 4, 4), 10, 0.1), (1, 4, 4)
    weights = models.initialise(model, [0, 1])
    one = structures.prune(model, weights, shape, share=0.5, criterion="random", seeds=[7, 8])
    other = {name: w.flip(0) for name, w in weights.items()}
    again = structures.prune(model, other, shape, share=0.5, criterion="random", seeds=[8, 7])
    assert one.member(0) == again.member(1) != one.member(1)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({}, "Give either the density"),
        ({"share": 0.5, "density": 0.5}, "Give either the density"),
        ({"share": 0.0}, "more than 0 and at most 1; got 0"),
        ({"density": 1.5}, "more than 0 and at most 1; got 1.5"),
        ({"share": 0.5, "criterion": "random"}, "need seeds"),
        ({"share": 0.5, "criterion": "size"}, "magnitude, random"),
    ],
)
def test_what_cannot_be_asked_for_is_refused(asked, words):
    model = models.LeNet((1, 4, 4), 10, 0.1)
    with pytest.raises(InputError, match=words):
        structures.prune(model, models.initialise(model, [0]), (1, 4, 4), **asked)


# The smaller network ------------------------------------------------------------------------------


def test_the_smaller_network_computes_what_the_full_one_does_without_the_units(case):
    """A channel cut from a convolution and not from its batch norm or from a sum of blocks; a
    head cut in the wrong place."""
    model, weights, shape, x = case
    before = copy.deepcopy(model.state_dict())
    mask = structures.prune(model, weights, shape, share=0.4)
    small = structures.remove(model, weights, mask, shape)
    full = forward(model, mask.apply(weights), x)
    torch.testing.assert_close(forward(small.model, small.weights, x), full, rtol=1e-4, atol=1e-4)
    assert (full - forward(model, weights, x)).abs().max() > 1e-3  # so that it could differ
    assert small.mask.kept.item() == small.mask.size == mask.kept.item()
    assert small.saved == pytest.approx(1 - mask.density.item())
    assert all((before[name] == w).all() for name, w in model.state_dict().items())


def test_under_any_other_mask_only_what_nothing_reads_is_removed(case):
    model, weights, shape, x = case
    generator = torch.Generator().manual_seed(1)
    shapes = models.dense_mask(model).shapes
    mask = Mask({n: torch.rand(1, *s, generator=generator) < 0.2 for n, s in shapes.items()})
    small = structures.remove(model, weights, mask, shape)
    torch.testing.assert_close(
        forward(small.model, small.weights, x),
        forward(model, mask.apply(weights), x),
        rtol=1e-4,
        atol=1e-4,
    )


def test_other_weights_are_cut_alike_and_come_back(case):
    model, weights, shape, _ = case
    mask = structures.prune(model, weights, shape, share=0.4)
    small = structures.remove(model, weights, mask, shape)
    others = models.initialise(model, [1, 2])
    cut = small.cut(others)
    models.check_weights(small.model, cut)
    back = small.restore(cut)
    for name in models.prunable(model):
        assert torch.equal(back[name], others[name] * mask[name])
    with pytest.raises(InputError):
        small.restore(others)


def test_of_a_group_that_is_dead_one_unit_stays():
    model, shape = models.LeNet((1, 4, 4), 10, 0.1), (1, 4, 4)
    weights, mask = models.initialise(model, [0]), models.dense_mask(model)
    nothing = Mask({name: torch.zeros_like(kept) for name, kept in mask.items()})
    small = structures.remove(model, weights, nothing, shape)
    assert [len(w[0]) for n, w in small.weights.items() if n.endswith("weight")] == [1, 1, 10]


def test_the_smaller_network_trains_as_the_masked_one_does():
    """A network that cannot be trained, or whose units move apart from those of the full one."""
    data = datasets.load("shapes-32").subset(60, 10, 20)
    model, shape = models.Conv(data.input_shape, 10, 0.06, 2), data.input_shape
    start = {name: w.double() for name, w in models.initialise(model.double(), [0]).items()}
    mask = structures.prune(model, start, shape, share=0.5)
    small = structures.remove(model, start, mask, shape)
    small_model, small_start = small.model.double(), small.cut(start)
    recipe = Recipe("8it", 10, Adam(0.01), every="8it")
    run = lth.train(small_model, small_start, small.mask, data, recipe, [0])
    full = lth.train(model, start, mask, data, recipe, [0])
    for name, w in small.cut(full.weights).items():
        torch.testing.assert_close(run.weights[name], w)


# As a criterion -----------------------------------------------------------------------------------


@pytest.mark.parametrize("criterion", [structures.units, structures.random_units])
@pytest.mark.parametrize("one_shot", [True, False])
def test_imp_prunes_units_level_by_level(criterion, one_shot):
    """More weights than unstructured pruning leaves, or units that come back."""
    task = tasks.LENET_MNIST.at("smoke")
    options = {"seeds": [0, 1], "levels": 2, "treatments": ("ticket",)}
    found = lth.imp(task, criterion=criterion, one_shot=one_shot, progress=False, **options)
    single = lth.imp(task, one_shot=one_shot, progress=False, **options)
    groups = structures.groups(task.model, task.data.input_shape)
    for ours, theirs in zip(found.tickets, single.tickets, strict=True):
        assert 0 < (theirs.mask.density - ours.mask.density).max() < 0.01
        for member in (0, 1):
            for group in groups:
                into, out = kept_units(ours.mask, group, member)
                assert ((into > 0) == (out > 0)).all()
    if not (one_shot and criterion is structures.random_units):  # chance draws for every level
        assert found.tickets[1].mask <= found.tickets[0].mask


def test_a_criterion_for_units_asks_for_the_network():
    model = models.LeNet((1, 4, 4), 10, 0.1)
    with pytest.raises(InputError, match="pass task="):
        structures.units(models.initialise(model, [0]), models.dense_mask(model), 0.2)
