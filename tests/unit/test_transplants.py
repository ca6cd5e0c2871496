"""Transplants: what is moved keeps its density and, where that is promised, its function."""

import pytest
import torch

from lth_utils import models, transplants
from lth_utils.errors import InputError
from lth_utils.models import MLP, VGG, Conv, LeNet
from lth_utils.transplants import fit, to_core, to_depth, to_head, to_width

SEEDS = [3, 5]


def ticket(model, some_mask, biases=True):
    """A ticket whose biases and statistics are not neutral, so that losing them shows."""
    start = models.initialise(model, SEEDS)
    names = models.prunable(model)
    for number, (name, w) in enumerate(start.items()):
        if name not in names and biases:
            g = torch.Generator().manual_seed(number)
            start[name] = w + 0.1 * torch.rand(w.shape, generator=g)
    mask = some_mask({name: tuple(start[name].shape[1:]) for name in names})
    return mask, start


def outputs(model, mask, start, shape):
    images = torch.rand(6, *shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return models.forward(model, mask.apply(start), images)


NETWORKS = {
    "LeNet": (LeNet, (1, 4, 4), 0.05, 0.1),
    "MLP": (MLP, (1, 1, 12), 0.05, 0.15),
    "Conv-2": (lambda *a: Conv(*a, depth=2), (1, 4, 4), 0.0625, 0.125),
    "VGG-11": (lambda *a: VGG(*a, depth=11), (3, 16, 16), 0.015625, 0.03125),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_wider_network_computes_what_the_ticket_did_at_its_density(name, some_mask):
    """Copies that each pass on the whole make every layer's output larger by their number."""
    build, shape, narrow, wide = NETWORKS[name]
    small, large = build(shape, 4, narrow), build(shape, 4, wide)
    mask, start = ticket(small, some_mask)
    grown, weights = to_width(mask, start, large, SEEDS)
    models.check_weights(large, weights)
    assert torch.allclose(
        outputs(small, mask, start, shape), outputs(large, grown, weights, shape), atol=1e-4
    )
    assert grown.counts().density.tolist() == pytest.approx(mask.counts().density.tolist())
    whole = to_width(mask, start, large, SEEDS, shares="whole")[1]
    assert not torch.allclose(
        outputs(small, mask, start, shape), outputs(large, grown, whole, shape), atol=1e-2
    )


def test_widths_that_are_no_multiples_keep_the_function_too(some_mask):
    small, large = LeNet((1, 4, 4), 4, 0.05), LeNet((1, 4, 4), 4, 0.08)
    mask, start = ticket(small, some_mask)
    grown, weights = to_width(mask, start, large, SEEDS)
    assert torch.allclose(
        outputs(small, mask, start, (1, 4, 4)), outputs(large, grown, weights, (1, 4, 4)), atol=1e-5
    )
    assert grown.density.tolist() == pytest.approx(mask.density.tolist(), abs=0.1)


def test_equal_shares_leave_copies_alike_and_drawn_ones_do_not(some_mask):
    """Copies with equal gradients are one unit, trained twice."""
    small, large = LeNet((1, 4, 4), 4, 0.05), LeNet((1, 4, 4), 4, 0.1)
    dense = models.dense_mask(small, 2)
    start = ticket(small, some_mask)[1]
    images, labels = torch.rand(8, 1, 4, 4), torch.tensor([0, 1, 2, 3] * 2)
    for shares, alike in (("equal", True), ("drawn", False)):
        _, weights = to_width(dense, start, large, SEEDS, shares)
        weights = {name: w.clone().requires_grad_() for name, w in weights.items()}
        scores = models.forward(large, weights, images)[0]
        torch.nn.functional.cross_entropy(scores, labels).backward()
        first, copy = weights["fc1.weight"].grad[0].chunk(2)
        assert torch.allclose(first, copy, atol=1e-7) == alike
        kept = weights["output.weight"].detach()[0]
        assert torch.equal(kept.sign()[:, :5], kept.sign()[:, 5:])


def test_a_core_is_the_ticket_and_everything_around_it_is_new_and_dense(some_mask):
    small, large = LeNet((1, 4, 4), 4, 0.05), LeNet((1, 4, 4), 4, 0.1)
    mask, start = ticket(small, some_mask)
    grown, weights = to_core(mask, start, large, SEEDS)
    fresh = models.initialise(large, SEEDS, "reinit", "core")
    for name, kept in mask.items():
        rows, columns = kept.shape[1:]
        assert torch.equal(grown[name][:, :rows, :columns], kept)
        assert torch.equal(weights[name][:, :rows, :columns], start[name])
        assert grown[name][:, rows:].all() and grown[name][:, :, columns:].all()
        assert torch.equal(weights[name][:, rows:], fresh[name][:, rows:])


def deeper(some_mask):
    shallow, deep = MLP((1, 1, 12), 4, 0.05, 3), MLP((1, 1, 12), 4, 0.05, 6)
    return shallow, deep, *ticket(shallow, some_mask)


def test_hidden_layers_are_followed_by_their_copies_in_order(some_mask):
    _, deep, mask, start = deeper(some_mask)
    grown, weights = to_depth(mask, start, deep)
    origin = {1: 1, 2: 2, 3: 2, 4: 2, 5: 3, 6: 3}
    for layer, own in origin.items():
        assert torch.equal(weights[f"fc{layer}.weight"], start[f"fc{own}.weight"])
        assert torch.equal(weights[f"fc{layer}.bias"], start[f"fc{own}.bias"])
        assert torch.equal(grown[f"fc{layer}.weight"], mask[f"fc{own}.weight"])
    assert torch.equal(grown["output.weight"], mask["output.weight"])


def test_layers_that_pass_on_what_they_get_keep_the_function(some_mask):
    shallow, deep, mask, start = deeper(some_mask)
    grown, weights = to_depth(mask, start, deep, new="identity")
    one, other = (
        outputs(shallow, mask, start, (1, 1, 12)),
        outputs(deep, grown, weights, (1, 1, 12)),
    )
    assert torch.allclose(one, other, atol=1e-5)
    assert grown["fc3.weight"].sum() == 2 * 10
    copied = to_depth(mask, start, deep)
    assert not torch.allclose(one, outputs(deep, *copied, (1, 1, 12)), atol=1e-3)


def test_a_new_head_is_whole_and_drawn_and_all_else_is_the_tickets(some_mask, net):
    mask, start = ticket(net, some_mask)
    other = LeNet((1, 4, 4), 7, 0.05)
    headed, weights = to_head(mask, start, other, SEEDS)
    assert headed["output.weight"].all() and headed["output.weight"].shape == (2, 7, 5)
    for name in start:
        if not name.startswith("output"):
            assert torch.equal(weights[name], start[name])
    # Not what the network began with: the mask has been chosen by that.
    again = to_head(mask, start, net, SEEDS)[1]
    assert not torch.equal(again["output.weight"], models.initialise(net, SEEDS)["output.weight"])


def test_a_wider_network_may_have_another_number_of_classes(some_mask, net):
    mask, start = ticket(net, some_mask)
    large = LeNet((1, 4, 4), 7, 0.1)
    grown, weights = fit(mask, start, large, SEEDS, head="new")
    models.check_weights(large, weights)
    grown.check({n: tuple(weights[n].shape[1:]) for n in grown}, 2)
    assert grown["output.weight"].all() and not grown["fc2.weight"].all()


def test_a_member_alone_is_moved_as_it_is_among_others(some_mask, net):
    """A draw that depends on who else is there makes replicates depend on their number."""
    mask, start = ticket(net, some_mask)
    large = LeNet((1, 4, 4), 4, 0.1)
    for grown in ("copies", "core"):
        _, both = fit(mask, start, large, SEEDS, "new", grown)
        alone = {name: w[1:] for name, w in start.items()}
        _, one = fit(mask.member(1), alone, large, SEEDS[1:], "new", grown)
        assert all(torch.equal(one[name], both[name][1:]) for name in both)


def test_what_fits_already_goes_along_bit_for_bit(some_mask, net):
    mask, start = ticket(net, some_mask)
    moved, weights = fit(mask, start, net, SEEDS)
    assert moved == mask and all(torch.equal(weights[n], w) for n, w in start.items())


def test_what_cannot_be_moved_is_one_clear_sentence(some_mask, net):
    mask, start = ticket(net, some_mask)
    with pytest.raises(InputError, match="can grow, not shrink: fc1.weight"):
        to_width(mask, start, LeNet((1, 4, 4), 4, 0.02), SEEDS)
    with pytest.raises(InputError, match="Unknown head 'none'"):
        fit(mask, start, net, SEEDS, head="none")
    with pytest.raises(InputError, match="Unknown way to grow 'up'"):
        fit(mask, start, net, SEEDS, grown="up")
    with pytest.raises(InputError, match="Unknown way to share 'none'"):
        to_width(mask, start, net, SEEDS, shares="none")
    with pytest.raises(InputError, match="1 seeds for a ticket of 2 members"):
        fit(mask, start, net, SEEDS[:1])
    with pytest.raises(InputError, match="becomes deeper where hidden layers"):
        fit(mask, start, MLP((1, 4, 4), 4, 0.05, 4), SEEDS)
    with pytest.raises(InputError, match="not layers"):
        fit(mask, start, MLP((1, 4, 4), 4, 0.05, 4), SEEDS, grown="core")
    with pytest.raises(InputError, match="no network wider"):
        fit(mask, start, LeNet((1, 4, 4), 4, 0.1), SEEDS, grown="identity")
    with pytest.raises(InputError, match="has no fc1.weight; a new head is all"):
        to_head(mask, {n: w for n, w in start.items() if "fc1" not in n}, net, SEEDS)


def test_every_name_is_documented():
    assert set(transplants.HEADS) == {"kept", "new"} and len(transplants.GROWN) == 3
