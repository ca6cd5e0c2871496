"""Studies: intervals, pairing, verdicts and what is recorded."""

import json
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from lth_utils import datasets, studies, tasks
from lth_utils.errors import DataError, InputError
from lth_utils.lottery import TABLE
from lth_utils.store import Store
from lth_utils.studies import CLAIMS, STUDIES, VERDICTS, _recording, interval, paired, summary
from lth_utils.studies._claims import Claim, Finding

RULES = {claim.id: claim.rule for claim in CLAIMS}
MARGIN = 0.3


# Intervals ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [2, 3, 5, 30])
def test_an_interval_is_student_s_as_scipy_computes_it(n):
    values = np.random.default_rng(n).normal(97, 2, n)
    found = interval(values)
    low, high = stats.t.interval(0.95, n - 1, loc=values.mean(), scale=stats.sem(values))
    assert found == pytest.approx((values.mean(), low, high, n), rel=1e-12)
    narrow = interval(values, confidence=0.5)
    assert low < narrow.low < narrow.high < high


def test_one_replicate_has_no_interval_and_none_has_no_mean():
    found = interval([97.5])
    assert found.mean == 97.5 and found.n == 1
    assert math.isnan(found.low) and math.isnan(found.high)
    with pytest.raises(InputError, match="at least one replicate"):
        interval([])


def test_an_interval_covers_the_truth_19_times_of_20():
    draws = np.random.default_rng(0).normal(0, 1, (2000, 4))
    covered = np.mean([i.low < 0 < i.high for i in map(interval, draws)])
    assert abs(covered - 0.95) < 5 * np.sqrt(0.95 * 0.05 / 2000)


# Tables -------------------------------------------------------------------------------------------


@pytest.fixture
def table(made_up):
    """Level 1 keeps 50%, level 2 keeps 5%; three replicates."""
    return made_up(
        {
            ("dense", 0): [98.0, 97.0, 99.0],
            ("ticket", 1): [98.5, 97.3, 99.4],
            ("ticket", 2): [97.0, 97.0, 97.0],
            ("reinit", 2): [95.0, 94.0, 96.0],
        },
        step={("dense", 0): [100, 120, 140], ("ticket", 1): [80, 110, 120]},
        density={1: 0.5, 2: 0.05},
    )


def test_a_summary_is_the_mean_and_interval_of_each_group(table):
    means = summary(table).set_index(["treatment", "level"])
    assert len(means) == 4
    row = means.loc[("ticket", 1)]
    assert tuple(row[["mean", "low", "high", "n"]]) == pytest.approx(interval([98.5, 97.3, 99.4]))
    assert row.density == 0.5
    losses = summary(table, "loss").set_index(["treatment", "level"])
    assert losses.loc[("dense", 0), "mean"] == pytest.approx(0.02)


def test_differences_are_paired_by_seed_not_by_place(table):
    differences = paired(table, "ticket", "dense").set_index("level")
    assert differences.index.tolist() == [1, 2]
    by_hand = interval([0.5, 0.3, 0.4])
    assert tuple(differences.loc[1, ["mean", "low", "high", "n"]]) == pytest.approx(by_hand)
    shuffled = table.sample(frac=1, random_state=0)
    assert tuple(paired(shuffled, "ticket", "dense").set_index("level").loc[1]) == pytest.approx(
        tuple(differences.loc[1])
    )
    # Unpaired, the spread between seeds would hide what every seed shows.
    assert by_hand.low > 0 > interval([98.5, 97.3, 99.4]).low - 98


def test_treatments_are_compared_at_the_same_level_and_by_the_seeds_they_share(table):
    differences = paired(table, "ticket", "reinit")
    assert differences.level.tolist() == [2]
    assert differences["mean"].tolist() == [pytest.approx(2)]
    fewer = table[~((table.treatment == "reinit") & (table.replicate == 1))]
    [row] = paired(fewer, "ticket", "reinit").itertuples()
    assert (row.n, row.mean) == (2, pytest.approx(1.5))


def test_steps_are_compared_at_the_early_stop(table):
    differences = paired(table, "ticket", "dense", metric="step").set_index("level")
    assert tuple(differences.loc[1, ["mean", "low", "high", "n"]]) == pytest.approx(
        interval([-20, -10, -20])
    )


def test_the_moment_and_the_split_are_chosen_never_mixed(table):
    end = table.moment == "end"
    worse = table.assign(value=table.value.where(~end, table.value - 10))
    both = pd.concat([worse, worse.assign(split="val", value=worse.value + 50)])
    at = {
        (moment, split): summary(both, moment=moment, split=split).iloc[0]["mean"]
        for moment in ("early stop", "end")
        for split in ("test", "val")
    }
    assert at == {
        ("early stop", "test"): pytest.approx(98),
        ("early stop", "val"): pytest.approx(148),
        ("end", "test"): pytest.approx(88),
        ("end", "val"): pytest.approx(138),
    }
    assert summary(both).iloc[0]["mean"] == pytest.approx(98)


def test_what_cannot_be_compared_says_what_can(table):
    with pytest.raises(
        InputError, match="'tickets' and 'dense' cannot be compared.*ticket, reinit"
    ):
        paired(table, "tickets", "dense")
    with pytest.raises(InputError, match="no speed of test"):
        summary(table, "speed")


def test_a_band_for_new_seeds_is_wider_than_that_of_the_recorded_mean(table):
    recorded = studies.Recorded(table, {}, None)
    band = studies.expected(recorded, replicates=3).set_index(["treatment", "level"])
    values = np.array([98.5, 97.3, 99.4])
    spread = values.std(ddof=1) * math.sqrt(1 / 3 + 1 / 3) * stats.t.ppf(0.975, 2)
    row = band.loc[("ticket", 1)]
    assert (row.low, row.high) == pytest.approx((values.mean() - spread, values.mean() + spread))


# Verdicts -----------------------------------------------------------------------------------------

DENSITY = {0: 1.0, 1: 0.5, 2: 0.08, 3: 0.03}
DENSE = [98.0, 97.8, 98.2, 97.9, 98.1]
WOBBLE = np.array([0.01, -0.01, 0.02, -0.02, 0.0])


def shifted(by, noise=1.0):
    """Five replicates that differ from dense by ``by``, nearly alike."""
    return list(np.array(DENSE) + by + noise * WOBBLE)


def judged(claim, made_up, step=None, **levels):
    """The finding on a table in which each treatment differs from dense by what ``levels`` says."""
    accuracy = {("dense", 0): DENSE}
    for name, differences in levels.items():
        for level, by in differences.items():
            accuracy[name.replace("_", "-"), level] = shifted(by)
    return RULES[claim](made_up(accuracy, step=step, density=DENSITY), MARGIN)


@pytest.mark.parametrize(
    ("differences", "verdict"),
    [
        ({1: 0.1, 2: -0.1, 3: -2}, "holds"),  # matches at 8%
        ({1: 0.1, 2: -1, 3: -0.2}, "holds"),  # matches at 3%
        ({1: 0.1, 2: -1, 3: -2}, "not reproduced"),  # matches at 50% alone
        ({1: -1, 2: -1, 3: -2}, "not reproduced"),
    ],
)
def test_c01_holds_where_the_pruned_network_matches_at_a_tenth(made_up, differences, verdict):
    assert judged("C01", made_up, fine_tune=differences).verdict == verdict


def test_c01_holds_partly_where_it_matches_at_a_fifth(made_up):
    accuracy = {("dense", 0): DENSE, ("fine-tune", 1): DENSE, ("fine-tune", 2): shifted(-1)}
    table = made_up(accuracy, density={1: 0.15, 2: 0.08})
    assert RULES["C01"](table, MARGIN).verdict == "partly"


def test_a_lucky_density_behind_bad_ones_is_not_the_one_shown(made_up):
    accuracy = {("dense", 0): DENSE}
    for level, by in {1: 0, 2: 0, 3: -1, 4: 0}.items():
        accuracy["fine-tune", level] = shifted(by)
    table = made_up(accuracy, density={1: 0.09, 2: 0.08, 3: 0.07, 4: 0.06})
    assert RULES["C01"](table, MARGIN).quantity.endswith("at 8.0% of weights")


@pytest.mark.parametrize(
    ("differences", "verdict"),
    [
        ({1: 0, 2: -1, 3: -2}, "holds"),
        ({1: 0, 2: -2, 3: -1}, "not reproduced"),  # worse, but not falling
        ({1: 0, 2: 0.5, 3: -0.5}, "partly"),  # falling, and worse at the sparsest alone
        ({1: 0, 2: 0.5, 3: 0.6}, "not reproduced"),
        ({1: -1, 2: 0.1, 3: 0.2}, "not reproduced"),  # what happens above 10% settles nothing
    ],
)
def test_c02_holds_where_reinit_is_worse_and_falling(made_up, differences, verdict):
    assert judged("C02", made_up, reinit=differences).verdict == verdict


@pytest.mark.parametrize(
    ("ticket", "reinit", "verdict"),
    [
        ({2: 0, 3: -2}, {2: -1, 3: -3}, "holds"),
        ({2: -2, 3: -0.1}, {2: -3, 3: -1}, "holds"),
        ({2: 0, 3: -2}, {2: 0.5, 3: -1}, "partly"),  # matches, no better than reinit
        ({2: -1, 3: -2}, {2: -2, 3: -3}, "not reproduced"),  # better, does not match
        ({2: 0, 3: -2}, {2: 0.5, 3: -3}, "partly"),  # matches here, is better there
        ({2: -1, 3: -2}, {2: -1, 3: -1}, "not reproduced"),
        ({1: 0, 2: -1, 3: -2}, {1: -1, 2: 0, 3: 0}, "not reproduced"),  # 50% is no ticket
    ],
)
def test_c03_holds_where_one_density_both_matches_and_beats_reinit(
    made_up, ticket, reinit, verdict
):
    assert judged("C03", made_up, ticket=ticket, reinit=reinit).verdict == verdict


@pytest.mark.parametrize(
    ("earlier", "better", "verdict"),
    [
        ({1: -50, 2: 50}, {1: 0.5, 2: -1}, "holds"),
        ({1: -50, 2: 50}, {1: -0.5, 2: 0.5}, "partly"),  # earlier here, better there
        ({1: -50, 2: 50}, {1: 0.0, 2: -1}, "partly"),  # earlier, and no worse
        ({1: -50, 2: 50}, {1: -0.5, 2: -1}, "not reproduced"),  # earlier alone is cheap
        ({1: 50, 2: 50}, {1: 0.5, 2: -1}, "partly"),
        ({1: 50, 2: 50}, {1: -0.5, 2: -1}, "not reproduced"),
    ],
)
def test_c04_holds_where_one_density_is_both_earlier_and_better(made_up, earlier, better, verdict):
    step = {("dense", 0): [200, 210, 190, 205, 195]}
    for level, by in earlier.items():
        step["ticket", level] = [s + by + i for i, s in enumerate(step["dense", 0])]
    finding = judged("C04", made_up, step=step, ticket=better)
    assert finding.verdict == verdict
    assert finding.ours == pytest.approx(earlier[1] + 2)


@pytest.mark.parametrize("claim", ["C01", "C03"])
def test_noise_that_hides_the_margin_is_no_match(made_up, claim):
    wide = shifted(0, noise=100)  # the mean matches; the interval reaches far below
    table = made_up(
        {("dense", 0): DENSE, ("ticket", 2): wide, ("fine-tune", 2): wide, ("reinit", 2): wide},
        density=DENSITY,
    )
    assert RULES[claim](table, MARGIN).verdict == "not reproduced"


def test_the_margin_decides_what_matches(made_up):
    table = made_up({("dense", 0): DENSE, ("fine-tune", 2): shifted(-0.4)}, density=DENSITY)
    assert RULES["C01"](table, 0.3).verdict == "not reproduced"
    assert RULES["C01"](table, 0.5).verdict == "holds"


def test_a_finding_names_the_density_and_carries_its_interval(made_up):
    finding = judged("C01", made_up, fine_tune={1: 0, 2: -0.1, 3: -2})
    assert finding.quantity.endswith("at 8.0% of weights")
    assert finding.low < finding.ours < finding.high
    assert finding.ours == pytest.approx(-0.1)


def test_a_study_that_is_not_sparse_enough_settles_nothing(made_up):
    accuracy = {(name, 1): shifted(0) for name in ("ticket", "reinit", "fine-tune")}
    table = made_up({("dense", 0): DENSE} | accuracy, density=DENSITY)
    for claim in ("C01", "C02", "C03"):
        assert RULES[claim](table, MARGIN) is None


# The scorecard ------------------------------------------------------------------------------------


def test_the_scorecard_has_every_claim_in_order_and_is_open_without_tables(tmp_path):
    card = studies.scorecard(tmp_path)
    assert list(card) == studies.SCORECARD
    assert card.claim.tolist() == [f"C{i:02}" for i in range(1, 41)]
    assert set(card.verdict) == {"open"}
    assert (card.text.str.len() > 10).all() and (card["where"] != "").all()
    assert card.quantity[0] == "study not recorded yet"


def test_every_rule_names_a_study_that_exists():
    for claim in CLAIMS:
        assert (claim.rule is None) == (claim.study is None)
        assert claim.study is None or claim.study in STUDIES


@pytest.fixture
def write(tmp_path):
    """Write a study's table and its provenance as :func:`studies.record` does."""

    def write(name, table, dataset="mnist", scale="paper", replicates=5):
        table.to_csv(tmp_path / f"{name}.csv", index=False)
        provenance = {
            "settings": {
                "network": "LeNet-300-100",
                "recipe": {"duration": "12000it"},
                "scale": scale,
            },
            "seeds": list(range(replicates)),
            "dataset": {"name": dataset, "title": dataset.upper()},
            "code": {},
        }
        (tmp_path / f"{name}.json").write_text(json.dumps(provenance))
        return tmp_path

    return write


def test_the_scorecard_is_built_from_the_tables_alone(write, made_up, monkeypatch):
    monkeypatch.setenv("LTH_DATA", "/nowhere")  # no dataset, no store, no task is needed
    monkeypatch.setenv("LTH_RUNS", "/dev/null/runs")
    accuracy = {("dense", 0): DENSE, ("fine-tune", 2): shifted(-0.1)}
    folder = write("lenet-mnist-finetune", made_up(accuracy, density=DENSITY))
    card = studies.scorecard(folder).set_index("claim")
    assert card.verdict["C01"] == "holds"
    assert card.ours["C01"] == pytest.approx(-0.1, abs=1e-4)
    assert (card.replicates["C01"], card.dataset["C01"]) == (5, "MNIST")
    assert (card.verdict.drop("C01") == "open").all()
    assert set(card.verdict) <= set(VERDICTS)


@pytest.mark.parametrize(
    "doubt", [{"dataset": "mnist-5k"}, {"scale": "live"}, {"scale": "smoke"}, {"replicates": 4}]
)
def test_a_stand_in_a_quick_run_or_too_few_replicates_settle_nothing(write, made_up, doubt):
    table = made_up({("dense", 0): DENSE, ("fine-tune", 2): shifted(0)}, density=DENSITY)
    assert studies.scorecard(write("lenet-mnist-finetune", table)).verdict[0] == "holds"
    assert studies.scorecard(write("lenet-mnist-finetune", table, **doubt)).verdict[0] == "open"


def test_a_scorecard_survives_a_study_too_short_to_settle_its_claims(write, made_up):
    accuracy = {(name, 1): shifted(0) for name in ("ticket", "reinit")}
    folder = write("lenet-mnist", made_up({("dense", 0): DENSE} | accuracy, density=DENSITY))
    card = studies.scorecard(folder).set_index("claim")
    assert card.verdict["C02"] == card.verdict["C03"] == "open"
    assert "not sparse enough" in card.quantity["C03"]


def test_one_replicate_settles_nothing(write, made_up):
    names = ("ticket", "reinit", "fine-tune")
    accuracy = {(name, level): [97.0 - level] for name in names for level in (1, 2, 3)}
    table = made_up({("dense", 0): [98.0]} | accuracy, density=DENSITY)
    write("lenet-mnist-finetune", table, replicates=1)
    card = studies.scorecard(write("lenet-mnist", table, replicates=1))
    assert set(card.verdict) == {"open"}


# Recording ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    """The study lenet-mnist at smoke scale, recorded once for the tests below."""
    place = tmp_path_factory.mktemp("smoke")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LTH_RUNS", str(place / "runs"))
        patch.setenv("LTH_DATA", "embedded")
        [result] = studies.record(STUDIES["lenet-mnist"], place / "results", scale="smoke").values()
    return place / "results", result


def test_what_is_recorded_reads_back(smoke):
    folder, result = smoke
    back = studies.recorded("lenet-mnist", folder)
    assert list(back.table) == TABLE and set(back.table.study) == {"lenet-mnist"}
    assert len(back.table) == len(result.table)
    np.testing.assert_allclose(back.table.value, result.table.value, atol=5.1e-7)
    np.testing.assert_allclose(back.table.density, result.table.density, atol=5.1e-7)
    assert set(back.table.moment) == {"early stop", "end"}
    assert set(back.curves.moment) == {"during"}
    assert sorted(p.name for p in folder.iterdir()) == [
        "lenet-mnist.csv",
        "lenet-mnist.curves.csv.xz",
        "lenet-mnist.json",
    ]


def test_the_value_quoted_is_the_interval_of_the_table(smoke):
    folder, result = smoke
    found = studies.recorded("lenet-mnist", folder).value("ticket", 1)
    rows = studies.measure(result.table)
    rows = rows[(rows.treatment == "ticket") & (rows.level == 1)]
    assert found == pytest.approx(interval(rows.value), abs=1e-4)


def test_provenance_says_all_that_is_needed_to_run_it_again(smoke):
    folder, result = smoke
    p = studies.recorded("lenet-mnist", folder).provenance
    task = result.task
    assert p["study"] == "lenet-mnist" and p["seeds"] == [0, 1]
    assert p["settings"]["scale"] == "smoke" and p["changes"] == {"scale": "smoke"}
    assert p["settings"]["recipe"]["duration"] == task.recipe.duration
    assert p["settings"]["recipe"]["batch"] == 60
    assert p["settings"]["prune"] == dict(task.prune)
    assert p["settings"]["treatments"] == ["ticket", "reinit", "random mask"]
    assert p["dataset"]["name"] == "mnist-5k" and p["dataset"]["train"] == 1000
    assert p["dataset"]["fingerprint"] == task.data.fingerprint
    assert "first 1,000" in p["dataset"]["title"]
    for name in ("lth_utils", "commit", "generator", "numerics", "torch", "python"):
        assert p["code"][name] not in ("", None), name
    for name in ("device", "cores", "threads"):
        assert p["hardware"][name], name
    assert p["seconds"] > 0
    pd.Timestamp(p["date"])
    assert not {"/root", "/home", "/work"} & set(json.dumps(p).split('"'))


def test_every_option_of_a_study_is_in_its_provenance(toy_task, tmp_path):
    study = replace(
        STUDIES["lenet-mnist"],
        name="late",
        task=replace(toy_task, scales={"smoke": {}}),
        options={"treatments": ("ticket",), "rewind": "50%", "criterion": "movement"},
    )
    studies.record(study, tmp_path, scale="smoke")
    settings = studies.recorded("late", tmp_path).provenance["settings"]
    assert (settings["rewind"], settings["criterion"]) == ("50%", "movement")


def test_the_title_says_what_was_run(smoke):
    title = studies.recorded("lenet-mnist", smoke[0]).title
    assert title.startswith("LeNet-300-100 on MNIST-5k (first 1,000")
    assert title.endswith("20 iterations, 2 replicates")


def test_the_title_of_a_study_in_epochs_can_be_read_too(made_up, write):
    folder = write("epochs", made_up({("dense", 0): DENSE}))
    note = json.loads((folder / "epochs.json").read_text())
    note["settings"]["recipe"]["duration"] = "30ep"
    (folder / "epochs.json").write_text(json.dumps(note))
    assert "30 epochs" in studies.recorded("epochs", folder).title


def test_recording_again_computes_nothing_and_writes_the_same_table(smoke, tmp_path, monkeypatch):
    folder, _ = smoke
    monkeypatch.setattr(tasks.Task, "train", None)
    studies.record(
        STUDIES["lenet-mnist"], tmp_path, scale="smoke", runs=Store(folder.parent / "runs")
    )
    for name in ("lenet-mnist.csv", "lenet-mnist.curves.csv.xz"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


def test_a_scorecard_of_a_smoke_run_can_be_built(smoke):
    card = studies.scorecard(smoke[0])
    assert len(card) == 40 and set(card.verdict) <= set(VERDICTS)


@pytest.mark.parametrize("steps", [1, 2, 49, 50, 51, 121, 501])
def test_curves_are_thinned_to_fifty_points_with_both_ends(steps):
    curves = pd.DataFrame(
        [(name, 7 * i, i) for name in ("a", "b") for i in range(steps)],
        columns=["treatment", "step", "value"],
    )
    thin = _recording._thinned(curves)
    for _, rows in thin.groupby("treatment"):
        at = rows.step.tolist()
        assert len(at) == min(50, steps) and len(set(at)) == len(at)
        assert at[0] == 0 and at[-1] == 7 * (steps - 1)
        if steps > 50:
            assert max(np.diff(at)) - min(np.diff(at)) <= 7


def test_curves_with_steps_of_their_own_are_thinned_each_by_itself():
    """Or a curve keeps only the points that fall on what was kept of both."""
    curves = pd.DataFrame(
        [("a", 250 * i) for i in range(41)] + [("b", 100 * i) for i in range(101)],
        columns=["treatment", "step"],
    )
    thin = _recording._thinned(curves).groupby("treatment").step.apply(list)
    assert thin["a"] == [250 * i for i in range(41)]
    assert len(thin["b"]) == 50 and (thin["b"][0], thin["b"][-1]) == (0, 10_000)


def test_every_study_names_a_procedure():
    assert {study.procedure for study in STUDIES.values()} <= set(studies.PROCEDURES)


def test_a_stand_in_is_never_recorded_as_the_real_thing(tmp_path, monkeypatch):
    monkeypatch.setattr(_recording, "PROCEDURES", {})
    assert datasets.find("mnist") is None
    for scale in (None, "paper", "live"):
        with pytest.raises(DataError, match="MNIST"):
            studies.record(STUDIES["lenet-mnist"], tmp_path, scale=scale)
    assert list(tmp_path.iterdir()) == []


def test_recording_into_a_file_is_one_clear_sentence(toy_task, tmp_path):
    (tmp_path / "file").write_text("in the way")
    study = replace(STUDIES["lenet-mnist"], task=replace(toy_task, levels=1), changes={})
    with pytest.raises(InputError, match="cannot be written to .*choose another folder"):
        studies.record(study, tmp_path / "file" / "results")


def test_a_study_changes_what_it_says_and_nothing_else():
    for study in STUDIES.values():
        task = study.prepared()
        if study.scale != "paper":
            continue
        changed = {
            name: replace(getattr(study.task, name), **value)
            if name in ("recipe", "dense", "supermask") and value
            else value
            for name, value in study.changes.items()
        }
        assert task == replace(study.task, **changed)
        assert study.prepared("smoke") == study.task.at("smoke")


def test_the_live_study_uses_the_embedded_data_and_other_seeds_than_a_reader():
    study = STUDIES["lenet-mnist-live"]
    task = study.prepared()
    assert task.dataset == "mnist-5k" and task.scale == "live"
    assert not set(study.options["seeds"]) & set(task.seeds)


# Damage -------------------------------------------------------------------------------------------


def test_a_study_that_was_not_recorded_says_how_to_record_it(tmp_path):
    with pytest.raises(DataError, match="'lenet-mnist' has no recorded result.*lth results run"):
        studies.recorded("lenet-mnist", tmp_path)
    with pytest.raises(InputError, match="Unknown study 'lenet'. Known: lenet-mnist"):
        studies.by_name("lenet")


@pytest.mark.parametrize("file", ["lenet-mnist.csv", "lenet-mnist.json"])
@pytest.mark.parametrize("text", ["", "{", "a,b\n1,2\n", "[]", "null", "\0\xff"])
def test_a_damaged_table_or_note_is_a_data_error(smoke, tmp_path, file, text):
    for path in smoke[0].iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / file).write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError, match="lth results run lenet-mnist"):
        studies.recorded("lenet-mnist", tmp_path)


@pytest.mark.parametrize("damage", ["missing", "truncated"])
def test_damaged_curves_are_a_data_error(smoke, tmp_path, damage):
    for path in smoke[0].iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    curves = tmp_path / "lenet-mnist.curves.csv.xz"
    if damage == "missing":
        curves.unlink()
    else:
        curves.write_bytes(curves.read_bytes()[:-20])
    back = studies.recorded("lenet-mnist", tmp_path)
    with pytest.raises(DataError, match="lth results run lenet-mnist"):
        _ = back.curves


def test_a_table_that_lost_rows_is_a_data_error(smoke, tmp_path):
    for path in smoke[0].iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    table = tmp_path / "lenet-mnist.csv"
    lines = table.read_text().splitlines(keepends=True)
    table.write_text("".join(lines[: len(lines) // 2]))
    with pytest.raises(DataError, match="lth results run lenet-mnist"):
        studies.recorded("lenet-mnist", tmp_path)


def test_claims_and_findings_are_values():
    assert Claim("C01", "a", "b") == Claim("C01", "a", "b")
    assert Finding("holds", 1.0, 0.5, 1.5, "q") == Finding("holds", 1.0, 0.5, 1.5, "q")


# What travels with the project --------------------------------------------------------------------


def test_the_scorecard_that_travels_is_that_of_the_tables_that_travel(tmp_path):
    folder = datasets.embedded("results")
    studies.scorecard(folder).to_csv(tmp_path / "scorecard.csv", index=False)
    now, kept = (pd.read_csv(f / "scorecard.csv") for f in (tmp_path, folder))
    pd.testing.assert_frame_equal(now, kept)


@pytest.mark.parametrize("name", [name for name, study in STUDIES.items() if study.pending])
def test_a_study_is_recorded_or_says_why_not_and_never_both(name):
    with pytest.raises(DataError, match=f"lth results run {name}"):
        studies.recorded(name)


@pytest.mark.parametrize("name", [name for name, study in STUDIES.items() if not study.pending])
def test_every_study_that_travels_is_whole_and_of_its_own_scale(name):
    back = studies.recorded(name)
    task = STUDIES[name].prepared()
    assert back.provenance["settings"]["scale"] == task.scale
    assert back.provenance["dataset"]["name"] == task.dataset
    assert back.provenance["rows"] == len(back.table)
    assert back.table.level.max() == back.provenance["settings"]["levels"]
    assert sorted(back.table.replicate.unique()) == back.provenance["seeds"]
    curves = set() if STUDIES[name].procedure == "speed" else {"during"}  # nothing is trained
    assert curves <= set(back.curves.moment) <= curves | {"line"}
