"""Which figures each stage measures, so that a gate on another one is refused before anything is trained."""

import difflib
import re
from collections.abc import Mapping, Set

from rlhf_core.data.stress_cases import CASES
from rlhf_core.gates.champion import OVER_CHAMPION

FLOORS = ("longest", "shortest", "bag_of_words")

DATA = {"least_source_agreement", "prompt_near_duplicate_share", "prompt_shift_auc"}

SFT = {
    f"{model}{figure}" for model in ("", "base_") for figure in ("held_out_loss", "eos_rate", "regurgitation_rate")
} | {"held_out_loss_gain"}

REWARD_MODEL = {
    *("agreement", "agreement_above_floor", "agreement_chosen_longer", "agreement_chosen_shorter"),
    *(f"agreement_{third}_confidence" for third in ("low", "middle", "high")),
    *("agreement_on_policy", "last_agreement_on_policy", "agreement_on_policy_gain", "judge_agreement_on_policy"),
    *("ceiling", "share_of_ceiling", "judged_pairs", "temperature", "fitted_temperature", "parameter_ratio"),
    *("ece", "ece_uncalibrated", "nll", "nll_above_calibrated", "nll_above_chance", "overconfidence_gap"),
    *("abs_delta_median", "abs_delta_ratio", "share_in_band", "demonstration_score", "demonstrations_above_rejected"),
    *("length_correlation", "length_correlation_with_length_head", "length_matched_agreement"),
    *("disagreement", "member_correlation"),
    *(f"pays_for_{case}" for case in CASES),
    *(f"floor_{floor}" for floor in FLOORS),
}

POLICY = {
    *("reward_gain", "judge_reward_gain", "judge_win_rate", "judge_correlation", "judge_gain"),
    *("kl_to_sft_nats", "kl_to_sft_nats_k3", "length_ratio", "eos_rate", "sft_eos_rate"),
    *("distinct_1", "distinct_2", "distinct_3", "distinct_2_ratio", "sft_distinct_2", "self_bleu", "sft_self_bleu"),
    *("duplicate_share", "duplicate_share_gain", "sft_duplicate_share", "repeats_within_prompt"),
    *("entropy_nats", "entropy_ratio", "entropy_trend_nats", "overoptimisation", "judge_peak_kl_nats"),
    *("judge_curve_alpha", "judge_curve_beta", "sft_reward_disagreement"),
    *("over_kl_budget", "over_disagreement", "collapsed", "over_optimised", "stalled"),
    *("best_of_n", "best_of_n_kl_nats", "best_of_n_reward_gain", "best_of_n_judge_gain"),
    *("judge_gain_over_best_of_n", "judge_win_rate_over_best_of_n"),
    *("held_out_loss", "margin", "agreement"),  # of DPO
}

SCORED = {
    f"{scorer}_{figure}" for scorer in ("judge", "reward") for figure in ("score", "score_at_like_length", "win_rate")
}

CHAMPION = {
    "sft": {"loss_nats", "eos_rate"},
    "reward_model": {"agreement", "nll_nats", "agreement_on_champion_policy"},
    "policy": {*SCORED, "worst_slice_judge_win_rate", "eos_rate"},
}
"""Figures of a comparison with the champion, without the end of their names."""

FIGURES: Mapping[str, Set[str]] = {
    stage: measured | {f"{figure}{OVER_CHAMPION}" for figure in CHAMPION.get(stage, ())}
    for stage, measured in {"data": DATA, "sft": SFT, "reward_model": REWARD_MODEL, "policy": POLICY}.items()
}

OWN = {"policy": re.compile(r"reward_\w+")}
"""Figures whose names a configuration makes, as those of the terms of its reward."""


def unknown_figure(stage: str, metric: str) -> str:
    """What is wrong with the figure of a gate; empty where the stage measures it.

    Args:
        stage: whose gate it is, as a key of `FIGURES`.
        metric: of the gate.
    """
    known, own = FIGURES[stage], OWN.get(stage)
    if metric in known or (own and own.fullmatch(metric)):
        return ""
    close = difflib.get_close_matches(metric, known, n=1)
    mend = f"did you mean '{close[0]}'?" if close else f"there are {', '.join(sorted(known))}"
    elsewhere = [other for other, figures in FIGURES.items() if metric in figures]
    if elsewhere:
        mend = f"it is one of gates.{elsewhere[0]}"
    return f"metric '{metric[:60]}' is no figure of {stage}, so its gate could never be judged; {mend}"
