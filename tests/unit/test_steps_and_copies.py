"""Treatments with a step of their own, copies under other SGD noise, and what lies between them."""

import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from lth_utils import controls, stability, tasks
from lth_utils.controls import Situation, at_step, is_dense, original_of, step_of
from lth_utils.errors import InputError
from lth_utils.lottery import imp, predict
from lth_utils.recipes import Augment, Step
from lth_utils.stability import Between, instability
from lth_utils.store import Store
from lth_utils.training._batches import Order

QUICK = {"between": Between(points=3), "steps": ("0%", "50%")}
WHICH = ["treatment", "level", "replicate", "moment", "split", "metric", "step"]


@pytest.fixture(autouse=True)
def no_damage():
    """Reading what was just written must never warn."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="A stored run was damaged")
        yield


@pytest.fixture
def task(toy_task):
    """One level of one replicate, 8 iterations."""
    recipe = replace(toy_task.recipe, duration="8it", every="4it")
    return replace(toy_task, recipe=recipe, levels=1, replicates=1)


@pytest.fixture
def trainings(monkeypatch):
    """Every training that is really done: its start, mask, seeds, begin and copies."""
    done = []
    train = tasks.Task.train

    def seen(self, start, mask, seeds, begin="0it", *args, **options):
        done.append((start, mask, list(seeds), begin, options.get("copies")))
        return train(self, start, mask, seeds, begin, *args, **options)

    monkeypatch.setattr(tasks.Task, "train", seen)
    return done


@pytest.fixture
def measured(monkeypatch):
    """Every pair that is really measured."""
    done = []
    call = Between.__call__

    def seen(self, *pair):
        done.append(pair)
        return call(self, *pair)

    monkeypatch.setattr(Between, "__call__", seen)
    return done


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[n], b[n]) for n in a)


def values(table, treatment, **which):
    rows = table[table.treatment == treatment]
    for column, value in which.items():
        rows = rows[rows[column] == value]
    assert len(rows)
    return rows.set_index(WHICH[1:]).value.sort_index()


# Names --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "step", "original", "dense"),
    [
        ("ticket", None, None, False),
        ("ticket @ 6%", "6%", None, False),
        ("ticket @ 6%, copy", "6%", "ticket @ 6%", False),
        ("ticket, copy", None, "ticket", False),
        ("random mask @ 500it", "500it", None, False),
        ("random mask @ 1.5%, same signs, copy", "1.5%", "random mask @ 1.5%, same signs", False),
        ("reinit, copy, frozen", None, "reinit, frozen", False),
        ("dense", None, None, True),
        ("dense @ 0it, copy", "0it", "dense @ 0it", True),
    ],
)
def test_a_name_says_the_step_the_original_and_whether_it_is_dense(name, step, original, dense):
    assert (step_of(name), original_of(name), is_dense(name)) == (step, original, dense)


def test_a_step_joins_a_name_before_its_modifiers():
    """A step behind them, where it would be taken for a modifier."""
    assert at_step("ticket", "6%") == "ticket @ 6%"
    assert at_step("ticket, copy", "6%") == "ticket @ 6%, copy"
    assert at_step("ticket @ 1%, copy", "6.0%") == "ticket @ 6%, copy"
    assert at_step("random mask", 500) == "random mask @ 500it"
    assert at_step("ticket", Step.of("3ep")) == "ticket @ 3ep"
    for name in ("ticket, frozen, copy", "dense, copy"):
        assert step_of(at_step(name, "25%")) == "25%"
        assert original_of(at_step(name, "25%")) == at_step(original_of(name), "25%")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ticket @ soon", "'soon' is not a step; write '500it', '3ep' or '1%'"),
        ("ticket @ 6", "'6' is not a step"),
        ("ticket @ ", "'' is not a step"),
        ("ticket @ 1% @ 6%", "is not a step"),
        ("lucky @ 6%", "treatment"),
        ("ticket @ 6%, twin", "modifier"),
        ("copy", "treatment"),
        ("copy @ 6%", "treatment"),
    ],
)
def test_a_name_that_is_none_is_one_sentence_before_anything_is_trained(
    task, trainings, name, message
):
    with pytest.raises(InputError, match=message):
        imp(task, treatments=("ticket", name))
    with pytest.raises(InputError, match=message):
        predict(task, treatments=(name,))
    assert trainings == []


@pytest.mark.parametrize("ask", [imp, predict])
@pytest.mark.parametrize("step", ["150%", "9it", "50ep"])
def test_a_step_after_the_end_is_one_sentence(task, ask, step):
    """A time below zero, or weights at a step that never came."""
    with pytest.raises(InputError, match=r"Step .* is iteration \d+, beyond the recipe's 8\."):
        ask(task, treatments=("ticket", f"random mask @ {step}"))


def test_a_copy_without_its_original_is_refused(task, trainings):
    for names in (("ticket", "ticket @ 6%, copy"), ("ticket @ 6%", "ticket @ 1%, copy"),
                  ("ticket", "reinit, copy")):  # fmt: skip
        with pytest.raises(InputError, match="is compared with .*; name that as well"):
            imp(task, treatments=names)
    assert trainings == []


@pytest.mark.parametrize("first", ["ticket, copy", "dense", "dense @ 6%, copy", "dense @ 6%"])
def test_what_is_pruned_next_is_neither_a_copy_nor_dense(task, trainings, first):
    with pytest.raises(InputError, match="cannot be what is pruned next; name another"):
        imp(task, treatments=(first, "ticket"))
    assert trainings == []


def test_a_situation_without_steps_says_so(net):
    weights = {"w": torch.zeros(1, 2)}
    now = Situation(None, weights, weights, "0it", weights, None, [0], 1, None)
    with pytest.raises(InputError, match="Nothing was kept at step 6%; give the situation at="):
        controls.by_name("ticket @ 6%")(now)


# Steps --------------------------------------------------------------------------------------------


def test_a_ticket_at_step_zero_is_a_ticket(toy_task):
    """Two names, and two results, for one thing."""
    for step, options in (("0%", {}), ("0it", {}), ("25%", {"rewind": "25%"})):
        named, plain = (
            imp(toy_task, treatments=(name, "random mask"), seeds=[0], **how)
            for name, how in ((f"ticket @ {step}", {}), ("ticket", options))
        )
        for one, other in ((named.table, plain.table), (named.curves, plain.curves)):
            pd.testing.assert_series_equal(
                values(one, f"ticket @ {step}"), values(other, "ticket"), check_exact=True
            )
        assert [t.mask for t in named.tickets] == [t.mask for t in plain.tickets]
        if options:  # the others are rewound to the default step
            assert values(named.curves, "random mask").index.get_level_values("step").min() == 0


def test_each_treatment_begins_at_its_own_step_from_the_weights_there(task, trainings):
    task = task.changed(recipe={"every": "2it"})
    names = ("ticket @ 50%", "ticket @ 25%", "random mask @ 50%", "ticket", "reinit @ 50%")
    found = imp(task, treatments=names)
    dense = task.train(task.init([0]), task.dense_mask([0]), [0], keep=("25%", "50%"))
    first = found.curves[(found.curves.level == 1)].groupby("treatment").step.min()
    assert first.to_dict() == {
        "ticket @ 50%": 4, "ticket @ 25%": 2, "random mask @ 50%": 4, "ticket": 0,
        "reinit @ 50%": 0,  # fresh weights have no past
    }  # fmt: skip
    starts = {begin: start for start, mask, _, begin, _ in trainings if mask.density.max() < 1}
    for step in ("25%", "50%"):
        one = {n: w[:1] for n, w in starts[step].items()}
        assert equal(one, dense.at[step])


def test_what_is_named_first_is_what_is_pruned_further(toy_task):
    first = imp(toy_task, treatments=("ticket @ 50%", "ticket"), seeds=[0]).tickets
    plain = imp(toy_task, treatments=("ticket",), rewind="50%", seeds=[0]).tickets
    zero = imp(toy_task, treatments=("ticket",), seeds=[0]).tickets
    assert [t.mask for t in first] == [t.mask for t in plain]
    assert first[1].mask != zero[1].mask


# Copies -------------------------------------------------------------------------------------------


def test_a_copy_has_the_same_start_and_mask_and_other_noise_alone(net, some_mask):
    rng = torch.Generator().manual_seed(0)
    weights = {n: torch.randn(1, *s, generator=rng) for n, s in
               {"fc1.weight": (15, 16), "fc1.bias": (15,)}.items()}  # fmt: skip
    mask = some_mask({"fc1.weight": (15, 16)}, members=1)
    now = Situation(mask, weights, weights, "10%", weights, None, [0], 1,
                    lambda *where: {n: w + 1 for n, w in weights.items()})  # fmt: skip
    for name in ("ticket", "reinit", "random mask", "rate rewinding", "ticket, frozen"):
        arm, copy = (controls.by_name(n)(now) for n in (name, f"{name}, copy"))
        assert equal(arm.start, copy.start) and arm.mask == copy.mask
        assert (arm.begin, arm.recipe) == (copy.begin, copy.recipe)
        assert (arm.copy, copy.copy) == (0, 1)


def test_equal_noise_gives_equal_networks_and_a_copy_another(task):
    """A copy that differs by chance would be no copy; one that does not differ no experiment."""
    task = task.changed(recipe={"augment": Augment(flip=True)})
    start = {n: torch.cat([w, w, w]) for n, w in task.init([0]).items()}
    run = task.train(start, task.dense_mask([0, 1, 2]), [0, 0, 0], copies=[0, 0, 1])
    for w in run.weights.values():
        assert torch.equal(w[0], w[1])
    assert not torch.equal(run.weights["fc1.weight"][0], run.weights["fc1.weight"][2])
    # Before the first step there is no noise yet.
    still = task.train(start, task.dense_mask([0, 1, 2]), [0, 0, 0], end=0, copies=[0, 0, 1])
    assert all(torch.equal(w[0], w[2]) for w in still.weights.values())


def test_with_one_batch_of_everything_there_is_no_noise_to_differ_by(task, toy):
    """Anything else than the order that a copy changes would show here."""
    task = task.changed(recipe={"batch": len(toy.train), "duration": "3it"})
    run = task.train(
        {n: torch.cat([w, w]) for n, w in task.init([0]).items()},
        task.dense_mask([0, 1]), [0, 0], copies=[0, 1],
    )  # fmt: skip
    for w in run.weights.values():
        torch.testing.assert_close(w[0], w[1], rtol=1e-3, atol=1e-4)


def test_the_lottery_trains_copies_with_other_noise(task, trainings):
    """A name in the table, and the same network behind it."""
    found = imp(task, treatments=("ticket @ 50%", "reinit", "ticket @ 50%, copy", "reinit, copy"))
    seen = {}
    for start, mask, _, begin, copies in trainings:
        for i, number in enumerate(copies):
            member = {n: w[i : i + 1] for n, w in start.items()}
            seen.setdefault((begin, number), []).append((member, mask.member(i)))
    for begin in ("50%", "0it"):
        *_, one = seen[begin, 0]
        [other] = seen[begin, 1]
        assert equal(one[0], other[0]) and one[1] == other[1]
    for name in ("ticket @ 50%", "reinit"):
        one, other = (values(found.table, n, metric="loss") for n in (name, f"{name}, copy"))
        assert not one.equals(other)


def test_copies_of_the_dense_network_leave_it_where_they_say(task, trainings):
    """A copy that parts from the start, or from the end."""
    imp(task, levels=0, treatments=("ticket", "dense @ 25%, copy", "dense @ 50%, copy"))
    (_, _, _, begin, copies), *parted = trainings
    assert (begin, copies) == ("0it", [0])
    run = task.train(task.init([0]), task.dense_mask([0]), [0], keep=("25%", "50%"))
    for (start, mask, _, begin, copies), step in zip(parted, ("25%", "50%"), strict=False):
        assert (begin, copies) == (step, [1])
        assert equal(start, run.at[step]) and mask.density.tolist() == [1.0]


def test_copies_of_the_dense_network_are_trained_once_and_decide_nothing(toy_task):
    with_, without = (
        imp(toy_task, treatments=("ticket", *more), seeds=[0])
        for more in (("dense @ 0it, copy",), ())
    )
    assert [t.mask for t in with_.tickets] == [t.mask for t in without.tickets]
    rows = with_.table[with_.table.treatment == "dense @ 0it, copy"]
    assert set(rows.level) == {0} and set(rows.density) == {1.0}
    rest = with_.table[with_.table.treatment != "dense @ 0it, copy"].reset_index(drop=True)
    pd.testing.assert_frame_equal(rest, without.table, check_exact=True)


def test_the_dense_network_again_from_a_step_does_not_become_what_is_pruned(toy_task, tmp_path):
    """Under another name it is no copy, and still not the network that tickets come from."""
    stores = [Store(tmp_path / name) for name in "ab"]
    with_, without = (
        imp(toy_task, treatments=("ticket", *more), seeds=[0], store=store)
        for more, store in ((("dense @ 50%", "dense"), stores[0]), ((), stores[1]))
    )
    assert [t.mask for t in with_.tickets] == [t.mask for t in without.tickets]
    for name in ("dense", "ticket"):
        assert values(with_.table, name).equals(values(without.table, name))
    assert not with_.table.duplicated(WHICH).any()
    options = {"treatments": ("ticket", "dense @ 50%", "dense"), "seeds": [0], "store": stores[0]}
    assert predict(toy_task, **options) == 0


# Between them -------------------------------------------------------------------------------------


@pytest.fixture
def found(task, trainings, measured):
    return instability(task, **QUICK)


def test_an_analysis_trains_what_it_says(found, trainings, measured):
    names = {"dense", "ticket @ 0%", "ticket @ 50%", "reinit", "ticket @ 0%, copy",
             "ticket @ 50%, copy", "dense @ 0%, copy", "dense @ 50%, copy"}  # fmt: skip
    trained = found.table[found.table.moment == "end"]
    assert set(trained.treatment) == names
    assert sum(len(seeds) for _, _, seeds, _, _ in trainings) == len(names)
    assert len(measured) == 4


def test_rows_between_stand_under_the_original(found):
    rows = found.table[found.table.moment == "between"]
    assert set(zip(rows.treatment, rows["level"], strict=True)) == {
        ("dense @ 0%", 0), ("dense @ 50%", 0), ("ticket @ 0%", 1), ("ticket @ 50%", 1),
    }  # fmt: skip
    assert set(rows.metric) == {
        "distance", "cosine", "error barrier", "loss barrier", "midpoint gain",
    }  # fmt: skip
    assert not found.table.duplicated(WHICH).any() and not found.table.isna().any().any()
    assert set(rows[rows["level"] == 0].density) == {1.0}
    line = found.curves[found.curves.moment == "line"]
    assert not (found.table.moment == "line").any()
    assert set(line.step) == {0, 1, 2} and set(line.metric) == {"accuracy", "loss"}
    assert len(line) == 4 * 3 * 2
    distances = rows[rows.metric == "distance"].set_index("treatment").value
    assert (distances > 0).all()


def test_what_is_measured_lies_between_the_trained_networks(task, measured, trainings):
    """The dense network compared with a ticket, or the copy with itself."""
    names = ("ticket @ 50%", "ticket @ 50%, copy", "dense @ 50%, copy")
    imp(task, treatments=names, between=Between(points=3))
    dense = task.train(task.init([0]), task.dense_mask([0]), [0], keep=("50%",))
    (_, one, other, seed), (_, first, second, _) = measured
    parted = task.train(dense.at["50%"], task.dense_mask([0]), [0], "50%", copies=[1])
    assert equal(one, dense.weights) and equal(other, parted.weights) and seed == 0
    mask = imp(task, treatments=("ticket",)).tickets[0].mask
    for weights, number in ((first, 0), (second, 1)):
        run = task.train(dense.at["50%"], mask, [0], "50%", copies=[number])
        for name, w in run.weights.items():
            torch.testing.assert_close(weights[name], w, rtol=1e-3, atol=1e-5)


def test_the_same_again_trains_and_measures_nothing(task, found, trainings, measured):
    trainings.clear()
    measured.clear()
    again = instability(task, **QUICK)
    assert trainings == [] and measured == []
    for one, other in ((found.table, again.table), (found.curves, again.curves)):
        pd.testing.assert_frame_equal(one, other, check_exact=True)
    assert again.seconds == pytest.approx(found.seconds, abs=0.01)


def test_an_analysis_that_was_stopped_between_goes_on_where_it_was(
    task, found, trainings, measured, monkeypatch, tmp_path
):
    """A pair measured twice, or one never."""
    trainings.clear()
    measured.clear()
    store = Store(tmp_path / "stopped")
    call = Between.__call__

    def stops(self, *pair):
        if len(measured) == 2:
            raise KeyboardInterrupt
        return call(self, *pair)

    with monkeypatch.context() as patch:
        patch.setattr(Between, "__call__", stops)
        with pytest.raises(KeyboardInterrupt):
            instability(task, **QUICK, store=store)
    before = len(trainings)
    resumed = instability(task, **QUICK, store=store)
    assert len(measured) == 4 and before > 0
    pd.testing.assert_frame_equal(resumed.table, found.table, check_exact=True)
    pd.testing.assert_frame_equal(resumed.curves, found.curves, check_exact=True)


def test_what_is_stored_is_predicted_to_take_no_time(task, found):
    assert stability.predict(task, **QUICK) == 0
    assert stability.predict(task, **QUICK | {"steps": ("0%", "25%")}) > 0
    assert stability.predict(task, **QUICK, seeds=[0, 1]) > 0


def test_another_measurement_takes_time_and_no_training(task, found, trainings, measured):
    """Thirty points predicted to take no time, because three had been looked at."""
    more = QUICK | {"between": Between(points=4)}
    assert stability.predict(task, **more) > 0
    trainings.clear()
    measured.clear()
    longer = instability(task, **more)
    assert trainings == [] and len(measured) == 4
    assert set(longer.curves[longer.curves.moment == "line"].step) == {0, 1, 2, 3}
    trained = [t[t.moment.isin(["end", "early stop"])].reset_index(drop=True)
               for t in (found.table, longer.table)]  # fmt: skip
    pd.testing.assert_frame_equal(*trained, check_exact=True)


def test_steps_that_are_added_later_leave_the_others_as_they_were(task, found, tmp_path):
    """A copy read back for another step, or compared with an original of an earlier plan."""
    more = QUICK | {"steps": ("0%", "25%", "50%")}
    grown, fresh = instability(task, **more), instability(task, **more, store=Store(tmp_path / "b"))
    one, other = (t.table.sort_values(WHICH, ignore_index=True) for t in (grown, fresh))
    pd.testing.assert_frame_equal(one, other, rtol=1e-4)
    for name in set(found.table.treatment):
        expected = values(found.table, name)
        assert values(grown.table, name).to_numpy() == pytest.approx(expected.to_numpy(), rel=1e-4)


def test_only_what_is_compared_keeps_its_weights(task, found, tmp_path):
    """A store filled with weights that nobody asks for, or a pair that cannot be measured."""

    def keepers(store):
        return {unit.settings["treatment"] for unit in store.units()
                if "treatment" in unit.settings and store.load(unit.key).weights}  # fmt: skip

    copied = {"ticket @ 0%", "ticket @ 50%", "dense @ 0%", "dense @ 50%"}
    compared = {f"{name}, copy" for name in copied} | {"ticket @ 0%", "ticket @ 50%", "dense"}
    assert keepers(Store()) == compared
    store = Store(tmp_path / "plain")
    imp(task, treatments=("ticket", "reinit", "ticket, copy", "dense @ 0%, copy"), store=store)
    assert keepers(store) == {"ticket", "dense"}


def test_weights_kept_or_not_are_units_of_their_own(task, tmp_path):
    """A control that was stored without its weights, and cannot be compared any more."""
    names = ("ticket", "ticket @ 50%", "ticket @ 50%, copy")
    plain = imp(task, treatments=names)
    both = imp(task, treatments=names, between=Between(points=3))
    assert (both.table.moment == "between").any()
    rest = both.table[both.table.moment != "between"].reset_index(drop=True)
    pd.testing.assert_frame_equal(rest, plain.table, check_exact=True)


def test_at_levels_without_controls_there_are_no_copies(toy_task, measured):
    task = replace(toy_task, control_levels=(2,), replicates=1)
    found = instability(task, **QUICK, dense=())
    assert set(found.table[found.table.moment == "between"].level) == {2}
    assert len(measured) == 2
    assert set(found.table[found.table.level == 1].treatment) == {"ticket @ 0%"}


def test_replicates_are_measured_each_for_itself(task, tmp_path):
    two = instability(task, **QUICK, seeds=[0, 1], store=Store(tmp_path / "two"))
    one = instability(task, **QUICK, seeds=[1], store=Store(tmp_path / "one"))
    both, alone = (t.table[(t.table.moment == "between") & (t.table.replicate == 1)]
                   for t in (two, one))  # fmt: skip
    assert both.value.to_numpy() == pytest.approx(alone.value.to_numpy(), rel=1e-3, abs=1e-6)
    distances = two.table[two.table.metric == "distance"].groupby("treatment").value.nunique()
    assert (distances == 2).all()


def test_an_analysis_of_nothing_is_one_sentence(task):
    for wrong in ({"steps": ()}, {"treatments": ()}):
        with pytest.raises(InputError, match="Name at least one step, and a treatment"):
            instability(task, **wrong)
    with pytest.raises(InputError, match="is not a step"):
        instability(task, steps=("soon",))


def test_numbers_of_copies_are_streams_of_their_own():
    """Copy 1 of one seed that sees the order of another seed's copy 0."""
    orders = [Order(seed, copy, 50).slice(0, 50) for seed in (0, 1) for copy in (0, 1, 2)]
    assert len({tuple(order) for order in orders}) == 6
    assert all(np.array_equal(np.sort(order), np.arange(50)) for order in orders)
