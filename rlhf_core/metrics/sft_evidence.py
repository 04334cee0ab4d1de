"""Held-out rows that the figures of an SFT model rest on, beside its base: as tables, and the figures from these."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rlhf_core.data.records import Demonstration, Response
from rlhf_core.metrics.drift import eos_rate, regurgitation_rate
from rlhf_core.metrics.estimates import Estimate, mean

DEMONSTRATIONS, ANSWERS = "demonstrations", "answers"
"""What the tables are called among the evidence of an SFT model."""

MODELS = {"base": "base_", "sft": ""}
"""Before the names of the figures of either model."""


OF_WORDS = frozenset({"regurgitation_rate", "base_regurgitation_rate"})
"""Figures that need the words of texts, which digests do not have."""


class SFTMeasurements(NamedTuple):
    """What a model makes of held-out rows.

    Attributes:
        losses: of each demonstration, shape ``[N]``, nats per response token.
        responses: its own answer to each unique prompt.
    """

    losses: NDArray[np.float64]
    responses: list[Response]


def sft_evidence(
    demonstrations: Sequence[Demonstration], prompts: Sequence[str], measured: Mapping[str, SFTMeasurements]
) -> dict[str, pa.Table]:
    """What base and SFT model make of held-out rows.

    Args:
        demonstrations: the N that they were measured on.
        prompts: those that they answered.
        measured: by `base` and `sft`.

    Returns:
        `DEMONSTRATIONS`, a row for each with `<model>_loss_nats` per token, and `ANSWERS`, a row for each prompt with
        `<model>` and `<model>_finished`.
    """
    texts = {name: [getattr(item, name) for item in demonstrations] for name in ("prompt", "response")}
    losses = {f"{name}_loss_nats": model.losses for name, model in measured.items()}
    answers: dict[str, list[str] | list[bool]] = {"prompt": list(prompts)}
    for name, model in measured.items():
        answers[name] = [response.text for response in model.responses]
        answers[f"{name}_finished"] = [response.finished for response in model.responses]
    return {DEMONSTRATIONS: pa.table({**texts, **losses}), ANSWERS: pa.table(answers)}


def sft_figures(evidence: Mapping[str, pa.Table]) -> dict[str, Estimate]:
    """The figures of an SFT model, from what it and its base make of held-out rows.

    Returns:
        `held_out_loss`, `eos_rate` and `regurgitation_rate`, those of the base with the prefix `base_`, and
        `held_out_loss_gain`, paired by demonstration; those of one prompt are resampled together.
    """
    demonstrated, answers = evidence[DEMONSTRATIONS], evidence[ANSWERS]
    clusters, prompts = demonstrated["prompt"].to_pylist(), answers["prompt"].to_pylist()
    losses = {name: demonstrated[f"{name}_loss_nats"].to_numpy() for name in MODELS}
    figures = {"held_out_loss_gain": mean(losses["base"] - losses["sft"], clusters)}
    for name, prefix in MODELS.items():
        figures |= {
            f"{prefix}held_out_loss": mean(losses[name], clusters),
            f"{prefix}eos_rate": eos_rate(answers[f"{name}_finished"].to_pylist()),
            f"{prefix}regurgitation_rate": regurgitation_rate(prompts, answers[name].to_pylist()),
        }
    return figures
