"""Datasets drawn by code: the same everywhere, and only the shape tells the class."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d

from lth_utils import datasets
from lth_utils.datasets import NUISANCES, _mnist1d, _shapes, draw_shapes, draw_signals
from lth_utils.errors import InputError

EACH = np.arange(10)


@pytest.fixture(scope="module")
def train():
    return _shapes.draw_all(None, {})[0]


@pytest.mark.parametrize(
    ("name", "shape", "lengths", "fingerprint"),
    [
        ("shapes-32", (3, 32, 32), (5000, 1000, 2000), "8eeed61211927d6e"),
        ("mnist-1d", (1, 1, 40), (4000, 500, 1000), "8e727da9ba84644a"),
    ],
)
def test_drawn_sets_need_no_file_and_never_change(
    name, shape, lengths, fingerprint, monkeypatch, tmp_path
):
    monkeypatch.setenv("LTH_DATA", str(tmp_path / "nowhere"))
    data = datasets.load(name)
    assert data.fingerprint.startswith(fingerprint)
    assert data.input_shape == shape and data.whole == lengths
    assert tuple(map(len, (data.train, data.val, data.test))) == lengths
    assert data.num_classes == 10 and "drawn by lth_utils" in data.source
    assert datasets.fetch(name).is_dir()
    seen = data.normalise(data.train.images[:1000])
    assert abs(seen.mean()) < 0.02 and abs(seen.std() - 1) < 0.03


def test_drawing_happens_once_a_process(train, monkeypatch):
    monkeypatch.setattr(_shapes, "draw_shapes", None)  # a second drawing would fail
    assert _shapes.draw_all(None, {})[0].images is train.images


def test_a_picture_does_not_depend_on_how_many_are_drawn(train):
    n = _shapes.CHUNK + 7  # beyond the first chunk
    assert (draw_shapes(train.labels[:n]) == train.images[:n]).all()
    labels = np.arange(20) % 10
    assert (draw_signals(labels[:7]) == draw_signals(labels)[:7]).all()


def test_train_and_test_are_other_draws(train):
    test = _shapes.draw_all(None, {})[1]
    assert (test.images[:100] == train.images[:100]).mean() < 0.05
    assert not np.array_equal(draw_shapes(EACH, seed=1), draw_shapes(EACH))
    assert not np.array_equal(draw_signals(EACH, "test"), draw_signals(EACH))


@pytest.mark.parametrize("nuisance", NUISANCES)
def test_each_nuisance_alone_changes_pictures(nuisance):
    labels = np.repeat(EACH, 20)
    plain = draw_shapes(labels, {}).reshape(10, 20, -1)
    assert (plain == plain[:, :1]).all()  # nothing varies unasked
    assert len(np.unique(plain[:, 0], axis=0)) == 10  # and the classes differ
    varied = draw_shapes(labels, {nuisance: NUISANCES[nuisance]}).reshape(10, 20, -1)
    differs = (varied != varied[:, :1]).any(axis=(1, 2))
    round_shapes = 2 if nuisance == "rotation" else 0  # disc and ring
    assert differs[round_shapes:].all()


def test_sizes_are_such_that_no_shape_is_brighter():
    ink = draw_shapes(EACH, {})[:, 0].astype(float) - 128
    area = ink.sum(axis=(1, 2)) / ink.max(axis=(1, 2))
    assert np.ptp(area) / area.mean() < 0.05


def test_brightness_colour_and_contrast_do_not_tell_the_class(train):
    pixels = train.images.reshape(len(train.images), 3, -1).astype(np.float64)
    numbers = np.concatenate([pixels.mean(2), pixels.mean((1, 2), keepdims=True)[..., 0]], 1)
    centred = (numbers - numbers.mean(0)) / numbers.std(0)
    by_class = np.stack([centred[train.labels == label].mean(0) for label in EACH])
    # Means of 600 pictures: four standard errors, for 40 numbers.
    assert abs(by_class).max() < 4 / np.sqrt(600)


def test_shapes_stay_in_the_picture():
    """A shape cut off by the edge would be a class of its own."""
    nuisances = {name: NUISANCES[name] for name in ("position", "size", "rotation")}
    ink = draw_shapes(np.arange(500) % 10, nuisances).astype(int)[:, 0] - 128 > 50
    edge = ink.sum((1, 2)) - ink[:, 1:-1, 1:-1].sum((1, 2))
    assert (edge / ink.sum((1, 2)) < 0.05).all()


@pytest.mark.parametrize("labels", [[10], [-1], [0.5]])
def test_labels_that_are_no_class_are_refused(labels):
    for draw in (draw_shapes, draw_signals):
        with pytest.raises(InputError, match="whole numbers from 0 to 9"):
            draw(labels)


def test_unknown_nuisance_lists_the_known_ones():
    with pytest.raises(InputError, match=r"Unknown nuisance 'colours'\. Known: .*colour"):
        draw_shapes([0], {"colours": 1.0})


# MNIST-1D -----------------------------------------------------------------------------------------


def test_templates_are_as_the_recipe_uses_them():
    strokes = datasets.strokes()
    assert strokes.shape == (10, 12) and not strokes[:, 0].any()
    np.testing.assert_allclose(strokes.std(1), 1 / 6)


def test_interpolation_and_smoothing_are_the_usual_ones():
    x = np.random.default_rng(0).normal(size=(3, 72))
    at = np.linspace(0, 71, 40)
    usual = [np.interp(at, np.arange(72), row) for row in x]
    np.testing.assert_allclose(_mnist1d._at(x, at), usual)
    np.testing.assert_allclose(_mnist1d._smooth(x), gaussian_filter1d(x, 2, mode="reflect"))


def test_stretching_moves_no_stroke_into_the_padding():
    strokes = datasets.strokes()
    padded = np.array([48, 72])
    signal, inside = _mnist1d._stretched(strokes[:2], padded)
    assert inside.sum(1).tolist() == [19, 12]  # 12 of 48 points become 19 of 72
    assert not signal[~inside].any()
    np.testing.assert_allclose(signal[1, :12], strokes[1])


def test_signals_lose_little_as_bytes():
    labels = np.arange(1000) % 10
    signals = draw_signals(labels, "test")
    kept = _mnist1d.draw_all(None, {})[1].images[:, 0, 0]
    assert abs((kept - 128.0) / 180 - signals).max() <= 0.5 / 180 + 1e-12  # none is cut off


def test_a_linear_model_reads_a_third_of_the_signals():
    """The paper has 32% for logistic regression; without translation it would be far more."""
    parts = _mnist1d.draw_all(None, {})
    x, test = (np.insert(part.images[:, 0, 0].astype(float), 0, 1, axis=1) for part in parts)
    weights, *_ = np.linalg.lstsq(x, np.eye(10)[parts[0].labels], rcond=None)
    assert 0.25 < ((test @ weights).argmax(1) == parts[1].labels).mean() < 0.38


def test_neighbours_in_a_signal_are_alike():
    x = _mnist1d.draw_all(None, {})[0].images[:, 0, 0].astype(float)
    correlation = np.corrcoef(x.T)
    assert np.diag(correlation, 1).mean() > 0.6 > np.diag(correlation, 10).mean() + 0.3
