"""The papers' networks: their layers, their sizes, their initial weights."""

import hashlib
import itertools

import numpy as np
import pytest
import torch
from torch import nn

from lth_utils import models
from lth_utils.errors import InputError

KAIMING = ("vgg-11-plain", "resnet-18", "resnet-50")
# What reads text is tested with it.
PICTURES = [name for name in models.NETWORKS if not name.startswith("transformer")]
DEEP = [name for name in PICTURES if name != "lenet-300-100"]
CIFAR = (3, 32, 32)


def built(name, inputs=CIFAR, classes=10, width=1.0):
    """A network without memory: shapes and names, and nothing is drawn."""
    with torch.device("meta"):
        return models.build(name, inputs, classes, width)


def sizes(model):
    """Prunable weights by kind."""
    found = {}
    for name, kind in models.prunable(model).items():
        found[kind] = found.get(kind, 0) + model.get_parameter(name).numel()
    return found


def statistics(model):
    return sum(b.numel() for name, b in model.named_buffers() if "running" in name)


def layers(model):
    """Shape of every prunable tensor, in order."""
    return [tuple(model.get_parameter(name).shape) for name in models.prunable(model)]


# Sizes --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, expected",
    {
        "conv-2": {"conv": 38_592, "linear": 4_259_840, "output": 2_560},
        "conv-4": {"conv": 259_776, "linear": 2_162_688, "output": 2_560},
        "conv-6": {"conv": 1_144_512, "linear": 1_114_112, "output": 2_560},
        "vgg-11": {"conv": 9_217_728, "output": 5_120},
        "vgg-11-plain": {"conv": 9_217_728, "output": 5_120},
        "vgg-16": {"conv": 14_710_464, "output": 5_120},
        "vgg-19": {"conv": 20_018_880, "output": 5_120},
        "resnet-20": {"conv": 267_696, "shortcut": 2_560, "output": 640},
        "resnet-32": {"conv": 461_232, "shortcut": 2_560, "output": 640},
        "resnet-56": {"conv": 848_304, "shortcut": 2_560, "output": 640},
        "resnet-18": {"conv": 10_987_200, "shortcut": 172_032, "output": 5_120},
        "resnet-50": {"conv": 20_678_336, "shortcut": 2_768_896, "output": 20_480},
    }.items(),
)
def test_every_network_has_the_weights_of_the_papers(name, expected):
    assert sizes(built(name)) == expected


def test_sizes_that_frankle_and_carbin_print():
    """Figure 2 and appendix I, all but Conv-6's total, which its own layers do not give."""
    printed = {"conv-2": (4.3e6, 38e3), "conv-4": (2.4e6, 260e3), "vgg-19": (20.0e6, None)}
    for name, (everything, convolutions) in printed.items():
        found = sizes(built(name))
        assert sum(found.values()) == pytest.approx(everything, rel=0.02)
        if convolutions:
            assert found["conv"] == pytest.approx(convolutions, rel=0.02)
    assert sizes(built("conv-6"))["conv"] == pytest.approx(1.1e6, rel=0.05)
    # Of their Resnet-18: 274K with batch norm and its statistics, 270K in convolutions.
    resnet = built("resnet-20")
    assert sum(p.numel() for p in resnet.parameters()) + statistics(resnet) == 274_042
    assert sizes(resnet)["conv"] + sizes(resnet)["shortcut"] == 270_256


def test_sizes_that_he_et_al_print():
    """Table 6, all but the largest; their shortcuts on small images have no weights."""
    for depth, millions in {20: 0.27, 32: 0.46, 44: 0.66, 56: 0.85, 110: 1.7}.items():
        with torch.device("meta"):
            model = models.ResNet(depth=depth)
        own = sum(p.numel() for name, p in model.named_parameters() if "shortcut" not in name)
        assert f"{own / 1e6:.2g}" == f"{millions:.2g}"


@pytest.mark.parametrize(
    "name, inputs, classes, weights, parameters",
    [
        ("resnet-18", CIFAR, 10, 11_164_352, 11_173_962),
        ("resnet-18", (3, 224, 224), 1000, 11_678_912, 11_689_512),
        ("resnet-50", CIFAR, 10, 23_467_712, 23_520_842),
        ("resnet-50", (3, 224, 224), 1000, 25_502_912, 25_557_032),
    ],
)
def test_sizes_of_residual_networks_on_small_and_on_large_images(
    name, inputs, classes, weights, parameters
):
    model = built(name, inputs, classes)
    assert sum(sizes(model).values()) == weights, "what can be pruned"
    assert sum(p.numel() for p in model.parameters()) == parameters


def test_vgg_19_has_the_layers_that_the_podcast_speaks_of():
    shapes = layers(built("vgg-19"))
    assert len(shapes) == 17
    assert np.prod(shapes[1]) == 36_864, "convolution 2"
    assert np.prod(shapes[15]) == 2_359_296, "convolution 16"


@pytest.mark.parametrize("name", ["vgg-11", "vgg-11-plain", "vgg-16", "vgg-19", "resnet-20",
                                  "resnet-32", "resnet-56", "resnet-18", "resnet-50"])  # fmt: skip
def test_the_number_in_a_name_counts_the_layers_with_weights(name):
    kinds = list(models.prunable(built(name)).values())
    absent = 2 if "vgg" in name else 0  # the name counts two hidden layers that small images spare
    assert kinds.count("conv") + kinds.count("output") + absent == int(name.split("-")[1])
    assert kinds[-1] == "output" and kinds.count("linear") == 0


# Residual networks for large images ---------------------------------------------------------------


@pytest.mark.parametrize("name", ["resnet-18", "resnet-50"])
@pytest.mark.parametrize("pixels, large", [(32, False), (63, False), (64, True), (224, True)])
def test_small_images_are_not_made_smaller_before_the_first_stage(name, pixels, large):
    model = built(name, (3, pixels, pixels))
    assert ("pool" in model._modules) == large
    assert model.conv.weight.shape[2:] == ((7, 7) if large else (3, 3))
    stem = [layer for name, layer in model.named_children() if name in ("conv", "bn", "relu",
                                                                        "pool")]  # fmt: skip
    images = torch.empty(1, 3, pixels, pixels, device="meta")
    assert nn.Sequential(*stem)(images).shape[-1] == (-(-pixels // 4) if large else pixels)


# A smaller residual network by hand ---------------------------------------------------------------


@torch.no_grad()
def test_a_block_adds_its_input_to_what_its_convolutions_make_of_it():
    for stage, reshaped in (("stage1", False), ("stage2", True)):
        model = models.build("resnet-20", (3, 8, 8), 4, 0.25).double().eval()
        block = model.get_submodule(f"{stage}.block1")
        x = torch.randn(2, block.conv1.in_channels, 8, 8, dtype=torch.float64)
        y = block.bn2(block.conv2(torch.relu(block.bn1(block.conv1(x)))))
        around = x
        if reshaped:
            around = block.shortcut.bn(x[:, :, ::2, ::2].movedim(1, -1)
                                       .matmul(block.shortcut.conv.weight[:, :, 0, 0].T)
                                       .movedim(-1, 1))  # fmt: skip
        torch.testing.assert_close(block(x), (y + around).clamp(min=0))


def test_only_blocks_that_change_the_shape_have_weights_in_their_shortcut():
    """2,560 weights, the number that Frankle and Carbin leave unpruned."""
    kinds = models.prunable(built("resnet-20"))
    assert [name for name, kind in kinds.items() if kind == "shortcut"] == [
        "stage2.block1.shortcut.conv.weight",
        "stage3.block1.shortcut.conv.weight",
    ]


# Width, images, classes ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", PICTURES)
def test_width_multiplies_what_is_hidden_and_nothing_else(name):
    whole, half = layers(built(name)), layers(built(name, width=0.5))
    assert half[0][1:] == whole[0][1:] if "conv" in name else True  # images stay as they are
    assert half[-1][0] == whole[-1][0] == 10
    assert [2 * shape[0] for shape in half[:-1]] == [shape[0] for shape in whole[:-1]]
    thin = models.build(name, (3, 16, 16), 5, 1e-6)
    assert {shape[0] for shape in layers(thin)[:-1]} <= {1, 4}


@pytest.mark.parametrize("name", PICTURES)
def test_a_network_of_no_width_is_refused(name):
    with pytest.raises(InputError, match="width"):
        models.build(name, CIFAR, 10, 0)


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize("inputs, classes", [((1, 28, 28), 10), ((3, 16, 19), 7)])
def test_every_network_takes_grey_and_oblong_images_and_any_number_of_classes(
    name, inputs, classes
):
    model = models.build(name, inputs, classes, 0.05)
    weights = models.initialise(model, [0, 1])
    images = torch.randn(3, *inputs, generator=torch.Generator().manual_seed(0))
    outputs = models.forward(model, weights, images, training=True)
    assert outputs.shape == (2, 3, classes)
    assert outputs.isfinite().all() and outputs.std() > 0
    assert not torch.equal(outputs[0], outputs[1])


@pytest.mark.parametrize("name, pixels", [("conv-2", 1), ("conv-6", 7), ("vgg-11", 15)])
def test_images_that_would_shrink_to_nothing_are_refused(name, pixels):
    with pytest.raises(InputError, match=f"halves its images .* got {pixels} × {pixels}"):
        models.build(name, (3, pixels, pixels), 10)
    models.build(name, (3, pixels + 1, pixels + 1), 10, 0.05)


@pytest.mark.parametrize("name", [name for name in DEEP if not name.startswith("mlp")])
def test_flat_inputs_are_refused_by_convolutions(name):
    with pytest.raises(InputError, match="channels, rows and columns"):
        models.build(name, (784,), 10)


@pytest.mark.parametrize(
    "network, depth", [(models.Conv, 3), (models.VGG, 12), (models.ResNet, 18), (models.ResNet, 2)]
)
def test_a_depth_that_no_such_network_has_is_refused(network, depth):
    with pytest.raises(InputError, match=f"(layers|convolutions); got {depth}"):
        network(depth=depth)


# Initial weights ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PICTURES)
def test_initial_weights_have_the_deviation_of_the_networks_paper(name):
    model = models.build(name, (3, 16, 16), 10, 0.2)
    weights = models.initialise(model, [0])
    for tensor in models.prunable(model):
        w = weights[tensor][0]
        fan_in, fan_out = nn.init._calculate_fan_in_and_fan_out(w)
        variance = 2 / fan_in if name in KAIMING else 2 / (fan_in + fan_out)
        # The deviation of n draws deviates by 1 / sqrt(2n) of itself.
        assert w.std(correction=0) == pytest.approx(
            np.sqrt(variance), rel=5 / np.sqrt(2 * w.numel())
        ), tensor


@pytest.mark.parametrize("name", DEEP)
def test_batch_norm_starts_neutral_and_biases_at_zero(name):
    model = models.build(name, (3, 16, 16), 10, 0.05)
    for tensor, w in models.initialise(model, [0, 1], "reinit").items():
        if tensor not in models.prunable(model):
            neutral = float(tensor.endswith(("running_var", "weight")))
            assert (w == neutral).all(), tensor


def test_another_deviation_can_be_asked_for():
    model = models.build("resnet-20", (3, 8, 8), 10, 0.25)
    glorot = models.initialise(model, [0])["stage2.block1.conv1.weight"]
    kaiming = models.initialise(model, [0], deviation=models.kaiming_normal)
    # The same draws, and wider: fan in is 4 channels here, fan out 8.
    torch.testing.assert_close(
        kaiming["stage2.block1.conv1.weight"], glorot * np.sqrt((4 + 8) / 4).astype(np.float32)
    )
    assert models.kaiming_normal((8, 4, 3, 3)) == pytest.approx(np.sqrt(2 / 36))


@torch.no_grad()
def test_without_batch_norm_images_reach_the_last_convolution_only_from_wider_weights():
    model = models.build("vgg-11-plain", CIFAR, 10, 0.25)
    x = torch.randn(8, *CIFAR, generator=torch.Generator().manual_seed(0))

    def squares(deviation):
        found, y = [1.0], x
        for layer in models.to_module(model, models.initialise(model, [0], deviation=deviation)):
            y = layer(y)
            if isinstance(layer, nn.ReLU):
                found.append(float(y.square().mean()))
        return found

    assert 0.1 < min(squares(None)) and max(squares(None)) < 10
    fading = squares(models.glorot_normal)
    assert all(after < 0.7 * before for before, after in itertools.pairwise(fading))
    assert fading[-1] < 1e-3


def test_a_refactoring_changes_no_initial_weight_of_lenet():
    """Recorded results and stored weights rest on these bits."""
    weights = models.initialise(models.LeNet(), [0, 1])
    digest = hashlib.sha256()
    for name, w in weights.items():
        digest.update(name.encode() + w.numpy().tobytes())
    assert digest.hexdigest() == (
        "96da6434f2a5b3f9cb36f061ac4dc74205ed59c147c6f18be5af9917bf7240c7"
    )
