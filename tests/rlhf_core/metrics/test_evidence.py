"""Figures are those of the held-out rows that are kept, and of no others."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rlhf_core.data.records import Demonstration, Pair, Response
from rlhf_core.data.stress_cases import stress_cases
from rlhf_core.gates.figures import unknown_figure
from rlhf_core.metrics.agreement import floor_hits
from rlhf_core.metrics.best_of_n import compare_best_of_n
from rlhf_core.metrics.estimates import Estimate, point
from rlhf_core.metrics.policy import Answers, compare_policies
from rlhf_core.metrics.policy_evidence import ANSWERS, answers_table, policy_figures
from rlhf_core.metrics.reward_model import ScoredPairs, demonstration_figures, evaluate_scores
from rlhf_core.metrics.reward_model_evidence import PAIRS, reward_model_evidence, reward_model_figures
from rlhf_core.metrics.sft_evidence import SFTMeasurements, sft_evidence, sft_figures
from rlhf_core.metrics.stress import stress_figures, stress_table

N = 60
RNG = np.random.default_rng(1)
PROMPTS = [f"prompt {index}" for index in range(N)]
WORDS = np.array(["check", "the", "tap", "clean", "drain", "\u00e9t\u00e9"])


def texts(count: int) -> list[str]:
    return [" ".join(RNG.choice(WORDS, RNG.integers(1, 9))) for _ in range(count)]


def answers(*, members: int, terms: tuple[str, ...] = ()) -> Answers:
    said = texts(N)
    return Answers(
        texts=said,
        tokens=np.array([float(len(text.split())) for text in said]),
        finished=RNG.random(N).round().astype(bool).tolist(),
        kl=RNG.normal(1.0, 1.0, N).astype(np.float32),
        kl_k3=RNG.random(N).astype(np.float32),
        reward=RNG.normal(size=N),
        judge=RNG.normal(size=N),
        disagreement=RNG.random(N) if members > 1 else np.full(N, np.nan),
        surprisal=RNG.random(N) * 9,
        terms={name: RNG.normal(size=N) for name in terms},
    )


def kept(tables: dict[str, pa.Table], folder: Path) -> dict[str, pa.Table]:
    """The tables as somebody reads them who has the files."""
    for name, table in tables.items():
        pq.write_table(table, folder / f"{name}.parquet")
    return {name: pq.read_table(folder / f"{name}.parquet") for name in tables}


@pytest.mark.parametrize("members", [1, 3])
def test_figures_of_a_policy_follow_from_the_answers_that_are_kept(tmp_path: Path, members: int) -> None:
    policy, *draws = (answers(members=members, terms=("brevity",)) for _ in range(4))
    table = answers_table(PROMPTS, policy, draws, [("a", "one"), ("a", "one"), ("b", "two"), ("b", "three")])
    found = policy_figures(kept({ANSWERS: table}, tmp_path))
    assert found.pop("repeats_within_prompt").value == pytest.approx(0.25)
    assert found == compare_policies(draws[0], policy) | compare_best_of_n(policy, draws)
    assert not any(unknown_figure("policy", name) for name in found)
    assert table.num_rows == 4 * N + 4


def test_one_draw_of_the_sft_model_is_no_best_of_n() -> None:
    policy, sft = answers(members=1), answers(members=1)
    assert policy_figures({ANSWERS: answers_table(PROMPTS, policy, [sft])}) == compare_policies(sft, policy)


@pytest.mark.parametrize("members", [1, 3])
def test_figures_of_a_reward_model_follow_from_the_scores_that_are_kept(tmp_path: Path, members: int) -> None:
    said = texts(4 * N)
    held_out = [Pair(PROMPTS[index // 2], said[2 * index], said[2 * index + 1], share=0.8) for index in range(2 * N)]
    held_out.append(Pair(held_out[0].prompt, held_out[1].rejected, held_out[0].chosen, share=0.6))
    chosen = [Demonstration(pair.prompt, pair.chosen) for pair in held_out]
    rejected = [Demonstration(pair.prompt, pair.rejected) for pair in held_out]
    items = list(dict.fromkeys([*chosen, *rejected]))
    by_member = RNG.normal(size=(len(items), members))
    places = [items.index(item) for item in chosen], [items.index(item) for item in rejected]
    shares = np.array([pair.share for pair in held_out])
    scored = ScoredPairs(items, by_member, by_member.mean(axis=1), by_member.std(axis=1), *places, shares)
    demonstrations = [Demonstration(f"d {index // 2}", text) for index, text in enumerate(texts(40))]
    demonstrated = RNG.normal(size=40)
    floors = floor_hits([], held_out, [pair.prompt for pair in held_out])
    ceiling = Estimate(0.9, 0.88, 0.92, N)

    attacks = stress_cases(held_out, held_out, str)
    attacked = stress_table(attacks, RNG.normal(size=(len(attacks), 2)))

    evidence = reward_model_evidence(scored, held_out, floors, demonstrations, demonstrated, attacked)
    found = reward_model_figures(kept(evidence, tmp_path), {"temperature": point(1.7, N), "ceiling": ceiling})

    expected = evaluate_scores(scored, 1.7, held_out, floors, ceiling=ceiling)
    expected |= demonstration_figures(demonstrated, demonstrations, scored, 1.7, held_out)
    assert found == expected | stress_figures(attacked)
    assert not any(unknown_figure("reward_model", name) for name in found)
    assert evidence[PAIRS].num_rows == len(held_out)


def test_figures_of_an_sft_model_follow_from_the_losses_and_answers_that_are_kept(tmp_path: Path) -> None:
    demonstrations = [Demonstration(PROMPTS[index // 2], text) for index, text in enumerate(texts(2 * N))]
    said = {
        name: SFTMeasurements(RNG.random(2 * N) * 4, [Response(text, len(text) > 9) for text in texts(N)])
        for name in ("base", "sft")
    }
    found = sft_figures(kept(sft_evidence(demonstrations, PROMPTS, said), tmp_path))
    gains = said["base"].losses - said["sft"].losses
    assert found["held_out_loss"].value == pytest.approx(said["sft"].losses.mean())
    assert found["base_held_out_loss"].value == pytest.approx(said["base"].losses.mean())
    assert found["held_out_loss_gain"].value == pytest.approx(gains.mean())
    assert found["held_out_loss_gain"].n == N
    assert found["eos_rate"].value == pytest.approx(np.mean([answer.finished for answer in said["sft"].responses]))
    assert found["base_regurgitation_rate"].value == 0.0
    assert not any(unknown_figure("sft", name) for name in found)
