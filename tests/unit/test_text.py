"""Text: characters in windows, and a network that predicts the next one at every place."""

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lth_utils import costs, datasets, models, stability
from lth_utils.datasets import _text
from lth_utils.errors import DataError, InputError
from lth_utils.masks import Mask
from lth_utils.pruning import Probe
from lth_utils.recipes import Adam, Augment, Recipe, Schedule
from lth_utils.tasks import Task
from lth_utils.training import evaluate, train


@pytest.fixture(scope="module")
def manual():
    return datasets.load("python-docs")


@pytest.fixture(scope="module")
def text(little_text):
    return little_text


@pytest.fixture(scope="module")
def model(text):
    return models.build("transformer-2", text.input_shape, text.num_classes, width=0.25)


@pytest.fixture
def task(text):
    task = Task(
        name="toy-text",
        title="Transformer",
        network="transformer-2",
        dataset="python-docs",
        recipe=Recipe("8it", 4, Adam(0.01), every="4it"),
        prune={"linear": 0.3, "output": 0.3},
        levels=1,
        replicates=2,
        width=0.25,
    )
    task.__dict__["data"] = text
    return task


# The data -----------------------------------------------------------------------------------------


def test_the_label_of_a_character_is_the_character_that_follows(manual):
    """A label that is the character itself is learnt at once, and nothing with it."""
    for split in (manual.train, manual.val, manual.test):
        assert split.images.dtype == torch.uint8 and split.labels.dtype == torch.int64
        assert torch.equal(split.images[:, 0, 0, 1:].long(), split.labels[:, :-1])
    assert manual.input_shape == (1, 1, _text.WINDOW) and manual.num_classes == 96
    assert manual.is_text and int(manual.train.images.max()) < manual.num_classes


def test_no_window_is_tested_on_that_was_trained_on(manual):
    """Windows of a text that repeats itself; headings and lists stand in any manual twice."""
    rows = {
        name: {bytes(w.tolist()) for w in getattr(manual, name).images[:, 0, 0]}
        for name in ("train", "val", "test")
    }
    for one, other in (("train", "val"), ("train", "test"), ("val", "test")):
        assert len(rows[one] & rows[other]) <= 0.05 * len(rows[other])


def test_stretches_are_stretches_and_windows_of_each_are_in_random_order():
    entry = replace(datasets.KNOWN["python-docs"], n_val=5, n_test=6)
    order = np.random.default_rng(0).permutation(40)
    train, val, test = datasets._stretches(entry, order)
    assert (len(train), len(val), len(test)) == (40 - 5 - 6 - 3, 5, 6)
    for part in (train, val, test):
        places = np.sort((part - order[0]) % 40)
        assert (np.diff(places) == 1).all() and list(part) != sorted(part)
    gaps = np.sort(np.concatenate([train, val, test]))
    assert len(np.unique(gaps)) == 37


def test_a_paragraph_that_stands_twice_is_kept_once():
    texts = ["One.\n\nTwo has\nwords.", "Two has words.\n\nThree."]
    assert list(_text.without_repetitions(texts)) == ["One.\n\nTwo has\nwords.", "Three."]


def test_a_text_is_read_back_and_a_stranger_is_a_question_mark():
    assert datasets.decode(datasets.encode("It’s “so”\n{x}~")) == 'It\'s "so"\n{x}~'
    assert datasets.decode(datasets.encode("ß")) == "?"
    assert datasets.encode("\n~").tolist() == [0, 95]


def test_windows_follow_one_another_without_a_gap():
    tokens = "".join(datasets.ALPHABET[i % 96] for i in range(3 * _text.WINDOW + 1))
    part = _text.windows(tokens)
    assert part.images.shape == (3, 1, 1, _text.WINDOW) and part.labels.shape == (3, _text.WINDOW)
    assert datasets.decode(part.images.ravel()) == tokens[:-1]
    assert datasets.decode(part.labels.ravel()) == tokens[1:]


def test_a_python_without_its_manual_is_one_clear_error(monkeypatch):
    monkeypatch.setitem(sys.modules, "pydoc_data", None)
    with pytest.raises(DataError, match="carries no manual .* install one"):
        datasets.load("python-docs")


def test_characters_are_not_scaled_as_pixels_are(text):
    seen = text.normalise(text.train.images)
    assert seen.dtype == torch.int64 and torch.equal(seen, text.train.images.long())


@pytest.mark.parametrize(
    "change", [lambda d: d.permuted(), lambda d: d.pooled(2), lambda d: d.with_label_noise(0.1)]
)
def test_what_is_done_to_pictures_is_refused(text, change):
    with pytest.raises(InputError, match="is a text, so leave that out"):
        change(text)


# The network --------------------------------------------------------------------------------------


def test_no_prediction_depends_on_what_comes_later(model, text):
    """A network that looks ahead predicts all and knows nothing."""
    weights = models.initialise(model, [0])
    now = text.train.images[:2].clone()
    later = now.clone()
    later[..., 20:] = (later[..., 20:] + 1) % 96
    one, other = (models.forward(model, weights, text.normalise(x))[0] for x in (now, later))
    assert torch.equal(one[:, :20], other[:, :20])
    assert not torch.allclose(one[:, 20:], other[:, 20:])


def test_a_shorter_text_is_predicted_as_its_beginning(model, text):
    weights = models.initialise(model, [0])
    x = text.normalise(text.train.images[:2])
    whole, part = (models.forward(model, weights, x[..., :n])[0] for n in (32, 9))
    torch.testing.assert_close(whole[:, :9], part)


def test_attention_is_the_textbooks():
    layer = models.Attention(8, 2)
    x = torch.randn(3, 5, 8, generator=torch.Generator().manual_seed(0))
    found = []
    back = torch.arange(5)[:, None] - torch.arange(5)
    for head, slope in ((slice(0, 4), 4.0), (slice(4, 8), 2.0)):
        q, k, v = (getattr(layer, n)(x)[..., head] for n in ("query", "key", "value"))
        scores = q @ k.mT / 2 - slope * back
        scores = scores.masked_fill(torch.ones(5, 5).triu(1).bool(), -torch.inf)
        found.append(scores.softmax(-1) @ v)
    torch.testing.assert_close(layer(x), layer.join(torch.cat(found, -1)))


def test_embeddings_and_layer_norms_are_not_prunable():
    model = models.Transformer()
    kinds = models.prunable(model)
    assert list(kinds.values()) == ["linear"] * 12 + ["output"] and "output.weight" in kinds
    assert models.dense_mask(model).size == 104_448
    weights = models.initialise(model, [0])
    assert (weights["norm.weight"] == 1).all() and (weights["block1.norm1.bias"] == 0).all()
    assert weights["character.weight"].std() > 0


def test_a_head_is_what_it_is_called(model, text):
    """With a head's weights at zero nothing of it is left: its columns join nothing."""
    found, weights = models.heads(model), models.initialise(model, [0])
    assert list(found) == [f"block{b} head {h}" for b in (1, 2) for h in (1, 2, 3, 4)]
    sizes = {name: 0 for name in weights}
    for part in found.values():
        for name, index in part.items():
            sizes[name] += weights[name][0][index].numel()
    attention = [n for n in models.prunable(model) if "attention" in n]
    assert all(sizes[name] == weights[name][0].numel() for name in attention)  # each weight once

    without = {name: w.clone() for name, w in weights.items()}
    for name, index in found["block1 head 2"].items():
        without[name][0][index] = 0
    x, module = torch.randn(1, 6, 16), models.to_module(model, without).block1.attention
    whole = models.to_module(model, weights).block1.attention
    others = [0, 1, 2, 3, 8, 9, 10, 11, 12, 13, 14, 15]
    smaller = models.Attention(16, 4)
    with torch.no_grad():
        smaller.load_state_dict(whole.state_dict())
        smaller.join.weight[:, 4:8] = 0
    assert len(others) == 12
    torch.testing.assert_close(module(x), smaller(x))


def test_pictures_are_refused_by_a_network_that_reads():
    with pytest.raises(InputError, match="reads windows of characters"):
        models.build("transformer-2", (1, 28, 28), 10)
    with pytest.raises(InputError, match="has blocks and heads"):
        models.Transformer(depth=0)


# Training -----------------------------------------------------------------------------------------


def test_loss_is_the_mean_over_all_characters(model, text):
    weights = models.initialise(model, [0, 1])
    loss, accuracy = evaluate(model, weights, text, text.val, chunk=3)
    outputs = models.forward(model, weights, text.normalise(text.val.images))
    for r in range(2):
        expected = F.cross_entropy(outputs[r].flatten(0, 1), text.val.labels.flatten())
        assert loss[r].item() == pytest.approx(expected.item(), rel=1e-5)
        right = (outputs[r].argmax(-1) == text.val.labels).float().mean()
        assert accuracy[r].item() == pytest.approx(100 * right.item())


def test_a_step_is_the_optimisers(model, text):
    """A loss that is summed over characters, not averaged, or that forgets some of them."""
    recipe = Recipe("1it", 4, Adam(0.01))
    start = models.initialise(model, [3])
    run = train(model, start, models.dense_mask(model), text, recipe, [3])
    from lth_utils.training._batches import Order

    index = torch.from_numpy(Order(3, 0, len(text.train)).batches(0, 1, 4)[0])
    values = {n: w[0].clone().requires_grad_() for n, w in start.items()}
    x, labels = text.normalise(text.train.images[index]), text.train.labels[index]
    outputs = torch.func.functional_call(model, values, (x,))
    F.cross_entropy(outputs.flatten(0, 1), labels.flatten()).backward()
    torch.optim.Adam(values.values(), lr=0.01).step()
    for name, value in values.items():
        torch.testing.assert_close(run.weights[name][0], value.detach(), rtol=1e-4, atol=1e-5)


def test_it_learns_and_pruned_weights_stay_zero(model, text):
    recipe = Recipe("60it", 8, Adam(0.01), Schedule(warmup="10%", cosine=True), every="30it")
    start = models.initialise(model, [0])
    kept = {n: torch.rand(1, *s) < 0.5 for n, s in models.dense_mask(model).shapes.items()}
    run = train(model, start, Mask(kept), text, recipe, [0])
    rows = run.history[(run.history.metric == "loss") & (run.history.split == "val")]
    assert rows.value.iloc[-1] < rows.value.iloc[0] - 1
    assert all((run.weights[n][0][~kept[n][0]] == 0).all() for n in kept)
    assert set(run.paths) == {"plain"}


@pytest.mark.parametrize(
    ("network", "augment"), [("lenet-300-100", Augment()), ("transformer-2", Augment(crop=1))]
)
def test_what_cannot_train_on_text_is_told(network, augment, text):
    model = models.build(network, text.input_shape, text.num_classes, 0.1)
    recipe = Recipe("2it", 4, Adam(0.01), augment=augment)
    with pytest.raises(InputError, match="is a text: train a network that reads text"):
        train(model, models.initialise(model, [0]), models.dense_mask(model), text, recipe, [0])


def test_gradients_costs_and_bent_paths_know_text(task):
    """Rooms that once took it for granted that an image has one label and is no whole number."""
    weights = task.init(task.seeds)
    probe = Probe.of(task, weights, task.seeds)
    assert probe.gradient["output.weight"].abs().sum() > 0
    total, largest = costs.activity(task.model, task.data.input_shape)
    assert total > largest >= 32 * 96
    dense = costs.operations(task.model, task.data.input_shape, task.dense_mask(task.seeds))
    assert dense.tolist() == [32 * task.dense_mask(task.seeds).size] * 2
    corner = stability.bend(task, weights, task.init([5, 6]), task.seeds, iterations=2)
    assert set(corner) == set(weights)
