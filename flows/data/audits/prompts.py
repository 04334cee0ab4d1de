"""Audit of the policy's prompts: near duplicates and shift; at ingestion, judged before anything is trained."""

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd

from data_contracts.conversation import read_conversation
from data_contracts.records import SPLIT, Kind
from data_contracts.sameness import same_form
from flows.data.audits.prompt_report import in_short
from flows.data.tables import Table
from flows.registry.references import DataRefs
from flows.report import Terminal
from flows.storage.snapshots import read_parts
from flows.storage.text_hashes import text_hashes
from rlhf_core.metrics.estimates import Estimate
from rlhf_core.metrics.prompt_quality import AMONG, COMPARED, prompt_figures


def measure_prompts(tables: Mapping[Kind, Table]) -> dict[str, Estimate]:
    """Measure the training prompts of a policy beside those of the training pairs.

    Args:
        tables: after both passes.

    Returns:
        What `prompt_figures` says; nothing without prompts, and no shift without preferences.
    """
    if "prompts" not in tables:
        return {}
    prompts, pair_prompts = (_training_prompts(tables, kind) for kind in ("prompts", "preferences"))
    return prompt_figures(draw_prompts(prompts, AMONG), draw_prompts(pair_prompts, COMPARED))


def audit_prompts(data: DataRefs) -> None:
    """Print in short what the prompts of a climb are like."""
    Terminal(highlight=False, markup=False).print(*in_short(data.estimates), sep="\n")


def draw_prompts(parts: Iterable[pd.DataFrame], size: int) -> list[str]:
    """The distinct prompts with the smallest hashes, whatever the order of the rows, as the texts that people read.

    Args:
        parts: rows with a `prompt` and a split, of which those of the training split count.
        size: prompts at most.

    Returns:
        Of a conversation, its turns line by line.
    """
    sample = pd.DataFrame({"prompt": np.array([], dtype=object), "hash": np.array([], dtype=np.uint64)})
    for part in parts:
        prompts = part.loc[part[SPLIT] == "train", "prompt"].map(same_form).drop_duplicates()
        hashes = pd.DataFrame({"prompt": prompts, "hash": text_hashes(prompts.tolist())})
        sample = pd.concat([sample, hashes]).drop_duplicates("prompt").nsmallest(size, "hash")
    return ["\n".join(turn["content"] for turn in read_conversation(prompt)) for prompt in sample["prompt"]]


def _training_prompts(tables: Mapping[Kind, Table], kind: Kind) -> Iterable[pd.DataFrame]:
    return read_parts(tables[kind].snapshot.path, ("prompt", SPLIT)) if kind in tables else ()
