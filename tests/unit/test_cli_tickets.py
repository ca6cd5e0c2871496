"""``lth tickets``: what is in a file can be seen, checked and shared."""

import pytest

from lth_utils import lottery, tickets


@pytest.fixture
def file(toy_task, tmp_path):
    found = lottery.imp(toy_task, treatments=("ticket",), progress=False)
    return tickets.save(tmp_path / "mine" / "toy-34.safetensors", found, study="toy", licence="MIT")


def test_the_zoo_is_listed_with_its_columns_under_each_other(lth):
    status, out, err = lth("tickets", "ls")
    assert (status, err) == (0, "")
    head, *rows = out.splitlines()
    assert head.split() == [
        "name", "network", "dataset", "density", "accuracy", "rewind", "seeds", "kB",
    ]  # fmt: skip
    assert [row.split()[0] for row in rows] == list(tickets.ls().name)
    assert all(row.index(" ", head.index("network")) for row in rows)


def test_an_empty_folder_says_how_to_fill_it(lth, tmp_path):
    status, out, _ = lth("tickets", "ls", tmp_path)
    assert status == 0 and out.startswith(f"No tickets in {tmp_path}. tickets.save writes them")


def test_a_ticket_is_shown_with_where_it_comes_from_and_its_layers(lth, file):
    status, out, err = lth("tickets", "show", file)
    assert (status, err) == (0, "")
    lines = [" ".join(line.split()) for line in out.splitlines()]
    ticket = tickets.load(file)
    accuracies = ", ".join(f"{value:.2f}" for value in ticket.provenance.accuracy)
    for line in (
        repr(ticket), "start: drawn by its seeds", "study: toy", "licence: MIT", "name: toy",
        f"test accuracy when found (%): {accuracies}", "fingerprint: " + "0" * 64,
        "layer kept of density", "fc1.weight 118 240 49.17%", "output.weight 16 20 80.00%",
    ):  # fmt: skip
        assert line in lines, line


def test_verify_counts_what_cannot_be_used(lth, file):
    spoilt = file.with_name("spoilt.safetensors")
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    spoilt.write_bytes(data)
    status, out, err = lth("tickets", "verify", file)
    assert (status, err) == (0, "") and out.startswith(f"good     {file}: Saved(")
    status, out, err = lth("tickets", "verify", file, spoilt)
    assert (status, err) == (2, "lth: 1 of 2 tickets cannot be used.\n")
    good, bad = out.splitlines()
    assert good.startswith("good ") and bad.startswith(f"NOT GOOD {spoilt} cannot be used: ")


def test_tickets_are_pushed_and_pulled(lth, file, tmp_path):
    shared, theirs = tmp_path / "shared", tmp_path / "theirs"
    status, out, _ = lth("tickets", "push", file, "--to", shared)
    assert (status, out) == (0, f"toy-34 is in {shared}\n")
    status, out, _ = lth("tickets", "pull", "toy-34", "--from", shared.as_uri(), "--into", theirs)
    assert status == 0 and out.startswith(f"{theirs / 'toy-34.safetensors'}: Saved(Little LeNet")
    assert tickets.load(theirs / "toy-34.safetensors") == tickets.load(file)


def test_mistakes_are_one_sentence(lth, file, tmp_path, monkeypatch):
    for arguments, message in (
        (["show", "lenet"], "lth: Unknown ticket 'lenet'. Known: "),
        (["show", tmp_path / "no.safetensors"], f"lth: {tmp_path / 'no.safetensors'} cannot be"),
        (["ls", tmp_path / "no"], f"lth: {tmp_path / 'no'} is not a folder"),
        (["pull", "--from", tmp_path / "no"], f"lth: {tmp_path / 'no'} is not a folder"),
        (["pull", "b", "--from", file.parent], f"lth: Unknown ticket in {file.parent} 'b'."),
    ):
        status, _, err = lth("tickets", *arguments)
        assert status == 2 and err.startswith(message) and err.count("\n") == 1, err


@pytest.mark.parametrize("command", ["", "ls", "show", "verify", "push", "pull"])
def test_every_command_explains_itself(lth, command):
    status, out, err = lth("tickets", *command.split(), "--help")
    assert (status, err) == (0, "") and out.startswith("Usage: ")
