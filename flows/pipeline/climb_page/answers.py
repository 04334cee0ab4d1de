"""Answers side by side, from the held-out rows that the verdict on a policy rests on."""

import difflib
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from data_contracts.conversation import in_words
from flows.pipeline.climb_page.climb import Climb, StageRun, hashed
from flows.pipeline.climb_page.parts import Chart
from flows.pipeline.climb_page.worse import by_part, counted
from rlhf_core.metrics.challenge import prompt_slices
from rlhf_core.metrics.champion_evidence import SIDES
from rlhf_core.metrics.policy_evidence import ANSWERS, POLICY, SFT

KEPT = 240
"""Prompts at most that the page holds; a file of the run has all."""

CHAMPION = "champion"
"""What the other side is called among the answers, whoever it is."""

SOURCE = "source"
"""Column of the rows that says where a prompt comes from, where it is there."""

COMPARED = 600
"""Words at most of texts whose differences are marked."""


class SideBySide(NamedTuple):
    """What the page has of answers.

    Attributes:
        rows: as JSON, one for each prompt.
        slices: names to filter by.
        of: how many prompts there are in all.
        note: what to know of them.
        counted: how many got better and worse, a sentence each.
        charts: the same by part of the prompts.
        missing: why there are none, empty where there are some.
    """

    rows: Sequence[Mapping[str, Any]] = ()
    slices: Sequence[str] = ()
    of: int = 0
    note: str = ""
    counted: Sequence[str] = ()
    charts: Sequence[Chart] = ()
    missing: str = ""

    @property
    def beside(self) -> bool:
        """Whether any answer was scored beside one of the champion."""
        return any(row["beside"] is not None for row in self.rows)


def side_by_side(climb: Climb) -> SideBySide:
    """Every prompt with the answers of the SFT model, the policy and the champion, as far as these are kept."""
    policy = climb.stages.get("policy")
    if policy is None:
        return SideBySide(missing="No policy was made, so no answers were measured.")
    if ANSWERS not in policy.rows:
        return SideBySide(missing=f"The answers that the verdict on {policy.version.label} rests on are not kept.")
    if policy.texts_hashed:
        hashed = (
            "Texts of this project are kept only as SHA-256 (`evidence: {texts: hashed}`), so none can be read here."
        )
        return SideBySide(missing=f"{hashed} Scores of each answer are in the rows of the run.")
    columns = policy.rows[ANSWERS].to_pylist()
    by = {name: {row["prompt"]: row for row in columns if row["answered_by"] == name} for name in (POLICY, SFT)}
    by[CHAMPION], said = _beside(climb, climb.beside) if climb.beside is not None else _champion(climb, policy)
    prompts = [prompt for prompt in by[POLICY] if prompt in by[SFT]]
    sliced = _slices([by[POLICY][prompt] for prompt in prompts])
    rows = [
        _row(prompt, slices, {name: answers[prompt] for name, answers in by.items() if prompt in answers})
        for prompt, slices in zip(prompts, sliced, strict=True)
    ]
    kept = _telling(rows)
    cut = f"{len(kept)} of {len(rows)}, those that gain, lose and disagree most" if len(kept) < len(rows) else "All"
    note = f"{cut} of the held-out prompts that the verdict rests on. {said}"
    parts = list(dict.fromkeys(name for names in sliced for name in names))
    charts = list(by_part(rows, parts, climb.other))
    return SideBySide(kept, parts, len(rows), note, list(counted(rows, climb.other)), charts)


def _beside(climb: Climb, compared: pa.Table) -> tuple[dict[str, Mapping[str, Any]], str]:
    """What the champion answered when the policy was compared with it, as the policy's own judge scored it."""
    if hashed(compared):
        return {}, f"The answers of {climb.other} are not kept as texts."
    rows = {row["prompt"]: row for row in compared.to_pylist() if row["answered_by"] == SIDES[1]}
    return rows, (
        f"Answers of {climb.other} are those that it gave when both were compared, scored by the same judge; those of "
        "the policy are the ones that it was measured by, so gains here are of other samples than the figures above."
    )


def _champion(climb: Climb, policy: StageRun) -> tuple[dict[str, Mapping[str, Any]], str]:
    """The champion's own answers by prompt, from its kept rows; scores only where the same judge gave them."""
    champion = climb.champions.get("policy")
    if champion is None:
        return {}, "There is no champion whose answers could stand beside them."
    if champion.version.label == policy.version.label:
        return {}, "The policy is the champion itself."
    label = champion.version.label
    if ANSWERS not in champion.rows or champion.texts_hashed:
        return {}, f"The answers of the champion, {label}, are not kept as texts."
    same = champion.version.parents.get("judge") == policy.version.parents.get("judge")
    rows = [row for row in champion.rows[ANSWERS].to_pylist() if row["answered_by"] == POLICY]
    if not same:
        rows = [{**row, "judge_score": None, "reward_score": None} for row in rows]
    judged = "" if same else " Another judge measured them, so they are shown without scores."
    return {row["prompt"]: row for row in rows}, f"Answers of the champion, {label}, are those kept with it.{judged}"


def _slices(rows: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """The slices that each row lies in, as gates against the champion know them."""
    if not rows:
        return []
    prompts, sources = [row["prompt"] for row in rows], [str(row.get(SOURCE, "")) for row in rows]
    slices = prompt_slices(prompts, sources)
    return [[name for name, members in slices.items() if members[place]] for place in range(len(rows))]


def _row(prompt: str, slices: Sequence[str], answers: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    policy, sft = answers[POLICY], answers[SFT]
    gains = {name: _gain(policy.get(f"{name}_score"), sft.get(f"{name}_score")) for name in ("judge", "reward")}
    return {
        "prompt": in_words(prompt),
        "slices": slices,
        "judge_gain": gains["judge"],
        "reward_gain": gains["reward"],
        "beside": _gain(policy.get("judge_score"), answers.get(CHAMPION, {}).get("judge_score")),
        "disagree": _disagreement(gains["judge"], gains["reward"]),
        "kl": _finite(policy.get("kl_to_sft_nats")),
        "answers": [
            _answer(name, answers[name], sft["response"]) for name in (SFT, POLICY, CHAMPION) if name in answers
        ],
    }


def _answer(name: str, row: Mapping[str, Any], beside: str) -> dict[str, Any]:
    """An answer with its scores; `pieces` are its words, marked where the SFT model's answer has others."""
    return {
        "by": name,
        "judge": _finite(row.get("judge_score")),
        "reward": _finite(row.get("reward_score")),
        "tokens": _finite(row.get("tokens")),
        "finished": row.get("finished"),
        "pieces": [[row["response"], False]] if name == SFT else marked(beside, row["response"]),
    }


def marked(beside: str, text: str) -> list[list[Any]]:
    """A text in pieces, each with whether another text has other words there."""
    words, others = (re.findall(r"\s*\S+|\s+$", said) for said in (text, beside))
    if len(words) + len(others) > COMPARED:
        return [[text, False]]
    matcher = difflib.SequenceMatcher(
        a=[word.strip() for word in others], b=[word.strip() for word in words], autojunk=False
    )
    return [
        ["".join(words[start:end]), operation != "equal"]
        for operation, _, _, start, end in matcher.get_opcodes()
        if end > start
    ]


def _telling(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """As many rows as the page holds: the largest gains, losses and disagreements in turn."""
    if len(rows) <= KEPT:
        return list(rows)
    gains, beside = (np.array([row[name] or 0.0 for row in rows]) for name in ("judge_gain", "beside"))
    disagreements = np.array([row["disagree"] for row in rows])
    ranked = [np.argsort(keys, kind="stable").tolist() for keys in (-gains, gains, -beside, beside, -disagreements)]
    turns = [index for places in zip(*ranked, strict=True) for index in places]
    return [rows[index] for index in sorted(list(dict.fromkeys(turns))[:KEPT])]


def _disagreement(judge: float | None, reward: float | None) -> float:
    """How far judge and reward see it differently; 0 where both see a gain, or both a loss."""
    if judge is None or reward is None or judge * reward >= 0:
        return 0.0
    return abs(judge - reward)


def _gain(policy: float | None, sft: float | None) -> float | None:
    ours, theirs = _finite(policy), _finite(sft)
    return None if ours is None or theirs is None else ours - theirs


def _finite(value: float | None) -> float | None:
    """A number as JSON has it: none for NaN."""
    return None if value is None or not math.isfinite(value) else float(value)
