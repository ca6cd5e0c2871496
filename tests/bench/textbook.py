"""The lottery ticket experiment as almost everybody programs it: what the benchmark compares with.

torchvision's dataset and transforms, a DataLoader, an ``nn.Module``, Adam as it comes, and masks
that are multiplied into the weights after each step. Ordinary code, neither careless nor tuned;
nothing here is used by the package.
"""

import copy
import struct
from itertools import islice
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader

from lth_utils._torchvision import torchvision

BATCH = 60


def loaders(folder, train, val, mean, std):
    """Loaders of MNIST for training and validation, whose files are written into ``folder``.

    ``train`` and ``val`` are pairs of uint8 tensors, images (N, 28, 28) and labels (N,).
    """
    raw = Path(folder) / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for part, (images, labels) in {"train": train, "t10k": val}.items():
        head = struct.pack(">4i", 0x803, *images.shape)
        (raw / f"{part}-images-idx3-ubyte").write_bytes(head + images.numpy().tobytes())
        head = struct.pack(">2i", 0x801, len(labels))
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(head + labels.numpy().tobytes())

    vision = torchvision()
    steps = [vision.transforms.ToTensor(), vision.transforms.Normalize(mean, std)]
    transform = vision.transforms.Compose(steps)
    return (
        DataLoader(vision.datasets.MNIST(folder, True, transform), batch_size=BATCH, shuffle=True),
        DataLoader(vision.datasets.MNIST(folder, False, transform), batch_size=BATCH),
    )


def lenet():
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(784, 300),
        nn.ReLU(),
        nn.Linear(300, 100),
        nn.ReLU(),
        nn.Linear(100, 10),
    )


def dense_masks(model):
    return {name: torch.ones_like(p) for name, p in model.named_parameters() if p.dim() > 1}


def apply_masks(model, masks):
    with torch.no_grad():
        for name, p in model.named_parameters():
            if name in masks:
                p.mul_(masks[name])


def train(model, masks, batches, val_loader=None, every=100):
    """One pass over ``batches``; with ``val_loader``, a look at the validation set now and then."""
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=1.2e-3)
    apply_masks(model, masks)
    history = []
    model.train()
    for iteration, (images, labels) in enumerate(batches, start=1):
        optimizer.zero_grad()
        loss = criterion(model(images), labels)
        loss.backward()
        optimizer.step()
        apply_masks(model, masks)
        if val_loader is not None and iteration % every == 0:
            history.append((iteration, *validate(model, val_loader)))
            model.train()
    return history


def validate(model, loader):
    """Mean loss and accuracy in percent."""
    criterion = nn.CrossEntropyLoss()
    total, correct, seen = 0.0, 0, 0
    model.eval()
    with torch.no_grad():
        for images, labels in loader:
            outputs = model(images)
            total += criterion(outputs, labels).item() * len(labels)
            correct += (outputs.argmax(1) == labels).sum().item()
            seen += len(labels)
    return total / seen, 100 * correct / seen


def prune(model, masks, fraction=0.2, fraction_output=0.1):
    """Masks without the smallest of the remaining weights, layer by layer."""
    last = list(masks)[-1]
    new = {}
    for name, p in model.named_parameters():
        if name in masks:
            alive = p.detach()[masks[name] == 1].abs()
            share = fraction_output if name == last else fraction
            threshold = alive.sort().values[int(share * len(alive))]
            new[name] = masks[name] * (p.detach().abs() >= threshold)
    return new


def endless(loader):
    while True:
        yield from loader


def experiment(train_loader, val_loader, levels, iterations, every=100):
    """Iterative magnitude pruning with rewinding, whole: (density, history) of each level."""
    model = lenet()
    start = copy.deepcopy(model.state_dict())
    masks = dense_masks(model)
    results = []
    for _ in range(levels + 1):
        model.load_state_dict(start)
        batches = islice(endless(train_loader), iterations)
        history = train(model, masks, batches, val_loader, every)
        kept = sum(m.sum().item() for m in masks.values())
        results.append((kept / sum(m.numel() for m in masks.values()), history))
        masks = prune(model, masks)
    return results
