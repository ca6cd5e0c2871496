"""Tickets on disk: a mask, the start that it was found with, and where both come from.

A ticket is one file, whose start is a seed where a seed draws it::

    found = lth.imp(lth.tasks.LENET_MNIST.at("live"))
    lth.tickets.save("lenet.safetensors", found, criterion="magnitude")

    ticket = lth.tickets.load("lenet.safetensors")
    run = ticket.task().train(ticket.start, ticket.mask, ticket.seeds, ticket.rewind)

A start is never taken on trust: its SHA-256 is in the file, and :func:`load` compares. The zoo,
which :func:`ls` lists, holds tickets of the recorded studies; :func:`push` and :func:`pull` share
files through a folder or the Hugging Face Hub.
"""

from lth_utils.tickets._file import load, ls, save
from lth_utils.tickets._hub import pull, push
from lth_utils.tickets._saved import Code, Images, Network, Provenance, Saved, of, saved

__all__ = [
    "Code", "Images", "Network", "Provenance", "Saved", "load", "ls", "of", "pull", "push",
    "save", "saved",
]  # fmt: skip
