"""Speed: the forms of a sparse network compute the same, and the stopwatch is fair."""

import os
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from lth_utils import costs, models, speed, studies, tasks, training
from lth_utils.errors import InputError
from lth_utils.lottery import TABLE
from lth_utils.masks import Mask
from lth_utils.store import Store
from lth_utils.studies import STUDIES, Variant
from lth_utils.studies._recording import MOST_ROWS

SHAPE = (1, 6, 6)


def sparse_network(density=0.2):
    model, generator = models.LeNet(SHAPE, 10, 0.1), torch.Generator().manual_seed(0)
    shapes = models.dense_mask(model).shapes
    kept = {n: torch.rand(1, *s, generator=generator) < density for n, s in shapes.items()}
    weights = {n: w + 0.1 for n, w in models.initialise(model, [0]).items()}
    return model, weights, Mask(kept)


# The stopwatch ------------------------------------------------------------------------------------


def test_every_work_has_its_turn_in_every_repeat_and_nobody_always_follows_the_same():
    """One thing timed in the morning and the other after lunch."""
    order = []
    works = {name: lambda n, name=name: order.append((name, n)) for name in "abc"}
    table = costs.timings(works, repeats=20, at_least=0)
    assert table.groupby("repeat").name.apply(set).tolist() == [set("abc")] * 20
    turns = ["".join(name for name, _ in order[-60:][i : i + 3]) for i in range(0, 60, 3)]
    assert {turn[0] for turn in turns} == set("abc")
    # Nor does one always follow the same other, which may leave it a cold cache.
    assert {turn[turn.index("b") - 1] for turn in turns if turn[0] != "b"} == set("ac")


def busy(count):
    """Two milliseconds of a processor, so many times."""
    until = time.thread_time() + 0.002 * count
    while time.thread_time() < until:
        pass


def test_a_time_is_that_of_doing_it_once():
    """A short work measured ten times and reported as if it were once."""
    table = costs.timings({"busy": busy}, repeats=3, at_least=0.02)
    assert 1.9 < table.milliseconds.median() < 2.5


def test_on_one_thread_waiting_does_not_count():
    """A network that is slow because the machine was busy."""
    waits = {"waits": lambda n: [busy(1), time.sleep(0.02)] * n}
    if costs.clock(1) is time.thread_time:
        assert costs.timings(waits, 3, 0).milliseconds.median() < 10
    assert costs.timings(waits, 3, 0, threads=2).milliseconds.median() > 20


def test_the_stopwatch_gives_the_threads_back():
    before = torch.get_num_threads()
    seen = []
    costs.timings({"a": lambda n: seen.append(torch.get_num_threads())}, 1, 0, threads=1)
    assert set(seen) == {1} and torch.get_num_threads() == before


def test_no_repeats_are_refused():
    with pytest.raises(InputError, match="at least one repeat; got 0"):
        costs.timings({"a": lambda n: None}, repeats=0)


def test_bare_steps_are_those_of_a_training():
    """A step that is timed and is not the step that is taken."""
    task = tasks.LENET_MNIST.at("smoke")
    start, mask = task.init([3]), task.dense_mask([3])
    take = training.Steps(task.model, start, mask, task.data, task.recipe, 3)
    for count in (5, 0, 6, task.iterations - 11):
        take(count)
    run = task.train(start, mask, [3])
    assert all(torch.equal(run.weights[name], w) for name, w in take.weights.items())
    take(4)  # and from the beginning, since a stopwatch may want more
    assert take.path == "dense"


# Forms --------------------------------------------------------------------------------------------


def test_every_form_of_a_masked_network_computes_the_same():
    """A kernel that is fast because it computes something else."""
    model, weights, mask = sparse_network()
    found = speed.forms(model, weights, mask, SHAPE)
    assert {"masked", "shrunk", "structured", "CSR", "COO", "CSR, SciPy"} >= set(found)
    assert {"masked", "shrunk", "structured", "CSR, SciPy"} <= set(found)
    images = torch.randn(7, *SHAPE)
    with torch.no_grad():
        expected = models.forward(model, mask.apply(weights), images)[0]
        for name in set(found) - {"structured"}:
            torch.testing.assert_close(found[name](images), expected, msg=name)
            one = found[name](images[:1])
            torch.testing.assert_close(one, expected[:1], msg=name)


def test_what_is_removed_is_not_there():
    model, weights, mask = sparse_network()
    found = speed.forms(model, weights, mask, SHAPE)
    small = sum(w.numel() for n, w in found["structured"].named_parameters() if "weight" in n)
    assert small <= mask.kept.item()
    assert found["CSR, SciPy"][1].matrix.nnz == mask["fc1.weight"].sum()


def test_batch_norm_is_called_as_it_is_used():
    """Networks with batch norm that were timed, or tried out, while they count images."""
    model = models.VGG((3, 16, 16), 10, 0.03, 11)
    weights, mask = models.initialise(model, [0]), models.dense_mask(model)
    found = speed.forms(model, weights, mask, (3, 16, 16))
    assert set(found) == {"masked", "shrunk", "structured"}
    assert not any(layer.training for form in found.values() for layer in form.modules())


def test_there_is_no_sparse_format_for_convolutions_or_of_another_name():
    with pytest.raises(InputError, match="Only a sequence of linear layers"):
        speed.sparse(models.Conv((3, 8, 8), 10, 0.1, 2), "COO")
    with pytest.raises(InputError, match="CSR, COO"):
        speed.sparse(models.LeNet(SHAPE, 10, 0.1), "CSC")


def test_of_every_four_weights_the_two_largest_stay():
    weights = torch.randn(5, 12, generator=torch.Generator().manual_seed(2))
    kept = speed.two_of_four(weights)
    fours, sizes = kept.view(5, 3, 4), weights.abs().view(5, 3, 4)
    assert (fours.sum(-1) == 2).all()
    assert (sizes.where(fours, torch.inf).amin(-1) >= sizes.where(~fours, 0).amax(-1)).all()
    with pytest.raises(InputError, match="do not divide into fours"):
        speed.two_of_four(torch.ones(3, 6))


def test_without_a_gpu_there_are_no_halves():
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    assert speed.halves(models.MLP((1, 1, 64), 10, 0.64)) == {}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_two_of_four_on_a_gpu_computes_what_half_precision_does():
    model = models.MLP((1, 8, 8), 10, 1.28).cuda()  # 64, 256, 256, 256
    with torch.no_grad():
        for layer in (model.fc1, model.fc2, model.fc3):
            layer.weight *= speed.two_of_four(layer.weight)
    found = speed.halves(model)
    assert set(found) == {"dense, half", "2:4"}
    images = torch.randn(64, 1, 8, 8, device="cuda").half()
    with torch.inference_mode():
        dense, sparse = (found[name][0](images) for name in ("dense, half", "2:4"))
    torch.testing.assert_close(sparse, dense, rtol=1e-2, atol=1e-2)
    assert 0.5 <= found["2:4"][1] < 0.6


# The procedure ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def measured():
    task = replace(tasks.LENET_MNIST.at("smoke"), width=0.1, levels=2, stride=(3, 9))
    return task, speed.measure(task, batches=(1, 8), repeats=3, progress=False)


def test_every_form_is_timed_at_every_level_and_in_every_use(measured):
    _, found = measured
    times = found.table[found.table.metric == "milliseconds"]
    assert (times.value > 0).all()
    assert set(times.moment) == {"batch 1", "batch 8", "training"}
    assert (times.groupby(["moment", "treatment", "level"]).replicate.nunique() == 3).all()
    for moment in ("batch 1", "batch 8", "training"):
        here = times[times.moment == moment]
        assert set(here[here.level == 0].treatment) == {"dense"}
        for level in (1, 2):
            assert {"masked", "structured"} <= set(here[here.level == level].treatment)
    assert set(times[times.treatment == "our kernel"].level) == {2}  # below its density only


def test_operations_are_those_that_a_form_cannot_do_without(measured):
    task, found = measured
    rows = found.table[found.table.metric == "operations"].set_index(["treatment", "level"]).value
    everything = task.dense_mask([0]).size
    assert rows["dense", 0] == rows["masked", 1] == rows["masked", 2] == everything
    for ticket in found.tickets:
        kept = ticket.mask.kept.item()
        assert rows["CSR, SciPy", ticket.level] == kept
        assert 0 < rows["structured", ticket.level] <= kept
        assert kept <= rows["shrunk", ticket.level] <= everything


def test_the_sparse_kernel_is_as_it_was_afterwards(measured, monkeypatch):
    monkeypatch.setenv("LTH_SPARSE", "here")
    with speed._sparse_kernel(on=False):
        assert os.environ["LTH_SPARSE"] == "0"
    assert os.environ["LTH_SPARSE"] == "here"


def test_an_empty_batch_is_refused():
    with pytest.raises(InputError, match="at least one image"):
        speed.measure(tasks.LENET_MNIST.at("smoke"), batches=(0,))


def test_the_prediction_is_of_the_right_order(measured):
    task, found = measured
    predicted = speed.predict(task, batches=(1, 8), repeats=3)
    assert 0.01 < predicted / max(found.seconds, 0.05) < 100


def test_the_study_of_speed_runs_from_end_to_end(tmp_path):
    """A mistake that shows when a machine has been kept free for it."""
    whole = STUDIES["speed"]
    narrow = {
        name: Variant(
            {**v.changes, "width": 0.05, "dataset": v.changes.get("embedded", "mnist-5k")}
        )
        for name, v in whole.variants.items()
    }
    study = replace(whole, variants=narrow, options={"repeats": 2, "batches": (1, 2)})
    studies.record(study, tmp_path, scale="smoke", runs=Store(tmp_path), progress=False)
    back = studies.recorded("speed", tmp_path)
    assert list(back.table) == [*TABLE, "network"] and np.isfinite(back.table.value).all()
    assert set(back.table.network) == set(whole.variants) and set(back.table.replicate) == {0, 1}
    assert set(back.table.moment) == {"mask", "batch 1", "batch 2", "training"}
    times = back.table[back.table.metric == "milliseconds"]
    forms_and_levels = len(times.groupby(["network", "moment", "treatment", "level"]))
    more = whole.prepared().levels / study.prepared("smoke").levels
    assert forms_and_levels * more * speed.REPEATS["paper"] <= MOST_ROWS
    # An unpruned matrix in a sparse format, or a network that was never made smaller.
    for _, rows in times.groupby("network"):
        densities = rows.groupby(["treatment", "level"]).density.first()
        assert densities["structured", 1] <= densities["masked", 1] and densities.max() == 1
