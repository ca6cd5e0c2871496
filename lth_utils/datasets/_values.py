"""What a dataset is, once it is in memory."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from lth_utils.errors import InputError
from lth_utils.randomness import stream


@dataclass(frozen=True, eq=False, repr=False)
class Split:
    """Labelled images on one device: ``images`` uint8 (N, C, H, W), ``labels`` int64 (N,).

    Of a text, ``images`` are windows of T characters (N, 1, 1, T), each a number, and ``labels``
    the character that follows each of these, (N, T).
    """

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        return f"Split({len(self):,} images {tuple(self.images.shape[1:])}, {self.images.device})"

    def first(self, n: int) -> "Split":
        """The first ``n`` images."""
        return Split(self.images[:n], self.labels[:n])

    def to(self, device: torch.device | str) -> "Split":
        return Split(self.images.to(device), self.labels.to(device))


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Labelled images in three parts, with where they came from.

    ``mean`` and ``std`` are one number a channel, of pixels scaled to 0..1; both are empty for a
    text, whose ``classes`` are its characters. ``fingerprint`` is
    the SHA-256 of the whole decoded dataset, before it is divided or cut: with ``split_seed``
    and the lengths of the parts it says exactly which images these are. ``whole`` holds the
    lengths of train, val and test before :meth:`subset`.
    """

    name: str
    plain_title: str
    source: str
    fingerprint: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    classes: tuple[str, ...]
    split_seed: int
    whole: tuple[int, int, int]
    train: Split
    val: Split
    test: Split

    @property
    def is_text(self) -> bool:
        """Whether this is a text in windows of characters."""
        return not self.mean

    @property
    def note(self) -> str:
        """What has been left out, for instance ``'first 2,000'``; empty for the whole dataset."""
        used = len(self.train), len(self.val), len(self.test)
        words = ("first {:,}", "{:,} to validate", "{:,} to test")
        cut = [w.format(n) for w, n, of in zip(words, used, self.whole, strict=True) if n < of]
        return ", ".join(cut)

    @property
    def title(self) -> str:
        """The name for figures and tables, which says when this is only a part."""
        return f"{self.plain_title} ({self.note})" if self.note else self.plain_title

    def with_label_noise(self, share: float, seed: int = 0) -> "Dataset":
        """The same images, a ``share`` of the training labels replaced by labels drawn at random.

        Each of these is drawn from all classes, so a few stay right. Labels to validate and to
        test by stay as they are. Raises :class:`.InputError` for a share outside 0 to 1.
        """
        if not 0 <= share <= 1:
            raise InputError(f"A share of the labels is a number from 0 to 1; got {share}.")
        self._only_pictures("have their labels drawn at random")
        draws = stream(seed, "label noise")
        chosen = draws.permutation(len(self.train))[: round(share * len(self.train))]
        labels = self.train.labels.clone()
        drawn = torch.from_numpy(draws.integers(self.num_classes, len(chosen)))
        labels[torch.from_numpy(chosen)] = drawn.to(labels.device)
        # A part of the images has other noise than the same images among all.
        part = [len(self.train)] if len(self.train) < self.whole[0] else []
        return replace(
            self,
            plain_title=f"{self.plain_title}, {100 * share:g}% of the training labels random",
            fingerprint=_altered(self.fingerprint, "label noise", float(share), int(seed), *part),
            train=Split(self.train.images, labels),
        )

    def permuted(self, seed: int = 0) -> "Dataset":
        """The same images with their pixels in another order, one order for all images.

        A fully connected network cannot tell the difference; what knows which pixels are
        neighbours can.
        """
        self._only_pictures("be permuted")
        order = torch.from_numpy(
            stream(seed, "permuted inputs").permutation(self.input_shape[1] * self.input_shape[2])
        )

        def shuffled(part: Split) -> Split:
            flat = part.images.flatten(-2)[..., order.to(part.images.device)]
            return Split(flat.view_as(part.images), part.labels)

        return replace(
            self,
            plain_title=f"{self.plain_title}, pixels permuted",
            fingerprint=_altered(self.fingerprint, "permuted inputs", int(seed)),
            train=shuffled(self.train),
            val=shuffled(self.val),
            test=shuffled(self.test),
        )

    def only(self, classes: Sequence[int]) -> "Dataset":
        """The images of some classes, which are numbered anew from 0 in the order given.

        Channels are normalised as in the whole dataset. Raises :class:`.InputError` where there
        are fewer than two classes, or one is unknown or named twice.
        """
        chosen = [int(label) for label in classes]
        known = set(range(self.num_classes))
        if len(chosen) < 2 or len(set(chosen)) < len(chosen) or not known.issuperset(chosen):
            raise InputError(
                f"Name at least two different classes of {self.plain_title}, from 0 to "
                f"{self.num_classes - 1}; got {list(classes)}."
            )

        def some(part: Split) -> Split:
            new = torch.full((self.num_classes,), -1, device=part.labels.device)
            new[chosen] = torch.arange(len(chosen), device=new.device)
            labels = new[part.labels]
            return Split(part.images[labels >= 0], labels[labels >= 0])

        train, val, test = (some(part) for part in (self.train, self.val, self.test))
        names = tuple(self.classes[label] for label in chosen)
        return replace(
            self,
            plain_title=f"{self.title}, only {', '.join(names)}",
            fingerprint=_altered(self.fingerprint, "only", *chosen),
            classes=names,
            whole=(len(train), len(val), len(test)),
            train=train,
            val=val,
            test=test,
        )

    def pooled(self, size: int) -> "Dataset":
        """The same images, every ``size`` × ``size`` pixels replaced by their mean.

        What is left over at the right and below is dropped. Raises :class:`.InputError` where
        that leaves no pixel.
        """
        self._only_pictures("be averaged")
        if not 1 <= size <= min(self.input_shape[1:]):
            raise InputError(
                f"Images of {self.input_shape[1]} × {self.input_shape[2]} pixels cannot be "
                f"averaged over {size} × {size}; give a whole number from 1 to "
                f"{min(self.input_shape[1:])}."
            )

        def smaller(part: Split) -> Split:
            # In pieces, for the whole of it would not fit a small memory as floats.
            pieces = [F.avg_pool2d(p.float(), size).round_() for p in part.images.split(5000)]
            return Split(torch.cat([p.to(torch.uint8) for p in pieces]), part.labels)

        train, val, test = (smaller(part) for part in (self.train, self.val, self.test))
        rows, columns = train.images.shape[-2:]
        return replace(
            self,
            plain_title=f"{self.plain_title} at {rows} × {columns} pixels",
            fingerprint=_altered(self.fingerprint, "pooled", int(size)),
            train=train,
            val=val,
            test=test,
        )

    def _only_pictures(self, what: str) -> None:
        if self.is_text:
            raise InputError(f"Pictures can {what}; {self.title} is a text, so leave that out.")

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one image; of a window of T characters (1, 1, T)."""
        return tuple(self.train.images.shape[1:])

    @property
    def num_classes(self) -> int:
        return len(self.classes)

    def __repr__(self) -> str:
        parts = f"{len(self.train):,} train, {len(self.val):,} val, {len(self.test):,} test"
        return f"Dataset({self.title}: {parts}; {self.source}; {self.train.images.device})"

    def normalise(self, images: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """Pixels as a network sees them: ``(images / 255 - mean) / std``.

        ``images`` is uint8 (..., C, H, W) on any device; the result has the same shape. The
        characters of a text stay the whole numbers that they are, in int64. Raises
        :class:`.InputError` for other pixels: those have been scaled already.
        """
        if self.is_text and images.dtype == torch.uint8:
            return images.long()
        if images.dtype != torch.uint8 or images.shape[-3:-2] != (len(self.mean),):
            raise InputError(
                f"normalise takes uint8 images (..., {len(self.mean)}, H, W), "
                f"not {images.dtype} {tuple(images.shape)}."
            )
        shift, scale = _affine(self.mean, self.std, images.device, dtype)
        # In place on the fresh copy: eight times as fast as a broadcasting addcmul.
        return images.to(dtype).mul_(scale).add_(shift)

    def subset(
        self, n_train: int, n_val: int | None = None, n_test: int | None = None
    ) -> "Dataset":
        """The first images of each part (all of a part where the number is None).

        The parts are shuffled already, so that these are a random sample. Raises
        :class:`.InputError` where there are not that many.
        """
        parts = {}
        for name, n in (("train", n_train), ("val", n_val), ("test", n_test)):
            part = getattr(self, name)
            if n is not None and n not in range(1, len(part) + 1):
                raise InputError(
                    f"Cannot take {n} {name} images of {self.title}; ask for 1 to {len(part):,}."
                )
            parts[name] = part if n is None else part.first(int(n))
        return replace(self, **parts)

    def to(self, device: torch.device | str) -> "Dataset":
        """The same dataset with its tensors on ``device``."""
        parts = {name: getattr(self, name).to(device) for name in ("train", "val", "test")}
        return replace(self, **parts)


def _altered(fingerprint: str, *what: object) -> str:
    """The fingerprint of a dataset that something has been done to."""
    return hashlib.sha256(repr((fingerprint, *what)).encode()).hexdigest()


@lru_cache(maxsize=64)
def _affine(mean, std, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """``(shift, scale)``, each (C, 1, 1), such that normalising is ``images * scale + shift``."""
    mean, std = torch.tensor(mean, dtype=torch.float64), torch.tensor(std, dtype=torch.float64)
    both = torch.stack([-mean / std, 1 / (255 * std)])[..., None, None].to(device, dtype)
    return both[0], both[1]
