"""Recipes: steps, learning rates, and what they say at the ends."""

import json
import math
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
import torch

from lth_utils import store
from lth_utils.errors import InputError
from lth_utils.recipes import SGD, Adam, Augment, Recipe, Schedule, Step

RECIPE = Recipe("100it", 10, SGD(0.1))


@pytest.mark.parametrize(
    ("text", "amount", "unit"),
    [("500it", 500, "it"), ("3ep", 3, "ep"), ("0.5ep", 0.5, "ep"), ("1%", 1, "%"),
     ("0.1%", 0.1, "%"), ("0it", 0, "it"), (7, 7, "it")],
)  # fmt: skip
def test_a_step_is_read_as_written(text, amount, unit):
    assert Step.of(text) == Step(amount, unit)
    assert Step.of(Step.of(text)) == Step(amount, unit)


@pytest.mark.parametrize(
    "text",
    ["", "500", "it", "-5it", -5, "5 it", "1.5it", "5IT", "5epochs", "1%%", "1e3it", "5it\n"],
)
def test_what_is_no_step_is_refused(text):
    with pytest.raises(InputError, match="is not a step; write '500it', '3ep' or '1%'"):
        Step.of(text)


@pytest.mark.parametrize("value", [1.5, None, ("5it",)], ids=repr)
def test_what_is_no_text_is_no_step_either(value):
    with pytest.raises(InputError, match="is not a step"):
        Step.of(value)


def test_an_iteration_read_from_a_table_is_a_step():
    assert Step.of(np.int64(500)) == Step(500, "it")


@pytest.mark.parametrize("text", ["500it", "3ep", "0.5ep", "1%", "0.1%", "112000it", "1234567it"])
def test_the_text_of_a_step_means_the_same_step(text):
    assert Step.of(str(Step.of(text))) == Step.of(text)


def test_one_percent_of_fifty_thousand_iterations_is_500():
    assert Step.of("1%").iteration(duration=50_000, epoch=917) == 500


@pytest.mark.parametrize(
    ("step", "iteration"), [("30it", 30), ("1ep", 9), ("2.5ep", 22), ("0%", 0), ("100%", 100)]
)
def test_a_step_counts_iterations_of_its_recipe(step, iteration):
    assert RECIPE.iteration(step, images=85) == iteration


def test_a_step_beyond_the_end_is_refused():
    for step in ("101it", "101%", "12ep"):
        with pytest.raises(InputError, match="beyond the recipe's 100"):
            RECIPE.iteration(step, images=90)


def test_an_epoch_is_rounded_up_so_that_no_image_is_left_out():
    assert [RECIPE.epoch(n) for n in (90, 91, 99, 100)] == [9, 10, 10, 10]
    assert replace(RECIPE, duration="3ep").iterations(91) == 30


def test_the_validation_set_is_looked_at_at_least_once_an_iteration_at_most():
    assert replace(RECIPE, every="0it").cadence(90) == 1
    assert replace(RECIPE, every="1ep").cadence(90) == 9
    assert replace(RECIPE, every="5%").cadence(90) == 5


@pytest.mark.parametrize(("duration", "batch"), [("50%", 10), ("100it", 0), ("lots", 10)])
def test_an_impossible_recipe_is_refused_when_made(duration, batch):
    with pytest.raises(InputError):
        Recipe(duration, batch, SGD(0.1))


def test_a_recipe_cannot_be_changed_under_a_stored_result():
    with pytest.raises(FrozenInstanceError):
        RECIPE.batch = 5
    assert RECIPE == Recipe("100it", 10, SGD(0.1)) and hash(RECIPE) == hash(replace(RECIPE))


@pytest.mark.parametrize(
    "changes",
    [{"duration": "101it"}, {"batch": 11}, {"optimiser": SGD(0.2)}, {"optimiser": Adam(0.1)},
     {"schedule": Schedule(("50%",))}, {"augment": Augment(flip=True)}, {"every": "10it"}],
    ids=lambda c: next(iter(c)),
)  # fmt: skip
def test_a_result_is_not_found_under_another_recipe(changes):
    assert store.key({"recipe": RECIPE}) != store.key({"recipe": replace(RECIPE, **changes)})


def test_optimisers_of_equal_numbers_have_different_keys():
    assert store.canonical({"o": SGD(0.1)}) != store.canonical({"o": Adam(0.1)})
    json.loads(store.canonical({"o": RECIPE}))


# The learning rate --------------------------------------------------------------------------------


def test_the_rate_drops_at_each_milestone_and_not_one_step_later():
    recipe = replace(RECIPE, schedule=Schedule(("50%", "75it"), factor=0.1))
    rates = [recipe.rate(i, 90) for i in (0, 49, 50, 74, 75, 99)]
    assert rates == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001, 0.001])


def test_warm_up_rises_linearly_to_the_full_rate_and_then_stays():
    recipe = replace(RECIPE, schedule=Schedule(warmup="4it"))
    assert [recipe.rate(i, 90) for i in range(6)] == pytest.approx(
        [0.025, 0.05, 0.075, 0.1, 0.1, 0.1]
    )


def test_warm_up_and_milestones_work_together():
    recipe = replace(RECIPE, schedule=Schedule(("10it",), 0.5, warmup="2it"))
    assert [recipe.rate(i, 90) for i in (0, 1, 2, 9, 10)] == pytest.approx(
        [0.05, 0.1, 0.1, 0.1, 0.05]
    )


def test_a_cosine_starts_at_the_rate_and_ends_at_zero():
    recipe = replace(RECIPE, schedule=Schedule(warmup="20it", cosine=True))
    assert recipe.rate(20, 90) == pytest.approx(0.1)
    assert recipe.rate(60, 90) == pytest.approx(0.05)
    assert recipe.rate(40, 90) == pytest.approx(0.05 * (1 + math.cos(math.pi / 4)))
    assert recipe.rate(100, 90) == pytest.approx(0, abs=1e-12)


def test_percentages_in_a_schedule_survive_a_change_of_scale():
    schedule = Schedule(("50%",), warmup="10%")
    short, long = (replace(RECIPE, duration=d, schedule=schedule) for d in ("100it", "1000it"))
    assert [short.rate(i, 90) for i in (50, 99)] == [long.rate(i, 90) for i in (500, 990)]


# Fine-tuning --------------------------------------------------------------------------------------


def test_fine_tuning_goes_on_at_the_last_rate_without_warm_up():
    recipe = replace(RECIPE, schedule=Schedule(("50%", "75%"), 0.1, warmup="5it"))
    tuned = recipe.fine_tune()
    assert tuned.duration == recipe.duration and tuned.batch == recipe.batch
    assert [tuned.rate(i, 90) for i in (0, 50, 99)] == pytest.approx([recipe.rate(99, 90)] * 3)
    assert recipe.fine_tune("30it").duration == "30it"


def test_fine_tuning_without_a_schedule_keeps_the_rate():
    assert RECIPE.fine_tune() == RECIPE


def test_fine_tuning_at_the_end_of_a_cosine_is_refused_not_done_at_rate_zero():
    with pytest.raises(InputError, match="rate 0"):
        replace(RECIPE, schedule=Schedule(cosine=True)).fine_tune()


# Optimisers ---------------------------------------------------------------------------------------


def test_optimisers_pass_on_every_setting():
    weight = [torch.zeros(2, requires_grad=True)]
    [sgd] = SGD(0.1, momentum=0.9, decay=1e-4, nesterov=True).build(weight).param_groups
    assert (sgd["lr"], sgd["momentum"], sgd["weight_decay"], sgd["nesterov"]) == (
        0.1, 0.9, 1e-4, True,
    )  # fmt: skip
    [adam] = Adam(0.2, betas=(0.8, 0.9), eps=1e-3).build(weight).param_groups
    assert (adam["lr"], adam["betas"], adam["eps"]) == (0.2, (0.8, 0.9), 1e-3)


def test_no_augmentation_is_false():
    assert not Augment() and Augment(flip=True) and Augment(crop=1)
