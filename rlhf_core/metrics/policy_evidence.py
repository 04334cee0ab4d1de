"""Held-out answers that the figures of a policy rest on: as a table with a row for each, and the figures from it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from rlhf_core.metrics.best_of_n import compare_best_of_n
from rlhf_core.metrics.diversity import repeats_within
from rlhf_core.metrics.estimates import Estimate
from rlhf_core.metrics.policy import Answers, compare_policies

ANSWERS = "answers"
"""What the table is called among the evidence of a policy."""

POLICY, SFT, REPEAT = "policy", "sft", "policy, again"
"""Who gave an answer. Further draws of the SFT model, for best-of-n, are `sft 2` and so on."""

COLUMNS = {
    "texts": "response",
    "tokens": "tokens",
    "finished": "finished",
    "kl": "kl_to_sft_nats",
    "kl_k3": "kl_to_sft_nats_k3",
    "reward": "reward_score",
    "judge": "judge_score",
    "disagreement": "reward_disagreement",
    "surprisal": "surprisal_nats",
}
"""Columns of the table by the fields of `Answers`; a further term of the reward is `reward_<name>`."""

TERM = "reward_term_"

OF_WORDS = frozenset(
    {"distinct_1", "distinct_2", "distinct_3", "distinct_2_ratio", "self_bleu", "sft_distinct_2", "sft_self_bleu"}
)
"""Figures that need the words of texts, which digests do not have."""


def answers_table(
    prompts: Sequence[str], policy: Answers, draws: Sequence[Answers], repeats: Sequence[tuple[str, str]] = ()
) -> pa.Table:
    """The answers to held-out prompts, a row for each answer.

    Args:
        prompts: N prompts.
        policy: answers of the trained policy to them.
        draws: answers of the SFT model, at least once; more than once where the policy is held against best-of-n.
        repeats: further answers of the policy, each with its prompt, on which nothing was measured.

    Returns:
        Columns `answered_by`, `prompt` and those of `COLUMNS`; what was not measured is null.
    """
    by = {POLICY: policy, SFT: draws[0], **{f"{SFT} {number}": draw for number, draw in enumerate(draws[1:], start=2)}}
    tables = [_rows(name, prompts, answers) for name, answers in by.items()]
    if repeats:
        asked, responses = zip(*repeats, strict=True)
        again = {"answered_by": [REPEAT] * len(repeats), "prompt": list(asked), "response": list(responses)}
        tables.append(pa.table(again))
    return pa.concat_tables(tables, promote_options="default")


def policy_figures(evidence: Mapping[str, pa.Table]) -> dict[str, Estimate]:
    """The figures of a policy that rest on its answers alone, from the table of these.

    Args:
        evidence: `ANSWERS`, as `answers_table` gives it.

    Returns:
        Those of `compare_policies`; with several draws of the SFT model those of `compare_best_of_n`, and
        `repeats_within_prompt` where the policy answered prompts several times.
    """
    table = evidence[ANSWERS]
    names = table.column("answered_by").unique().to_pylist()
    sft = [name for name in names if name not in (POLICY, REPEAT)]
    policy, *draws = (_answers(table, name) for name in (POLICY, *sft))
    figures = compare_policies(draws[0], policy)
    if len(draws) > 1:
        figures |= compare_best_of_n(policy, draws)
    again = _by(table, REPEAT)
    return figures | repeat_figures(
        list(zip(*(again[name].to_pylist() for name in ("prompt", "response")), strict=True))
    )


def repeat_figures(repeats: Sequence[tuple[str, str]]) -> dict[str, Estimate]:
    """`repeats_within_prompt` of prompts with answers, several to each; nothing where there are none."""
    by_prompt: dict[str, list[str]] = {}
    for prompt, response in repeats:
        by_prompt.setdefault(prompt, []).append(response)
    return {"repeats_within_prompt": repeats_within(list(by_prompt.values()))} if by_prompt else {}


def _rows(name: str, prompts: Sequence[str], answers: Answers) -> pa.Table:
    measured = {column: getattr(answers, field) for field, column in COLUMNS.items()}
    terms = {f"{TERM}{term}": values for term, values in answers.terms.items()}
    return pa.table({"answered_by": [name] * len(prompts), "prompt": list(prompts), **measured, **terms})


def _answers(table: pa.Table, name: str) -> Answers:
    rows = _by(table, name)
    lists = {"texts", "finished"}
    fields: dict[str, Any] = {
        field: rows[column].to_pylist() if field in lists else rows[column].to_numpy()
        for field, column in COLUMNS.items()
    }
    terms = {
        column.removeprefix(TERM): rows[column].to_numpy() for column in rows.column_names if column.startswith(TERM)
    }
    return Answers(**fields, terms=terms)


def _by(table: pa.Table, name: str) -> pa.Table:
    return table.filter(np.array(table.column("answered_by").to_pylist()) == name)
