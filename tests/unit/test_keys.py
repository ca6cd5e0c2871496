"""Keys: a run that was stored is found again, and no other is taken for it."""

import os
import subprocess
import sys
from dataclasses import dataclass, replace

import numpy as np
import pytest

from lth_utils import models, tasks
from lth_utils.errors import InputError
from lth_utils.lottery import imp
from lth_utils.lottery._imp import _Design
from lth_utils.lottery._units import Bench
from lth_utils.pruning import magnitude
from lth_utils.recipes import SGD, Adam, Recipe
from lth_utils.store import NUMERICS, Store, canonical, identity, key

SETTINGS = {
    "recipe": Recipe("100it", 10, Adam(0.01)),
    "seed": 3,
    "fractions": {"b": 0.1, "a": 0.2},
    "parent": None,
    "keep": ("1%",),
}


@dataclass(frozen=True)
class Rule:
    rate: float
    betas: tuple = (0.9, 1.0)


def test_a_refactoring_changes_no_key():
    # A key that changes loses every finished run: where that is meant, raise NUMERICS.
    assert NUMERICS == 2
    assert key({}) == "9021ec7a4e6f13b8aa11694d274f64dd2fb105a1216825a469f6093e8646492c"
    settings = {
        "seed": 3,
        "rate": 1.2e-3,
        "parent": None,
        "data": ("mnist", "ab"),
        "how": Rule(2.0),
    }
    assert key(settings) == "0c2069ea8003f62ebde935bdd8689a74fcd4d36396c141403bc0640e3405616e"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        (1, "1"),
        (-2.0, "-2"),
        (1.2e-3, "0.0012"),
        (1e22, "10000000000000000000000"),
        (0.1 + 0.2, "0.30000000000000004"),
        (np.float64(0.5), "0.5"),
        (np.int64(7), "7"),
        ("1%", '"1%"'),
        ("é", '"\\u00e9"'),
        ((1, "a", [2.5]), '[1,"a",[2.5]]'),
        ({"b": 1, "a": {"d": (), "c": None}}, '{"a":{"c":null,"d":[]},"b":1}'),
        (
            Rule(1, Rule(1e-8)),
            '{"betas":{"betas":[0.9,1],"rate":1e-08,"type":"Rule"},"rate":1,"type":"Rule"}',
        ),
    ],
    ids=str,
)
def test_every_kind_of_value_has_its_text_for_good(value, text):
    assert canonical({"it": value}) == f'{{"it":{text}}}'


def test_a_key_is_the_same_in_every_process():
    code = (
        "from lth_utils.recipes import *; from lth_utils.store import key; "
        "print(key({'keep': ['1%'], 'parent': None, 'fractions': {'a': 0.2, 'b': 0.1}, 'seed': 3, "
        "'recipe': Recipe('100it', 10, Adam(0.01))}))"
    )
    environment = os.environ | {"PYTHONHASHSEED": "1"}
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
    )
    assert printed.stdout.strip() == key(SETTINGS)


@pytest.mark.parametrize(
    ("one", "other"),
    [(1, 1.0), (0.0, -0.0), (Adam(1), Adam(1.0)), (np.float64(2), 2), ([1, 2], (1.0, 2))],
    ids=str,
)
def test_equal_settings_have_one_key(one, other):
    assert key({"it": one}) == key({"it": other})


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 4},
        {"seed": "3"},
        {"seed": 3.5},
        {"parent": "0"},
        {"parent": False},
        {"keep": ()},
        {"fractions": {"a": 0.1, "b": 0.2}},
        {"recipe": replace(SETTINGS["recipe"], optimiser=Adam(0.01, eps=1e-7))},
        {"recipe": replace(SETTINGS["recipe"], optimiser=SGD(0.01))},
        {"more": 1},
    ],
    ids=lambda c: f"{c}"[:30],
)
def test_other_settings_have_another_key(changes):
    assert key(SETTINGS | changes) != key(SETTINGS)


def test_true_is_not_one():
    assert len({key({"it": it}) for it in (True, 1, "1", "true", False, 0, None)}) == 7


def test_an_optimiser_inside_a_recipe_is_known_by_its_class():
    @dataclass(frozen=True)
    class Likeness:
        rate: float
        betas: tuple = (0.9, 0.999)
        eps: float = 1e-8

    likeness = replace(SETTINGS["recipe"], optimiser=Likeness(0.01))
    assert key(SETTINGS | {"recipe": likeness}) != key(SETTINGS)


def test_another_version_of_the_numerics_finds_nothing_of_the_old(monkeypatch):
    old = key(SETTINGS)
    monkeypatch.setattr("lth_utils.store._keys.NUMERICS", NUMERICS + 1)
    assert key(SETTINGS) != old


@pytest.mark.parametrize("number", [float("nan"), float("inf"), np.float64("-inf")], ids=str)
def test_what_is_no_number_is_no_setting(number):
    with pytest.raises(InputError, match="is finite; got"):
        key({"recipe": Adam(number)})


@pytest.mark.parametrize("value", [print, Adam, {1: "a"}, {1, 2}, b"a", 1j], ids=str)
def test_what_has_no_canonical_text_cannot_be_part_of_a_key(value):
    with pytest.raises(TypeError, match="cannot be part of a key"):
        key({"it": [value]})


# Functions ----------------------------------------------------------------------------------------


def test_an_edited_criterion_is_not_given_the_results_of_the_old_one():
    def power(k, default=2):
        def score(layer, default=default):
            return [w**k for w in layer]

        return score

    assert identity(power(1)) == identity(power(1))
    assert len({identity(power(1)), identity(power(-1)), identity(power(1, default=3))}) == 3
    assert identity(magnitude.scores) == "magnitude"  # the package's own go by name


def test_a_criterion_with_a_comprehension_is_the_same_in_the_next_session():
    source = "def score(layer):\n    return [abs(w) for w in layer]"
    first, second = {"__name__": "notebook"}, {"__name__": "notebook"}
    exec(source, first)
    exec(source, second)
    assert identity(first["score"]) == identity(second["score"])


# Published tasks ----------------------------------------------------------------------------------

PINNED = {
    ("lenet-mnist", "smoke"): ("8297fa880494d5d0", "c700ab701ab976a2"),
    ("lenet-mnist", "live"): ("2cf5b7a5f9e00eb7", "573cd8e049f7283e"),
    ("lenet-mnist", "paper"): ("32662686725442c9", "781ef044b6a7c789"),
    ("lenet-fashion", "smoke"): ("deccd2f8d67f28e9", "86058e802fccea16"),
    ("lenet-fashion", "live"): ("ba67470f2f1017f1", "2d89362fd02c4f84"),
    ("lenet-fashion", "paper"): ("2cb8e93a0ab4bbc7", "263e100ac6786b9d"),
    ("conv-2-cifar10", "smoke"): ("9d6e066366c24558", "380e895d4d34a671"),
    ("conv-2-cifar10", "live"): ("0b9fae23e10cd407", "727b4fe1768e2731"),
    ("conv-2-cifar10", "paper"): ("35211422326e64f2", "6c051f5c22ac6455"),
    ("conv-4-cifar10", "smoke"): ("069286dbd03407f2", "52b999fa23c35152"),
    ("conv-4-cifar10", "live"): ("67d4617da3798b70", "92da1e07e2929e34"),
    ("conv-4-cifar10", "paper"): ("53dc8de111d11efe", "b0bbbb49842a2e8d"),
    ("conv-6-cifar10", "smoke"): ("53e053acc21a1e53", "b110132bd20ff534"),
    ("conv-6-cifar10", "live"): ("c515f2e418927c15", "e75bde7e6de4cd5f"),
    ("conv-6-cifar10", "paper"): ("15bb09b08a675122", "7d9cc76d0f6bc3df"),
    ("lenet-mnist1d", "smoke"): ("78966e3d63a2f3eb", "5726f00f3cce95b5"),
    ("lenet-mnist1d", "live"): ("a1a3efb6c0ac2e12", "b1242bde9973beb6"),
    ("lenet-mnist1d", "paper"): ("e6e862ec1a9a4d56", "5dd73e2f5badb0d7"),
    ("lenet-supermask", "smoke"): ("479395200d7c5bc4", "c79ccde696c747cb"),
    ("lenet-supermask", "live"): ("55d34ccd35d5d5e9", "9afd2bcfacbcff2b"),
    ("lenet-supermask", "paper"): ("8c54cdf54dc14756", "d4c7e1e7d58f1d39"),
    ("lenet-edge-popup", "smoke"): ("72266d64980544b9", "7dcc3fa7b08edc7b"),
    ("lenet-edge-popup", "live"): ("a6d14a299a109598", "378166ed577dec3d"),
    ("lenet-edge-popup", "paper"): ("6abe65ff3e314a44", "3449620cebec1ef5"),
    ("conv-2-supermask", "smoke"): ("d5a82914a9dc6969", "a60618c9cc790bdd"),
    ("conv-2-supermask", "live"): ("803167333c52f48f", "7d45d6a2414465d4"),
    ("conv-2-supermask", "paper"): ("839ce7d8e99a4b2a", "37d54d95e116b163"),
    ("conv-4-supermask", "smoke"): ("8f1f1156f5a63870", "7c98d875b9d527de"),
    ("conv-4-supermask", "live"): ("2dbcf494a8f85426", "5fa70fb12651b0c2"),
    ("conv-4-supermask", "paper"): ("8543ee5df35f4a99", "f9db0903b733e86e"),
    ("conv-6-supermask", "smoke"): ("522562e717a730c2", "5a2aef9df47c8489"),
    ("conv-6-supermask", "live"): ("356ad21635fded3d", "2fd278a1568c869c"),
    ("conv-6-supermask", "paper"): ("6fb1d8e5dc19d475", "d71697ead041200b"),
    ("conv-2-edge-popup", "smoke"): ("2bdd1ee0c447eb90", "73f83d0ced6d2fbb"),
    ("conv-2-edge-popup", "live"): ("bb2b62173a807414", "4f85b9eed415cb38"),
    ("conv-2-edge-popup", "paper"): ("9aabf31e84056310", "817798ae24cf8a66"),
    ("conv-4-edge-popup", "smoke"): ("247d909ff979690b", "281c2eef11bc71d5"),
    ("conv-4-edge-popup", "live"): ("ad3f2a84d622190f", "f6fab063b8fffc35"),
    ("conv-4-edge-popup", "paper"): ("de7e312010d3ec4a", "1be950c1064a4922"),
    ("conv-6-edge-popup", "smoke"): ("e591ac761288e4a0", "b54b9888bb2a71fe"),
    ("conv-6-edge-popup", "live"): ("ca715490ef80876c", "6fd2c2e837da5b0e"),
    ("conv-6-edge-popup", "paper"): ("96e23a38774538b5", "f3bcb00353441fdc"),
    ("mlp-mnist1d", "smoke"): ("0d7d4d65f071d6db", "4cbc9bc87cab4345"),
    ("mlp-mnist1d", "live"): ("c0004f99ad20bfd2", "4d60bf508309cc12"),
    ("mlp-mnist1d", "paper"): ("c0004f99ad20bfd2", "58d96c6d990a5ec2"),
    ("mlp-mnist1d-drops", "smoke"): ("b5ff7d457c3bb99c", "a95fb49646e836ff"),
    ("mlp-mnist1d-drops", "live"): ("5bdcdff17a2a5720", "d665207cdd6596c6"),
    ("mlp-mnist1d-drops", "paper"): ("5bdcdff17a2a5720", "824d4fec486a6ebb"),
    ("resnet-20-cifar10", "smoke"): ("05e61e3813ecb9cb", "b616e8ff07cb0181"),
    ("resnet-20-cifar10", "live"): ("9c70e04804ef704b", "4d06c792660a5a6e"),
    ("resnet-20-cifar10", "paper"): ("b3fb23dac630ea27", "ab9210a693251fdc"),
    ("vgg-19-cifar10", "smoke"): ("090fe02b4ad24662", "dc0c72d7126e38d0"),
    ("vgg-19-cifar10", "live"): ("1d35678e019f812c", "3e7e203126e918f3"),
    ("vgg-19-cifar10", "paper"): ("1517c779ca202b05", "be60ab474ada3c7c"),
    ("vgg-11-cifar10", "smoke"): ("b29658705dc068b0", "7a4b3663b7fe55ce"),
    ("vgg-11-cifar10", "live"): ("30af5ac84eb12f8e", "5fa47cd473c9e265"),
    ("vgg-11-cifar10", "paper"): ("049bd007cd5c9b8b", "1bc71ee00678aece"),
    ("vgg-11-plain-cifar10", "smoke"): ("5f82743b1068666d", "bf3b769333e9e216"),
    ("vgg-11-plain-cifar10", "live"): ("a0d31ef22f996e82", "003a6df4da25ed60"),
    ("vgg-11-plain-cifar10", "paper"): ("f975670b619f02d3", "cb6c019d76c2cdf4"),
    ("resnet-50-cifar10", "smoke"): ("c870f1e1c9fee0bb", "483b01e249e33d60"),
    ("resnet-50-cifar10", "live"): ("593e0f6cb08beceb", "30a7e290719b856b"),
    ("resnet-50-cifar10", "paper"): ("bf55685e8d8fc7b3", "aebe5473f561029a"),
    ("transformer-text", "smoke"): ("814df8be92c3bcd8", "23f5b643345b5016"),
    ("transformer-text", "live"): ("8d881c2ea8ecf3ba", "bb7879f704bf3c4c"),
    ("transformer-text", "paper"): ("e3e15b80cb98fd86", "f9d1c28311082993"),
}


@pytest.mark.parametrize("scale", tasks.SCALES)
@pytest.mark.parametrize("name", tasks.TASKS)
def test_the_keys_of_published_tasks_never_change(name, scale, toy, tmp_path):
    """Or what was stored of them is orphaned. The last key of a chain depends on all before it."""
    task = replace(tasks.by_name(name).at(scale))  # for the parts planted here stay with it
    shape = (1, 1, 32) if task.network.startswith("transformer") else (1, 28, 28)
    # Instead of what this machine happens to have.
    task.__dict__["data"] = replace(toy, name=task.dataset, fingerprint="f" * 64)
    task.__dict__["model"] = models.build(task.network, shape, 10, task.width)
    if task.supermask:
        bench = Bench(task, task.seeds, {}, Store(tmp_path), None, None)
        keys = list(bench.keys({0: ["supermask"]}, None).values())
        first, last = keys[0], keys[-1]
    else:
        treatments = ("ticket", "reinit", "random mask")
        design = _Design.of(task, None, None, "1%", treatments, "magnitude", None, None)
        bench = Bench(task, design.seeds, design.settings, Store(tmp_path), None, None)
        keys = bench.keys(design.plan, design.kept)
        first, last = keys[0, "dense", 0], keys[task.levels, "random mask", task.seeds[-1]]
    assert (first[:16], last[:16]) == PINNED[name, scale]


def test_a_key_is_known_before_anything_is_trained(toy_task, tmp_path):
    store = Store(tmp_path)
    design = _Design.of(toy_task, None, None, "5it", ("ticket", "reinit"), "magnitude", None, None)
    bench = Bench(toy_task, design.seeds, design.settings, store, None, None)
    keys = set(bench.keys(design.plan, design.kept).values())
    imp(toy_task, rewind="5it", treatments=("ticket", "reinit"), store=store)
    assert {unit.key for unit in store.units()} == keys
