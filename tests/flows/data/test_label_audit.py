"""The audit of the labels: which pairs it looks at, the page that people read, and what a run keeps."""

import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_contracts.formats.convert import Cast, SourceRow, convert_rows
from data_contracts.formats.registry import FORMATS
from flows.config.data import ContractConfig, FileData, FileSource, Shares
from flows.config.errors import InputError
from flows.data.audits.label_report import NOISE, in_short, odds_figure, page
from flows.data.audits.labels import BalancePlan, draw_sample, measure_balanced, measure_labels
from flows.data.sources import Read, open_sources
from flows.data.step_timer import Clock
from flows.data.tables import Table, make_tables
from flows.data.votes import Votes
from flows.registry.context import RunContext
from rlhf_core.config.reward_model import Balance
from rlhf_core.metrics.annotator_agreement import agreement_figures, cohen_kappas
from rlhf_core.metrics.estimates import Estimate
from rlhf_core.metrics.label_quality import LabelWorth, after_balance, counted_agreement, label_worth
from tests.rlhf_core.metrics.votes import count_votes

SECRET = "marzipan"


def table(rows: int, *, longer: float = 0.8, votes: tuple[int, int] = (1, 0)) -> pd.DataFrame:
    """A preference snapshot in which longer responses are preferred so often; every fourth row is held out."""
    rng = np.random.default_rng(0)
    records = []
    for index in range(rows):
        texts = [f"{SECRET} tap {index} off please", f"{SECRET} {index}"][:: 1 if rng.random() < longer else -1]
        records.append(
            {
                "prompt": f"ask {index}",
                "chosen": texts[0],
                "rejected": texts[1],
                "group": f"ask {index // 2}",
                "source": "made",
                "votes_chosen": votes[0],
                "votes_rejected": votes[1],
                "split": "test" if index % 4 == 0 else "train",
            }
        )
    return pd.DataFrame(records)


def measured(frame: pd.DataFrame, how: Balance = "none", noise: dict[str, Estimate] | None = None) -> LabelWorth:
    sample = draw_sample([frame], 200)
    counts = sample.frame[["votes_chosen", "votes_rejected"]].to_numpy(dtype="int64")
    known = counted_agreement(sample.pairs, sample.groups, counts) | (noise or {})
    worth = label_worth(sample.pairs, sample.groups, known, total=sample.total)
    balanced = None if how == "none" else after_balance(sample.pairs, sample.groups, how)
    return worth.model_copy(update={"balanced": balanced})


@given(st.integers(1, 30), st.integers(1, 20), st.randoms(use_true_random=False))
def test_the_sample_is_the_same_whatever_the_order_and_holds_no_held_out_pair(
    rows: int, size: int, rng: random.Random
) -> None:
    frame = table(rows)
    one, total = draw_sample([frame], size)
    cut = rng.randint(0, rows)
    shuffled = frame.sample(frac=1, random_state=rng.randint(0, 99))
    other, again = draw_sample([shuffled[:cut], shuffled[cut:]], size)
    train = int((frame["split"] == "train").sum())
    assert total == again == train
    assert len(one) == min(size, train)
    assert one["chosen"].tolist() == other["chosen"].tolist()
    assert set(one["split"]) <= {"train"}


def test_a_page_says_what_is_unknown_and_shows_no_text() -> None:
    worth = measured(table(400))
    text = page(worth)
    assert (worth.pairs, worth.total) == (200, 300)
    assert "Of 200 of 300 training pairs" in text
    assert "Unknown: no pair has two votes" in text
    assert all(f"| {title} | unknown |" in text for title in NOISE.values())
    assert "- More words than the other: odds of being preferred " in text
    assert "After balance" not in text
    assert SECRET not in text
    assert in_short(worth)[0].startswith("labels: a perfect judge agrees with unknown, as no pair has enough votes")
    assert LabelWorth.model_validate_json(worth.model_dump_json()) == worth


def test_a_page_of_several_votes_says_what_they_allow_and_that_nobody_has_a_name() -> None:
    text = page(measured(table(100, votes=(2, 1)), noise={"ceiling": Estimate(0.812, 0.7, 0.9, 60)}))
    assert "| two annotators of a pair say the same | 0.333 |" in text
    assert (
        "| a perfect judge agrees with one annotator, difficulty differing by pair | 0.812 | 0.700 to 0.900 | 60 |"
        in text
    )
    assert "| Cohen's kappa, for which votes must carry names | unknown |" in text


def test_named_votes_show_their_kappas() -> None:
    votes = {"ann": ["first", "second"] * 20, "b|o": ["first", "second"] * 15 + ["second", "first"] * 5}
    noise = agreement_figures(count_votes(votes), np.arange(40)) | cohen_kappas(votes, np.arange(40))
    text = page(measured(table(60), noise=noise))
    assert "| Cohen's kappa of ann and b/o | 0.500 |" in text
    assert "votes must carry names" not in text
    assert "| a perfect judge agrees with one annotator, difficulty differing by pair | unknown |" in text


@pytest.mark.parametrize("how", ["length", "length-drop"])
def test_balancing_is_shown_before_and_after(how: Balance) -> None:
    worth = measured(table(400), how)
    text = page(worth)
    assert f"### After balance {how}: {worth.balanced.pairs if worth.balanced else 0} pairs" in text
    assert "1.00 [" in text.partition("### After")[2]
    assert [line for line in in_short(worth) if line.startswith(f"labels after balance {how}: no surface feature")]
    drawn = odds_figure(worth).axes[0]
    assert [text.get_text() for text in drawn.get_legend().get_texts()] == ["as labelled", f"after balance {how}"]
    assert [label.get_text() for label in drawn.get_yticklabels()] == list(worth.effects)[::-1]


def test_pairs_that_cannot_be_balanced_are_bad_input_that_names_the_field(tmp_path: Path) -> None:
    path = tmp_path / "pairs.parquet"
    table(100, longer=1.0).to_parquet(path, index=False)
    context = RunContext(project="test", seed=0, storage=tmp_path, threads=1, run_id="r")
    with pytest.raises(InputError, match=r"reward_model\.balance length: of the .* set balance to none"):
        measure_balanced.fn("key", BalancePlan(balance="length"), path, context)


def test_pairs_in_which_nothing_differs_still_make_a_page() -> None:
    frame = table(40)
    frame["chosen"], frame["rejected"] = "same length", "length same"
    worth = measured(frame)
    assert "No surface feature is seen to predict" in page(worth)
    assert odds_figure(worth).axes


def ingested(rows: list[dict[str, Any]], folder: Path) -> Table:
    numbered = (SourceRow("votes.jsonl", number, row) for number, row in enumerate(rows, start=1))
    read = Read(convert_rows("preferences", FORMATS["votes"]["preferences"].convert, numbered), is_label=False)
    contract = ContractConfig(max_quarantined=1.0)
    made = make_tables({"preferences": [read]}, Shares(), contract, folder=folder / "work", clock=Clock())
    return made["preferences"]


def asked(index: int, votes: Any, answer: str = "turn it off") -> dict[str, Any]:
    return {
        "prompt": f"{SECRET} {index}",
        "response_a": f"{answer} {index}" * bool(answer),
        "response_b": "wait",
        "votes": votes,
    }


def test_all_votes_are_kept_and_measured_those_of_ties_and_of_quarantined_rows_too(tmp_path: Path) -> None:
    rows = [asked(index, {"ann": "a", "bo": "a", "cy": None}) for index in range(60)]
    rows += [asked(index, {"ann": "a", "bo": "b"}) for index in range(60, 80)]
    rows += [asked(index, {"ann": "b", "bo": "b"}, answer="") for index in range(80, 100)]
    preferences = ingested(rows, tmp_path)
    assert preferences.counts.left_out == {"a tie of the votes": 20} and preferences.counts.quarantined == 20
    kept = pd.read_csv(preferences.raw_votes.path)
    assert len(kept) == 200 and set(kept["annotator"]) == {"ann", "bo"}
    assert kept.query("row == 61")["verdict"].tolist() == ["first", "second"]
    assert SECRET not in preferences.raw_votes.path.read_text()
    noise = measure_labels(preferences).noise
    assert noise["raw_agreement"][::3] == (pytest.approx(0.8), 100)
    # agreement .8, by chance .8 * .6 + .2 * .4 = .56
    assert noise["kappa of ann and bo"].value == pytest.approx((0.8 - 0.56) / 0.44)
    assert "ceiling" not in noise  # two votes on a pair do not say how much pairs differ


def test_the_ceiling_knows_of_pairs_that_a_tie_leaves_out(tmp_path: Path) -> None:
    decided = [asked(index, ["a"] * 4) for index in range(50)]
    split = [asked(index, ["a", "a", "b", "b"]) for index in range(50, 100)]
    rosy, honest = (measure_labels(ingested(rows, tmp_path / str(len(rows)))) for rows in (decided, decided + split))
    assert rosy.noise["ceiling"].value > 0.99 and honest.noise["ceiling"].value < 0.85
    assert honest.noise["ceiling"].n == 100


def test_agreement_knows_of_pairs_that_their_labels_leave_even(tmp_path: Path) -> None:
    texts = [{"prompt": f"{SECRET} {i}", "chosen": f"turn it off {i}", "rejected": f"wait {i}"} for i in range(200)]
    even = [{**row, "chosen": row["rejected"], "rejected": row["chosen"]} for row in texts[:80]]
    numbered = (SourceRow("labels.jsonl", number, row) for number, row in enumerate([*texts, *even, *texts[80:]], 1))
    read = Read(convert_rows("preferences", lambda row: [row], numbered), is_label=True)
    table = make_tables({"preferences": [read]}, Shares(), ContractConfig(), folder=tmp_path / "work", clock=Clock())
    noise = measure_labels(table["preferences"]).noise
    train = sum((frame["split"] == "train").sum() for frame in table["preferences"].tied)
    assert 0 < train < 80 and table["preferences"].counts.left_out == {"a tie of the votes": 80}
    kept = table["preferences"].snapshot.split_rows["train"]
    assert noise["raw_agreement"][::3] == (pytest.approx(kept / (kept + train)), kept + train)


def test_votes_without_names_have_no_kappa_and_counted_votes_no_file(tmp_path: Path) -> None:
    unnamed = ingested([asked(index, ["a", "a", "b"]) for index in range(60)], tmp_path / "unnamed")
    assert set(pd.read_csv(unnamed.raw_votes.path)["annotator"].isna()) == {True}
    noise = measure_labels(unnamed).noise
    assert noise["raw_agreement"].value == pytest.approx(1 / 3)
    assert not [name for name in noise if name.startswith("kappa")]
    single = ingested([asked(index, ["a"]) for index in range(60)], tmp_path / "single")
    assert not single.raw_votes.path.exists() and measure_labels(single).noise == {}


def test_the_figures_are_of_a_sample_that_the_order_of_rows_does_not_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.data.votes.SAMPLE", 50)
    casts = [Cast("a.jsonl", index, f"p{index}", (("ann", 1), ("bo", 1 + index % 2))) for index in range(200)]
    figures = []
    for name, order in (("one", casts), ("other", casts[::-1])):
        raw_votes = Votes(tmp_path / name)
        raw_votes.add(order[:70])
        raw_votes.add(order[70:])
        figures.append(raw_votes.noise([1]))
    assert figures[0] == figures[1] and figures[0]["raw_agreement"].n == 50


@pytest.mark.skipif("RLHF_DATA" not in os.environ, reason="RLHF_DATA names no folder with the real files")
def test_the_kappas_of_pandalm_are_those_that_its_authors_report(tmp_path: Path) -> None:
    contract = ContractConfig(max_quarantined=0.25, rules={"chosen_is_text": "quarantine"})
    reads = open_sources(FileData(preferences=(FileSource(path="pandalm/testset-v1.json"),)), seed=0)
    made = make_tables(reads, Shares(), contract, folder=tmp_path / "work", clock=Clock())
    noise = measure_labels(made["preferences"]).noise
    couples = ("1 and annotator 2", "1 and annotator 3", "2 and annotator 3")
    kappas = [noise[f"kappa of annotator {couple}"] for couple in couples]
    assert [round(kappa.value, 2) for kappa in kappas] == [0.85, 0.88, 0.86]
    assert {kappa.n for kappa in kappas} == {noise["raw_agreement"].n} == {170}  # prompts of the 999 rows
    assert all(kappa.lower < kappa.value < kappa.upper for kappa in kappas)
    assert noise["flip_rate"].value == pytest.approx(0.027, abs=5e-4)
    assert 0.94 < noise["ceiling"].lower < noise["ceiling"].value < noise["best_against_one"].value
