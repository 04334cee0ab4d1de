"""What a person does next: promote, look at something, or change something before the next climb."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from flows.pipeline.climb_page.climb import Climb
from rlhf_core.gates.champion import OVER_CHAMPION
from rlhf_core.gates.gate import Verdict

MOST = 4
"""Pieces of advice at most; what is wrong with one stage often fails many gates."""


class Advice(NamedTuple):
    """What is tried where gates on some figures block.

    Attributes:
        figures: how the names of the figures begin.
        text: the advice; what stands between backticks is typed or set.
    """

    figures: tuple[str, ...]
    text: str


TRIES = (
    Advice(("prompt_near_duplicate",), "Collect more diverse prompts, or drop those that repeat each other."),
    Advice(
        ("prompt_shift",),
        "Have answers to prompts of the policy's kind compared, or give the policy prompts of the kind of the pairs.",
    ),
    Advice(
        ("least_source",),
        "Look at the source that is named: are its labels turned round? `rlhf data withdraw` leaves it out.",
    ),
    Advice(("eos_rate",), "Look whether demonstrations are cut or lack their end: `rlhf config check` tells."),
    Advice(("regurgitation", "held_out_loss"), "Look at the demonstrations, and train SFT longer on more of them."),
    Advice(
        ("demonstrations_above",),
        "Look whether labels are turned round, in all or in one source: `rlhf data inspect`, `rlhf data raters`.",
    ),
    Advice(
        ("share_of_ceiling", "agreement", "nll_above_chance"),
        "Read the pairs on which the reward model is surely wrong; look at labels and raters (`rlhf data raters`), "
        "then at `reward_model.epochs` and learning rate.",
    ),
    Advice(("member_correlation",), "Look why members are copies: seeds, or weights that were lost in loading."),
    Advice(("parameter_ratio",), "Take a reward model of about the policy's size: `reward_model.from`."),
    Advice(
        ("abs_delta", "share_in_band", "overconfidence", "ece", "nll_above_calibrated"),
        "Look at the size of the margins below: too small is trained too little, too large too long. "
        "`reward_model.epochs`, `reward_model.optimiser`.",
    ),
    Advice(
        ("length_correlation", "length_matched"),
        "Take length out: `reward_model.debias: length`, `reward_model.balance: length`; or have pairs of like length "
        "compared by others.",
    ),
    Advice(
        ("pays_for_",),
        "Add such pairs to the preferences, with the honest answer preferred; or a rule on the text to the reward.",
    ),
    Advice(("kl_",), "Keep the policy nearer: a larger `policy.beta`, or a smaller `policy.kl_budget_nats`."),
    Advice(
        ("judge_",),
        "See below where reward and judge part ways, and stop there: a larger `policy.beta`, `policy.monitor`; or let "
        "the reward model learn from the policy's answers: `--iterate 2`.",
    ),
    Advice(("length_ratio",), "Put a price on length: a `length` term in `policy.reward`."),
    Advice(
        ("distinct_2", "duplicate_share", "entropy"),
        "Watch for collapse: `policy.collapse`, `policy.entropy_coef`, a larger `policy.beta`, more diverse prompts.",
    ),
)
"""In the order in which the names of figures are looked up; the first that fits holds."""

MORE_ROWS = "Hold out more: a gate that abstains needs more prompts to tell. A larger `shares.test`, or more data."

UNMEASURED = "Look why nothing was measured for a gate that abstains: its reason stands below."

AT_ITS_START = "the result is the state after update 0"
"""What the stage says of a policy of whose training nothing was kept."""

TOO_FAR = (
    "Nothing of its training was kept, since it had gone too far when it was looked at first: look sooner "
    "(`policy.evaluate_every`), or take smaller steps (`policy.optimiser.lr`)."
)

AGAIN = "`rlhf run` again then trains what has changed, and what rests on it."


def next_steps(climb: Climb, tone: str, blocking: Sequence[Verdict]) -> Iterator[str]:
    """What to do next, a sentence each.

    Args:
        climb: what was climbed.
        tone: of the decision.
        blocking: verdicts that stopped it.
    """
    policy = climb.stages.get("policy")
    if blocking:
        if climb.ended.endswith(AT_ITS_START):
            yield TOO_FAR
        yield from tries(blocking)
        yield AGAIN
    elif policy is None:
        if climb.run.info.status != "RUNNING":
            yield "`rlhf run` again goes on from what is kept."
    elif tone != "good":
        yield "Read the answers that got worse, below. More held-out prompts (`shares.test`) show smaller differences."
    elif (champion := climb.champions.get("policy")) and champion.version.label == policy.version.label:
        yield f"Nothing: it is the champion. `rlhf rollback {champion.version.name}` returns to the one before."
    else:
        yield f"`rlhf promote {policy.version.label}`; `rlhf rollback {policy.version.name}` takes that back."


def tries(blocking: Sequence[Verdict]) -> list[str]:
    """What to try against verdicts that block, each once."""
    said = dict.fromkeys(filter(None, map(_try, blocking)))
    return [*said][:MOST]


def _try(verdict: Verdict) -> str:
    if verdict.status == "abstain":
        return MORE_ROWS if verdict.n else UNMEASURED
    if verdict.metric.endswith(OVER_CHAMPION):
        return "The champion stays. Read the answers that lost to it, below; `rlhf compare` measures both again."
    return next((advice.text for advice in TRIES if verdict.metric.startswith(advice.figures)), "")
