"""Tickets on disk: nothing is taken on trust, and what is loaded trains as what was saved."""

import json
import random
import resource
import struct
import subprocess
import sys
from dataclasses import replace

import pytest
import safetensors.torch
import torch
from torch import nn

from lth_utils import lottery, models, studies, tasks, tickets
from lth_utils.errors import DataError, InputError
from lth_utils.tickets import _file
from lth_utils.tickets._saved import digests


@pytest.fixture
def found(toy_task):
    return lottery.imp(toy_task, treatments=("ticket",), progress=False)


@pytest.fixture
def rewound(toy_task):
    return lottery.imp(toy_task, treatments=("ticket",), rewind="50%", progress=False)


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[n], b[n]) for n in a)


def some_ticket(task, some_mask, move=0.0, rewind="0it"):
    """A ticket of a random mask; its start is moved away from what the seeds draw."""
    start = {n: w + move for n, w in task.init(task.seeds).items()}
    shapes = models.dense_mask(task.model).shapes
    return lottery.Ticket(1, start, some_mask(shapes, len(task.seeds)), rewind)


# There and back -----------------------------------------------------------------------------------


@pytest.mark.parametrize("which", ["found", "rewound"])
def test_what_is_loaded_is_what_was_saved(which, request, tmp_path):
    found = request.getfixturevalue(which)
    last = found.tickets[-1]
    path = tickets.save(tmp_path / "a.safetensors", found, criterion="magnitude", seeds=[1, 0])
    loaded = tickets.load(path)
    both = last.mask.member(1, 0)
    assert loaded.mask == both and loaded.seeds == (1, 0)
    assert equal(loaded.start, both.apply({n: w[[1, 0]] for n, w in last.start.items()}))
    assert (loaded.level, loaded.rewind) == (2, last.rewind)
    assert loaded.drawn == (which == "found")
    rows = found.table[(found.table.level == 2) & (found.table.moment == "early stop")]
    rows = rows[(rows.split == "test") & (rows.metric == "accuracy")].set_index("replicate")
    assert loaded.provenance.accuracy == tuple(rows.value[[1, 0]])
    assert loaded.provenance.notes == {"criterion": "magnitude"}
    assert loaded == tickets.load(tickets.save(path, loaded))  # and once more


def test_a_start_that_seeds_draw_is_not_in_the_file_and_another_is(found, rewound):
    drawn = safetensors.torch.load(_file.packed(tickets.of(found)))
    kept = safetensors.torch.load(_file.packed(tickets.of(rewound)))
    assert {name.split("/")[0] for name in drawn} == {"mask"}
    mask = rewound.tickets[-1].mask
    assert kept["start/fc1.weight"].shape == (mask["fc1.weight"].sum(),)
    assert kept["start/fc1.bias"].shape == (2, 15)


def test_a_lenet_takes_a_bit_a_weight(some_mask):
    task = replace(tasks.LENET_MNIST.at("smoke"), replicates=1)
    data = _file.packed(tickets.saved(task, some_ticket(task, some_mask), [0]))
    assert 266_200 / 8 < len(data) < 36_000


def test_seeds_that_did_not_draw_the_start_do_not_pass_for_those_that_did(found):
    ticket = found.tickets[-1]
    saved = tickets.saved(found.task, ticket, [7, 8])
    assert not saved.drawn
    assert equal(_file.unpacked(_file.packed(saved)).start, ticket.mask.apply(ticket.start))


def test_batch_norm_statistics_travel_with_a_rewound_start(some_mask, tmp_path):
    task = tasks.RESNET20_CIFAR10.at("smoke")
    ticket = some_ticket(task, some_mask, move=0.25, rewind="1ep")
    path = tickets.save(tmp_path / "a.safetensors", tickets.saved(task, ticket, task.seeds))
    loaded = tickets.load(path)
    assert equal(loaded.start, ticket.mask.apply(ticket.start))
    assert any("running_mean" in name for name in loaded.start)


@pytest.mark.parametrize("name", [n for n, t in tasks.TASKS.items() if not t.supermask])
def test_every_network_of_the_book_goes_there_and_back(name):
    task = tasks.TASKS[name].at("smoke")
    if tasks.datasets.find(task.dataset) is None and task.embedded is None:
        pytest.skip(f"{task.dataset} is not here")
    whole, start = task.dense_mask(task.seeds), task.init(task.seeds)
    moved = {n: w + 0.1 for n, w in start.items()}
    for ticket in (lottery.Ticket(1, start, whole, "0it"), lottery.Ticket(1, moved, whole, "50%")):
        saved = tickets.saved(task, ticket, task.seeds)
        loaded = _file.unpacked(_file.packed(saved))
        assert loaded == saved and loaded.drawn == (ticket.start is start)
        assert equal(loaded.start, ticket.start) and loaded.provenance.task is not None


def test_the_same_ticket_is_the_same_bytes(found):
    saved = tickets.of(found)
    assert len({_file.packed(saved) for _ in range(5)}) == 1


def test_a_loaded_ticket_trains_to_the_same_numbers_in_a_fresh_process(tmp_path):
    task = tasks.MLP_MNIST1D.at("smoke")
    found = lottery.imp(task, rewind="20%", treatments=("ticket",), one_shot=True, progress=False)
    path = tickets.save(tmp_path / "a.safetensors", found)
    code = (
        "import sys, lth_utils as lth\n"
        "t = lth.tickets.load(sys.argv[1])\n"
        "run = t.task().train(t.start, t.mask, t.seeds, t.rewind)\n"
        "print(*lth.tickets._saved.digests(run.weights))\n"
    )
    fresh = subprocess.run(
        [sys.executable, "-c", code, path], capture_output=True, text=True, check=True
    )
    ticket = found.tickets[-1]
    run = task.train(ticket.start, ticket.mask, task.seeds, ticket.rewind)
    assert fresh.stdout.split() == list(digests(run.weights))


def test_a_member_is_itself_alone(found):
    whole = tickets.of(found)
    one = whole.member(1)
    assert (one.seeds, one.digests) == ((1,), whole.digests[1:])
    assert one.provenance.accuracy == whole.provenance.accuracy[1:]
    again = _file.unpacked(_file.packed(one))
    assert again.mask == whole.mask.member(1) and digests(again.start) == one.digests
    with pytest.raises(InputError, match="members 0 to 1"):
        whole.member(2)


def test_the_task_of_a_ticket_is_the_one_it_was_found_on(found):
    task, mine = _file.unpacked(_file.packed(tickets.of(found))).task(), found.task
    for name in ("network", "width", "recipe", "prune", "levels", "scope", "images"):
        assert getattr(task, name) == getattr(mine, name)
    run = task.train(found.tickets[-1].start, found.tickets[-1].mask, [0, 1])
    rows = found.table[(found.table.level == 2) & (found.table.moment == "end")]
    rows = rows[(rows.split == "test") & (rows.metric == "loss")]
    history = run.history[(run.history.moment == "end") & (run.history.split == "test")]
    assert history[history.metric == "loss"].value.tolist() == rows.value.tolist()


# What cannot be -----------------------------------------------------------------------------------


def test_what_was_not_found_cannot_be_saved(found, tmp_path):
    for options, message in (
        ({"level": 3}, "no ticket of level 3; levels found: 1, 2"),
        ({"seeds": [5]}, "No member has seed 5; seeds: 0, 1"),
        ({"seeds": []}, "members 0 to 1"),
        ({"study": ["a"]}, "A note is a word or a number"),
    ):
        with pytest.raises(InputError, match=message):
            tickets.save(tmp_path / "a.safetensors", found, **options)
    with pytest.raises(InputError, match="has its level and notes already"):
        tickets.save(tmp_path / "a.safetensors", tickets.of(found), study="a")
    with pytest.raises(InputError, match="ends in .safetensors"):
        tickets.save(tmp_path / "a.pt", found)
    assert not list(tmp_path.glob("a.*"))


def test_parts_that_do_not_fit_cannot_be_saved(found, toy_task):
    ticket = found.tickets[-1]
    with pytest.raises(InputError, match="2 members where 1"):
        tickets.saved(toy_task, ticket, [0])
    with pytest.raises(InputError, match="different seeds"):
        tickets.saved(toy_task, ticket, [3, 3])
    with pytest.raises(InputError, match="not as many accuracies"):
        tickets.saved(toy_task, ticket, [0, 1], accuracy=[90.0])
    with pytest.raises(InputError, match="0 to 100"):
        tickets.saved(toy_task, ticket, [0, 1], accuracy=[90.0, 900.0])
    broken = {n: w / 0 for n, w in ticket.start.items()}
    with pytest.raises(InputError, match="not finite"):
        tickets.saved(toy_task, replace(ticket, start=broken), [0, 1])
    with pytest.raises(InputError, match="trains masks"):
        tickets.saved(tasks.LENET_SUPERMASK.at("smoke"), ticket, [0, 1])


def test_a_place_that_cannot_be_written_is_one_sentence_and_leaves_nothing(found, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written to .*; choose another place"):
        tickets.save(tmp_path / "file" / "a.safetensors", found)
    assert [path.name for path in tmp_path.iterdir() if path.name != "runs"] == ["file"]


def test_another_generator_is_named_and_another_draw_is_noticed(found, tmp_path, monkeypatch):
    path = tickets.save(tmp_path / "a.safetensors", found)
    monkeypatch.setattr(_file, "GENERATOR", 2)
    with pytest.raises(DataError, match=r"drawn by generator 1, .* draws with 2; install lth_"):
        tickets.load(path)
    monkeypatch.undo()
    draw = models.initialise
    monkeypatch.setattr(
        models, "initialise", lambda *a: {n: w * (1 + 2**-23) for n, w in draw(*a).items()}
    )
    with pytest.raises(DataError, match="not the one that it was found with"):
        tickets.load(path)


def test_other_data_of_that_name_do_not_stand_in(found, make_dataset, monkeypatch):
    ticket = tickets.of(found)
    other = replace(make_dataset(97, 41, 53, seed=1), fingerprint="1" * 64)
    monkeypatch.setattr(tasks.datasets, "load", lambda *_, **__: other)
    with pytest.raises(DataError, match="found on Toy, and what is here as toy are other data"):
        ticket.task()


def test_a_stand_in_is_recorded_as_what_it_is(some_mask):
    task = tasks.LENET_MNIST.at("smoke")
    saved = tickets.saved(task, some_ticket(task, some_mask), task.seeds)
    assert saved.provenance.images.name == "mnist-5k"
    assert (saved.task().dataset, saved.task().embedded) == ("mnist-5k", None)


class Own(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(16, 8), nn.Linear(8, 4)

    def forward(self, x):
        return self.two(torch.relu(self.one(x.flatten(1))))


def test_a_network_of_ones_own_is_given_again(toy_task, some_mask, tmp_path):
    task = replace(toy_task, network=Own(), width=1.0)
    ticket = some_ticket(task, some_mask)
    path = tickets.save(tmp_path / "a.safetensors", tickets.saved(task, ticket, task.seeds))
    with pytest.raises(DataError, match=r"belongs to Own, .* load\(path, model\)"):
        tickets.load(path)
    loaded = tickets.load(path, Own())
    assert loaded.mask == ticket.mask and loaded.drawn
    with pytest.raises(InputError, match="have no name"):
        loaded.task()


def test_what_is_no_ticket_says_so(tmp_path, found):
    for name, data, message in (
        ("a", b"", "no safetensors file"),
        ("b", b"\x80\x04K\x01.", "no safetensors file"),  # a pickle
        ("c", safetensors.torch.save({"w": torch.zeros(3)}), "not a ticket"),
        ("d", safetensors.torch.save({"w": torch.zeros(3)}, {"a": "b"}), "not a ticket"),
    ):
        path = tmp_path / f"{name}.safetensors"
        path.write_bytes(data)
        with pytest.raises(DataError, match=message) as caught:
            tickets.load(path)
        assert str(path) in str(caught.value)
    with pytest.raises(DataError, match="no such file"):
        tickets.load(tmp_path / "none.safetensors")
    with pytest.raises(DataError, match="no such file"):
        tickets.load(tmp_path)
    with pytest.raises(InputError, match="Unknown ticket 'lenet-mnist-3'. Known: lenet-mnist-3.6"):
        tickets.load("lenet-mnist-3")


# Files that somebody has been at ------------------------------------------------------------------


def opened(data):
    """The tensors and the text of a ticket's file."""
    length = int.from_bytes(data[:8], "little")
    said = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["lth ticket"])
    said.pop("digest")
    return safetensors.torch.load(data), said


def sealed(tensors, said):
    """A file as a liar would write it: everything in it agrees with its digest."""
    try:
        text = _file.canonical(said)
    except (InputError, TypeError):
        text = json.dumps(said)
    digest = _file.hashlib.sha256(text.encode()).hexdigest()
    text = json.dumps({**said, "digest": digest}) if isinstance(said, dict) else text
    return safetensors.torch.save(tensors, {"lth ticket": text})


JUNK = (
    None, True, -1, 0, 2, 10**18, 10**400, 0.5, -1e308, float("nan"), "", "x", "..", "x" * 400,
    "\x1b[2J", "500it", "9" * 250 + "it", "mnist", [], [[]], [1, 1], {}, {"type": "Task"},
    {"type": "SGD", "rate": 1.0}, [{}] * 50, "resnet-50", "\ud800",
)  # fmt: skip


def with_junk(said, rng):
    """The same with something else in one place."""
    place, name = {"root": said}, "root"
    while isinstance(place[name], dict | list) and place[name] and rng.random() < 0.85:
        place = place[name]
        name = rng.choice(list(place) if isinstance(place, dict) else range(len(place)))
    action = rng.random()
    if isinstance(place, dict) and action < 0.1 and len(place) > 1:
        del place[name]
    elif isinstance(place, dict) and action < 0.2:
        place[rng.choice(["more", "type", "__class__"])] = rng.choice(JUNK)
    else:
        place[name] = rng.choice(JUNK)
    return said


def with_other_tensors(tensors, rng):
    """The same with one tensor left out, renamed, added, of another type or shape, or moved."""
    name = rng.choice(sorted(tensors))
    t = tensors.pop(name)
    new = rng.choice([
        {}, {name + "x": t}, {name: t, "more": t.clone()}, {name: t.float() + 0.5},
        {name: t.to(torch.int64)}, {name: t[:1].clone()}, {name: t[:0].clone()},
        {name: t.flatten()}, {name: t.repeat(2, *[1] * (t.dim() - 1))},
        {name: torch.full_like(t, 7)}, {name: torch.full(t.shape, float("nan"))},
        {name: torch.zeros(()).to(t.dtype)},
    ])  # fmt: skip
    return tensors | new


def with_other_header(data, rng):
    """The same with another header, or another length of it."""
    length = int.from_bytes(data[:8], "little")
    header, rest = data[8 : 8 + length], data[8 + length :]
    kind = rng.randrange(7)
    if kind == 0:
        return struct.pack("<Q", rng.choice([0, 1, length + 1, 2**31, 2**63, 2**64 - 1])) + data[8:]
    if kind == 1:
        header = rng.choice([b"[", b'{"a":']) * 200_000
    elif kind == 2:
        header = header.replace(b"lth ticket", bytes([rng.randrange(128, 256)]) * 10)
    elif kind == 3:
        header = header.replace(b'{"', b'{"mask/fc1.weight":{},"', 1)
    elif kind == 4:
        at = header.index(b'"data_offsets"')
        header = header[:at] + header[at:].replace(b"[0,", b"[4294967296,", 1)
    elif kind == 5:
        header = header.replace(b'"U8"', rng.choice([b'"F4"', b'"BOOL"', b'"F99"', b"null"]))
    else:
        header = header.replace(b'"shape":[2,', b'"shape":[1099511627776,', 1)
    return struct.pack("<Q", len(header)) + header + rest


def test_a_thousand_spoilt_files_are_refused_or_are_right(found, rewound):
    """A liar may say of a ticket what he likes, but nothing breaks and no weight is another."""
    rng, outcomes = random.Random(0), {"refused": 0, "right": 0}
    originals = [tickets.of(found), tickets.of(rewound)]
    files = [_file.packed(ticket) for ticket in originals]
    for number in range(1000):
        original, data = originals[number % 2], files[number % 2]
        kind = number // 2 % 5
        if kind == 0:
            at = rng.randrange(len(data))
            spoilt = data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]
        elif kind == 1:
            spoilt = rng.choice([data[: rng.randrange(len(data))], data + b"\0", data * 2])
        elif kind == 2:
            spoilt = with_other_header(data, rng)
        elif kind == 3:
            tensors, said = opened(data)
            spoilt = sealed(tensors, with_junk(said, rng))
        else:
            tensors, said = opened(data)
            spoilt = sealed(with_other_tensors(tensors, rng), said)
        try:
            ticket = _file.unpacked(spoilt)
        except InputError as error:
            assert str(error).endswith(".") and str(error).isprintable()
            outcomes["refused"] += 1
            continue
        outcomes["right"] += 1
        assert ticket.digests == digests(ticket.start) == original.digests
        assert ticket.mask == original.mask and equal(ticket.start, original.start)
        assert repr(ticket).isprintable()
        if kind < 3:
            assert ticket == original
        else:
            try:
                ticket.task()
            except InputError as error:
                assert str(error).endswith(".")
    assert outcomes["refused"] > 700 and outcomes["right"] > 20


def test_what_a_file_declares_takes_no_memory(found):
    """Gigabytes are declared in the header, as a network, as seeds and as text."""
    tensors, said = opened(_file.packed(tickets.of(found)))
    network = said["provenance"]["network"]
    wide = {
        **said,
        "provenance": {
            **said["provenance"],
            "task": None,
            "network": {**network, "width": 64, "inputs": [99, 999, 999]},
        },
    }
    many = {**said, "seeds": list(range(100_000)), "digests": ["0"] * 100_000}
    header = json.dumps({"mask/fc1.weight": {
        "dtype": "U8", "shape": [2, 2**34], "data_offsets": [0, 2**35]
    }}).encode()  # fmt: skip
    long = {**said, "rewind": "9" * 2_000_000}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for data in (
        sealed(tensors, wide), sealed(tensors, many), sealed(tensors, long),
        struct.pack("<Q", len(header)) + header,
    ):  # fmt: skip
        with pytest.raises(InputError):
            _file.unpacked(data)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kilobytes


def test_a_file_larger_than_any_ticket_is_not_read(tmp_path):
    with (tmp_path / "a.safetensors").open("wb") as file:
        file.truncate(_file.MOST_BYTES + 1)  # a hole, which takes no room on the disk
    with pytest.raises(DataError, match="has at most"):
        tickets.load(tmp_path / "a.safetensors")


def test_a_load_leaves_the_readers_own_draws_alone(found):
    data = _file.packed(tickets.of(found))
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    _file.unpacked(data)
    assert torch.equal(torch.rand(4), expected)


# Sharing ------------------------------------------------------------------------------------------


@pytest.fixture
def file(found, tmp_path):
    return tickets.save(tmp_path / "mine" / "toy-34.safetensors", found)


@pytest.mark.parametrize("as_address", [False, True])
def test_a_ticket_goes_through_a_folder_and_is_the_same(file, tmp_path, as_address):
    folder = tmp_path / "shared by all"
    where = folder.as_uri() if as_address else str(folder)
    assert tickets.push(file, where) == ["toy-34"]
    [pulled] = tickets.pull(where, into=tmp_path / "theirs")
    assert pulled.read_bytes() == file.read_bytes()
    assert tickets.load(pulled) == tickets.load(file)
    assert tickets.pull(where, "toy-34", tmp_path / "theirs") == [pulled]  # in its place
    with pytest.raises(InputError, match="Unknown ticket in .* 'toy'. Known: toy-34"):
        tickets.pull(where, ["toy"], tmp_path)


def test_what_is_damaged_is_neither_pushed_nor_kept(file, tmp_path):
    folder = tmp_path / "shared"
    tickets.push(file, folder)
    spoilt = bytearray(file.read_bytes())
    spoilt[-1] ^= 1
    (folder / "worse.safetensors").write_bytes(spoilt)
    with pytest.raises(DataError, match="worse in .* is not kept. worse cannot be used: "):
        tickets.pull(folder, ["worse"], into=tmp_path / "theirs")
    assert not (tmp_path / "theirs").exists()
    with pytest.raises(DataError):
        tickets.push([file, folder / "worse.safetensors"], tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_a_name_from_elsewhere_does_not_lead_out_of_the_folder(file, tmp_path, hub):
    hub.files = {"../../evil.safetensors": b"", ".hidden.safetensors": b"", "read me.txt": b""}
    assert tickets.pull("some/body", into=tmp_path / "theirs") == []
    with pytest.raises(InputError, match="Unknown ticket in some/body"):
        tickets.pull("some/body", ["../../evil"], tmp_path / "theirs")


class Hub:
    """What of huggingface_hub is used, with one repository in memory."""

    def __init__(self):
        self.files, self.made = {}, []

    def create_repo(self, name, exist_ok):
        self.made.append((name, exist_ok))

    def upload_file(self, *, path_or_fileobj, path_in_repo, repo_id, commit_message):
        self.files[path_in_repo] = path_or_fileobj.read_bytes()

    def list_repo_files(self, name):
        if name != "some/body":
            raise RuntimeError("404:\n  no such repository")
        return list(self.files)

    def hf_hub_download(self, name, filename, local_dir):
        path = local_dir / filename
        path.write_bytes(self.files[filename])
        return str(path)


@pytest.fixture
def hub(monkeypatch):
    hub = Hub()
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    return hub


def test_a_name_that_is_no_folder_means_the_hub(file, tmp_path, hub):
    assert tickets.push([file], "some/body") == ["toy-34"]
    assert (hub.made, list(hub.files)) == ([("some/body", True)], ["toy-34.safetensors"])
    [pulled] = tickets.pull("some/body", into=tmp_path / "theirs")
    assert tickets.load(pulled) == tickets.load(file)
    with pytest.raises(InputError, match=r"no/body cannot be reached \(404: no such repository\)"):
        tickets.pull("no/body")


def test_without_the_client_of_the_hub_one_sentence_says_what_to_install(file, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(InputError, match=r'some/body is not a folder, .*"lth_utils\[hub\]"'):
        tickets.push(file, "some/body")


def test_a_folder_that_is_not_there_is_one_sentence(tmp_path):
    for call in (tickets.pull, tickets.ls):
        with pytest.raises(InputError, match="is not a folder; name one"):
            call(tmp_path / "none")


# The zoo ------------------------------------------------------------------------------------------


def test_every_ticket_of_the_zoo_is_whole_and_does_what_was_recorded():
    """Its accuracies are those of its study's table."""
    files = _file._files(_file.zoo())
    assert len(files) >= 12 and sum(file.stat().st_size for file in files) < 2_000_000
    compared = 0
    for file in files:
        ticket = tickets.load(file.stem)
        p = ticket.provenance
        assert {"study", "scope", "licence"} <= p.notes.keys() and p.task is not None
        assert f"{100 * ticket.mask.density.mean():.2g}" in file.stem.split("-"), file.stem
        study = studies.recorded(p.notes["study"])
        table, data = study.table, study.provenance["dataset"]
        assert data["name"] == p.images.name
        if variant := p.notes.get("variant"):
            table = table[table[study.provenance["axis"]].astype(str) == variant]
        same = f"ticket @ {ticket.rewind}" if table.treatment.str.contains("@").any() else "ticket"
        name = "ticket" if ticket.drawn or same == "ticket" else same
        rows = table[(table.treatment == name) & (table.level == ticket.level)]
        rows = rows[(rows.moment == "early stop") & (rows.split == "test")]
        rows = rows[rows.metric == "accuracy"].set_index("replicate").value
        found = rows[list(ticket.seeds)].tolist()
        assert list(p.accuracy) == pytest.approx(found, abs=1e-5), file.stem
        compared += 1
    assert compared == len(files)


def test_the_list_of_a_folder_names_what_cannot_be_used(file):
    (file.parent / "broken.safetensors").write_bytes(b"\0" * 100)
    table = tickets.ls(file.parent).set_index("name")
    assert table.network.to_dict() == {
        "broken": "damaged, or no ticket", "toy-34": "Little LeNet, width 0.05",
    }  # fmt: skip
    row = table.loc["toy-34"]
    assert (row.dataset, row.rewind, row.seeds) == ("Toy", "0it", "0, 1")
    ticket = tickets.load(file)
    assert row.density == round(100 * ticket.mask.density[0].item(), 2)
    assert row.accuracy == round(sum(ticket.provenance.accuracy) / 2, 2)
    assert row.kB == round(file.stat().st_size / 1000, 1)
