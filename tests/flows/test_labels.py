"""The audit of the labels: which pairs it looks at, the page that people read, and what a run keeps."""

import random
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.config import InputError
from flows.labels import AuditPlan, draw_sample, measure_labels
from flows.place import Place
from flows.report.labels import in_short, odds_figure, page
from rlhf_core.balance import Balance
from rlhf_core.evaluation.annotators import agreement_figures, cohen_kappas, count_votes
from rlhf_core.evaluation.estimates import Estimate
from rlhf_core.evaluation.labels import LabelWorth

SECRET = "marzipan"


def table(rows: int, *, longer: float = 0.8, votes: tuple[int, int] = (1, 0)) -> pd.DataFrame:
    """A preference snapshot in which longer responses are preferred so often; every fourth row is held out."""
    rng = np.random.default_rng(0)
    records = []
    for place in range(rows):
        texts = [f"{SECRET} tap {place} off please", f"{SECRET} {place}"][:: 1 if rng.random() < longer else -1]
        records.append(
            {
                "prompt": f"ask {place}",
                "chosen": texts[0],
                "rejected": texts[1],
                "group": f"ask {place // 2}",
                "source": "made",
                "votes_chosen": votes[0],
                "votes_rejected": votes[1],
                "split": "test" if place % 4 == 0 else "train",
            }
        )
    return pd.DataFrame(records)


def measured(frame: pd.DataFrame, folder: Path, balance: Balance, ceiling: Estimate | None = None) -> LabelWorth:
    path = folder / "pairs.parquet"
    frame.to_parquet(path, index=False)
    place = Place(project="test", seed=0, storage=folder, threads=1, run_id="r")
    plan = AuditPlan(balance=balance, ceiling=ceiling, sample=200)
    return LabelWorth.model_validate(measure_labels.fn("key", plan, path, place))


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


def test_a_page_says_what_is_unknown_and_shows_no_text(tmp_path: Path) -> None:
    worth = measured(table(400), tmp_path, "none")
    text = page(worth)
    assert (worth.pairs, worth.total) == (200, 300)
    assert "A sample of 200 of 300 pairs" in text
    assert "Unknown: no pair has two votes" in text
    assert "- More words than the other: odds of being preferred " in text
    assert "After balance" not in text
    assert SECRET not in text
    assert in_short(worth)[0].startswith("labels: a perfect judge agrees with unknown, as no pair has enough votes")
    assert LabelWorth.model_validate_json(worth.model_dump_json()) == worth


def test_a_page_of_several_votes_says_what_they_allow_and_that_nobody_has_a_name(tmp_path: Path) -> None:
    text = page(measured(table(100, votes=(2, 1)), tmp_path, "none", Estimate(0.812, 0.7, 0.9, 60)))
    assert "| two annotators of a pair say the same | 0.333 |" in text
    assert (
        "| a perfect judge agrees with one annotator, difficulty differing by pair | 0.812 | 0.700 to 0.900 | 60 |"
        in text
    )
    assert "| Cohen's kappa, for which votes must carry names | unknown |" in text


def test_named_votes_show_their_kappas(tmp_path: Path) -> None:
    votes = {"ann": ["first", "second"] * 20, "bo": ["first", "second"] * 15 + ["second", "first"] * 5}
    noise = agreement_figures(count_votes(votes), np.arange(40)) | cohen_kappas(votes, np.arange(40))
    text = page(measured(table(60), tmp_path, "none").model_copy(update={"noise": noise}))
    assert "| Cohen's kappa of ann and bo | 0.500 |" in text
    assert "votes must carry names" not in text
    assert "| a perfect judge agrees with one annotator, difficulty differing by pair | unknown |" in text


@pytest.mark.parametrize("how", ["length", "length-drop"])
def test_balancing_is_shown_before_and_after(tmp_path: Path, how: Balance) -> None:
    worth = measured(table(400), tmp_path, how)
    text = page(worth)
    assert f"### After balance {how}: {worth.balanced.pairs if worth.balanced else 0} pairs" in text
    assert "1.00 [" in text.partition("### After")[2]
    assert [line for line in in_short(worth) if line.startswith(f"labels after balance {how}: no surface feature")]
    drawn = odds_figure(worth).axes[0]
    assert [text.get_text() for text in drawn.get_legend().get_texts()] == ["as labelled", f"after balance {how}"]
    assert [label.get_text() for label in drawn.get_yticklabels()] == list(worth.effects)[::-1]


def test_pairs_that_cannot_be_balanced_are_bad_input_that_names_the_field(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"reward_model\.balance length: of the .* set balance to none"):
        measured(table(100, longer=1.0), tmp_path, "length")


def test_pairs_in_which_nothing_differs_still_make_a_page(tmp_path: Path) -> None:
    frame = table(40)
    frame["chosen"], frame["rejected"] = "same length", "length same"
    worth = measured(frame, tmp_path, "none")
    assert "No surface feature is seen to predict" in page(worth)
    assert odds_figure(worth).axes
