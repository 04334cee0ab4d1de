"""Report of the prompt audit."""

from collections.abc import Mapping

from flows.report import Sheet, estimate_sheet, format_estimate
from rlhf_core.metrics.estimates import Estimate
from rlhf_core.metrics.prompt_quality import AMONG, COMPARED, LOOKED_AT

PROMPTS = {
    "prompt_near_duplicate_share": "prompts that nearly repeat another one",
    "prompt_shift_auc": "how well words tell them from the prompts of the pairs: .5 not at all, 1 always",
}

NOTE = (
    "Of the training prompts. Those that repeat each other teach a policy little more than one of them; those unlike "
    "the prompts of the pairs ask the reward model for what it has never judged. A ladder is gated on both before it "
    f"trains anything. At most {LOOKED_AT:,} prompts are held against {AMONG:,}, and {COMPARED:,} told from as many."
)


def prompt_sheet(estimates: Mapping[str, Estimate]) -> Sheet:
    """The figures with their intervals; what the data cannot say is unknown."""
    return estimate_sheet("The prompts of the policy", PROMPTS, estimates, counted="prompts")


def in_short(estimates: Mapping[str, Estimate]) -> list[str]:
    """The figures in a line each."""
    return [f"prompts: {what}: {_value(estimates.get(name))}" for name, what in PROMPTS.items()]


def _value(estimate: Estimate | None) -> str:
    return format_estimate(estimate) if estimate else "unknown, as there are too few"
