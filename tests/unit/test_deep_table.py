"""The table of all deep systems, from tables made up for each mistake it could make."""

import json

import pandas as pd
import pytest

from lth_utils.errors import DataError, InputError
from lth_utils.lottery import TABLE
from lth_utils.studies import DEEP, deep_table

STUDY = "resnet-20-instability"
RECIPE = {
    "duration": "3ep",
    "batch": 128,
    "optimiser": {"rate": 0.1, "momentum": 0.9, "decay": 2e-4, "nesterov": False},
    "schedule": {"milestones": ["50%", "75%"], "factor": 0.1, "warmup": "0it", "cosine": False},
}
TICKETS = {"ticket @ 0%": (80, 80), "ticket @ 1%": (84, 90), "ticket @ 6%": (86, 88)}
"""Test and validation accuracy: the two disagree about which step is best."""


def accuracies(name, level, density, test, val):
    return [
        (STUDY, name, level, density, seed, moment, 9, split, "accuracy", value + seed - less)
        for seed in range(3)
        for split, value in (("test", test), ("val", val))
        for moment, less in (("end", 0), ("early stop", 5))
    ]


def between(name, level, density, barrier, distance):
    return [
        (STUDY, name, level, density, seed, "between", 9, "test", metric, value + seed / 10)
        for seed in range(3)
        for metric, value in (("error barrier", barrier), ("distance", distance))
    ]


@pytest.fixture
def written(tmp_path):
    """``written(tickets, densities)``: the folder of a study with these tickets, recorded."""

    def written(tickets=TICKETS, densities=(0.12,)):
        rows = accuracies("dense", 0, 1.0, 89, 90) + between("dense @ 0%", 0, 1.0, 30, 40)
        for level, density in enumerate(densities, start=1):
            for number, (name, (test, val)) in enumerate(tickets.items()):
                rows += accuracies(name, level, density, test, val)
                rows += between(name, level, density, 20 - 9 * number, 30 - number)
            rows += accuracies("reinit", level, density, 79, 79)
        pd.DataFrame(rows, columns=TABLE).to_csv(tmp_path / f"{STUDY}.csv", index=False)
        note = {
            "study": STUDY,
            "settings": {
                "network": "ResNet-20", "width": 0.5, "recipe": RECIPE, "scope": "global",
                "one_shot": True,
            },
            "seeds": [0, 1, 2],
            "dataset": {"title": "CIFAR-10 (JPEG)"},
            "code": {},
            "rows": len(rows),
        }  # fmt: skip
        (tmp_path / f"{STUDY}.json").write_text(json.dumps(note))
        return tmp_path

    return written


def test_the_step_is_chosen_by_validation_and_reported_on_the_test_set(written):
    [row] = deep_table([STUDY], written()).itertuples(index=False, name=None)
    row = dict(zip(DEEP, row, strict=True))
    assert row["step"] == "1%"
    assert row["rewound"].mean == pytest.approx(85)  # not the 87 that the test set would choose
    assert row["barrier of rewound"].mean == pytest.approx(11.1)


def test_reset_is_step_0_and_never_among_the_steps_to_choose_from(written):
    best = {"ticket @ 0%": (90, 99), "ticket @ 6%": (86, 88)}
    row = deep_table([STUDY], written(best)).iloc[0]
    assert row.step == "6%" and row.reset.mean == pytest.approx(91)
    assert row["rewound − reset"].mean == pytest.approx(-4)
    assert row["barrier of reset"].mean == pytest.approx(20.1)
    assert row["distance of reset"].mean == pytest.approx(30.1)


def test_accuracy_is_read_at_the_moment_asked_for_and_copies_at_the_end(written):
    folder = written()
    end, early = (deep_table([STUDY], folder, moment).iloc[0] for moment in ("end", "early stop"))
    assert early.reset.mean == pytest.approx(end.reset.mean - 5)
    assert early.dense.mean == pytest.approx(end.dense.mean - 5)
    assert early["barrier of reset"] == end["barrier of reset"]


def test_differences_are_paired_by_seed(written):
    # Seeds differ by whole points and the two arms always by one: unpaired, it would be lost.
    row = deep_table([STUDY], written()).iloc[0]
    assert row["reset − reinit"] == pytest.approx((1, 1, 1, 3))
    assert row["rewound − dense"] == pytest.approx((-5, -5, -5, 3))
    assert row.reset.high - row.reset.low > 2


def test_a_study_that_is_not_recorded_has_no_row_and_hides_no_other(written):
    table = deep_table(["resnet-50-instability", STUDY], written())
    assert table.study.tolist() == [STUDY] and list(table) == DEEP
    assert deep_table(["resnet-50-instability"], written()).empty


def test_a_damaged_study_is_an_error_and_not_a_missing_one(written):
    folder = written()
    (folder / f"{STUDY}.json").write_text("{")
    with pytest.raises(DataError, match=STUDY):
        deep_table([STUDY], folder)


def test_unknown_studies_are_named(tmp_path):
    with pytest.raises(InputError, match="resnet-20-instability"):
        deep_table(["resnet-21-instability"], tmp_path)


@pytest.mark.parametrize("tickets", [["ticket @ 0%"], ["ticket @ 1%", "ticket @ 6%"]])
def test_a_study_without_both_kinds_of_ticket_cannot_be_compared(written, tickets):
    folder = written({name: TICKETS[name] for name in tickets})
    with pytest.raises(InputError, match="from step 0 and from a later step"):
        deep_table([STUDY], folder)


def test_every_sparse_level_has_a_row_and_denser_ones_none(written):
    table = deep_table([STUDY], written(densities=(0.5, 0.22, 0.12, 0.01)))
    assert table.density.tolist() == pytest.approx([0.22, 0.12, 0.01])
    # Theirs stands beside the densities that the paper has, and nowhere else.
    assert table.published.str[:4].tolist() == ["91.7", "91.0", ""]


def test_what_was_narrowed_and_shortened_is_said(written):
    row = deep_table([STUDY], written()).iloc[0]
    assert row.network == "ResNet-20, 0.5 × the width" and row.data == "CIFAR-10 (JPEG)"
    assert row.recipe == "SGD at 0.1, drops, 3 epochs, batch 128, one-shot global pruning"
