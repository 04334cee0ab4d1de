"""Tests of the tests: each breaks one line of the mathematics and sees the test that must notice fail."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import pytest

from tests.conftest import ROOT


class Mutant(NamedTuple):
    """One change to the source of a module.

    Attributes:
        fault: what the change breaks.
        module: the module that is changed.
        old: its line or part of one, found exactly once.
        new: what stands there instead.
        test: the test that must fail: its file, which has a name of its own, and its function.
    """

    fault: str
    module: str
    old: str
    new: str
    test: str


OBJECTIVES = "rlhf_core.objectives"
MUTANTS = [
    Mutant(
        "a disagreement ends training by its value, without its interval",
        "rlhf_core.ppo.early_stopping",
        'disagreement["reward_disagreement_gain"].lower > limit',
        'disagreement["reward_disagreement_gain"].value > limit',
        "test_early_stopping.test_a_disagreement_that_may_be_chance_ends_nothing",
    ),
    Mutant(
        "a grade moves the margin the other way",
        "rlhf_core.reward_model.losses",
        "pair.margin + config.margin_scale * pair.grade",
        "pair.margin - config.margin_scale * pair.grade",
        "test_soft_labels.test_grades_become_margins_beside_those_that_there_are",
    ),
    Mutant(
        "a prompt with many pairs counts for as many",
        "rlhf_core.data.pair_weights",
        "pair.weight * mean / counts[pair.prompt]",
        "pair.weight",
        "test_soft_labels.test_every_prompt_has_the_same_weight_whatever_the_length_of_its_ranking",
    ),
    Mutant(
        "the subsets of a section count alike",
        "rlhf_core.metrics.reward_bench",
        "[counts[name] for name in names]",
        "[1 for name in names]",
        "test_metrics_reward_bench.test_sections_weigh_subsets_as_rewardbench_does",
    ),
    Mutant(
        "a tie is a win",
        "rlhf_core.metrics.reward_bench",
        "wins = deltas > 0.0",
        "wins = deltas >= 0.0",
        "test_metrics_reward_bench.test_a_tie_is_a_miss_and_single_prompts_have_the_interval_of_wilson",
    ),
    Mutant(
        "an adapter is taken off instead of merged",
        "rlhf_core.models.lora",
        "+ layer.get_delta_weight(adapter)",
        "- layer.get_delta_weight(adapter)",
        "test_lora.test_merging_adds_alpha_over_rank_times_b_a",
    ),
    Mutant(
        "an adapter has no scale",
        "rlhf_core.models.lora",
        "lora_alpha=config.alpha",
        "lora_alpha=config.rank",
        "test_lora.test_merging_adds_alpha_over_rank_times_b_a",
    ),
    Mutant(
        "the sign of the log-probabilities",
        "rlhf_core.models.vocabulary",
        "logs.gather(1, targets[part, None]).squeeze(1)",
        "-logs.gather(1, targets[part, None]).squeeze(1)",
        "test_vocabulary.test_log_probabilities_and_entropies_against_numpy",
    ),
    Mutant(
        "the sign of the entropy",
        "rlhf_core.models.vocabulary",
        "-torch.linalg.vecdot(logs.exp(), logs)",
        "torch.linalg.vecdot(logs.exp(), logs)",
        "test_vocabulary.test_log_probabilities_and_entropies_against_numpy",
    ),
    Mutant(
        "the temperature multiplies the logits",
        "rlhf_core.models.vocabulary",
        "logits.div_(temperature).log",
        "logits.mul_(temperature).log",
        "test_vocabulary.test_log_probabilities_and_entropies_against_numpy",
    ),
    Mutant(
        "log-probabilities know no cap",
        "rlhf_core.models.vocabulary",
        "soft_cap(_logits(states[part].to(dtype), matrix, bias), cap)",
        "_logits(states[part].to(dtype), matrix, bias)",
        "test_vocabulary.test_capped_log_probabilities_and_entropies_against_numpy",
    ),
    Mutant(
        "the slope of a cap is not squared",
        "rlhf_core.models.soft_capping",
        "1.0 - (capped / cap).square()",
        "1.0 - (capped / cap)",
        "test_soft_capping.test_the_slope_is_that_of_finite_differences",
    ),
    Mutant(
        "a late query sees as little as the first",
        "rlhf_core.models.soft_capping",
        ".tril(n_keys - n_queries)",
        ".tril()",
        "test_soft_capping.test_the_last_query_stands_at_the_last_key",
    ),
    Mutant(
        "a response sees its siblings",
        "rlhf_core.data.packing",
        "(branches[None, :] == branches[:, None])",
        "(branches[None, :] <= branches[:, None])",
        "test_batching.test_a_response_sees_its_prompt_and_itself",
    ),
    Mutant(
        "on an accelerator a response sees its siblings",
        "rlhf_core.data.packing",
        "*range(start, fork), *range(end, end + tokens)",
        "*range(start, end + tokens)",
        "test_flash_attention.test_a_row_is_cut_into_sequences_whose_last_tokens_ask",
    ),
    Mutant(
        "a token is predicted from itself",
        "rlhf_core.data.packing",
        "before += [fork, *range(len(ids), len(ids) + len(response) - 1)]",
        "before += range(len(ids), len(ids) + len(response))",
        "test_batching.test_a_row_has_the_trees_end_to_end",
    ),
    Mutant(
        "padding counts in the mean",
        OBJECTIVES,
        ".sum() / mask.sum()",
        ".mean()",
        "test_objectives.test_masked_mean_counts_real_entries_only",
    ),
    Mutant(
        "chosen and rejected are swapped",
        OBJECTIVES,
        "gaps = chosen - rejected - margin",
        "gaps = rejected - chosen - margin",
        "test_objectives.test_bradley_terry_is_the_mean_log_likelihood_of_the_preferences",
    ),
    Mutant(
        "the sign of the Bradley-Terry loss",
        OBJECTIVES,
        "losses = -F.logsigmoid(gaps)",
        "losses = F.logsigmoid(gaps)",
        "test_objectives.test_equal_rewards_cost_ln_2",
    ),
    Mutant(
        "the margin is added",
        OBJECTIVES,
        "gaps = chosen - rejected - margin",
        "gaps = chosen - rejected + margin",
        "test_objectives.test_a_margin_is_taken_off_the_difference",
    ),
    Mutant(
        "the Bradley-Terry loss is summed",
        OBJECTIVES,
        "(losses * weight).mean()",
        "(losses * weight).sum()",
        "test_objectives.test_the_gradient_of_a_pair_is_the_probability_of_getting_it_wrong",
    ),
    Mutant(
        "weights are forgotten",
        OBJECTIVES,
        "(losses * weight).mean()",
        "losses.mean()",
        "test_objectives.test_a_weight_of_3_counts_a_pair_three_times",
    ),
    Mutant(
        "the reference is forgotten",
        OBJECTIVES,
        "chosen_rewards, rejected_rewards = beta * (chosen - ref_chosen), beta * (rejected - ref_rejected)",
        "chosen_rewards, rejected_rewards = beta * chosen, beta * rejected",
        "test_objectives.test_a_policy_that_equals_its_reference_costs_ln_2",
    ),
    Mutant(
        "DPO prefers the rejected",
        OBJECTIVES,
        "gap = chosen_rewards - rejected_rewards - margin",
        "gap = rejected_rewards - chosen_rewards - margin",
        "test_objectives.test_dpo_pulls_the_chosen_up_and_the_rejected_down_by_the_chance_of_being_wrong",
    ),
    Mutant(
        "DPO knows no beta",
        OBJECTIVES,
        "beta * (chosen - ref_chosen), beta * (rejected - ref_rejected)",
        "(chosen - ref_chosen), (rejected - ref_rejected)",
        "test_objectives.test_dpo_by_hand",
    ),
    Mutant(
        "DPO forgets the margin",
        OBJECTIVES,
        "gap = chosen_rewards - rejected_rewards - margin",
        "gap = chosen_rewards - rejected_rewards",
        "test_objectives.test_dpo_is_bradley_terry_on_implicit_rewards",
    ),
    Mutant(
        "smoothing sharpens",
        OBJECTIVES,
        "- label_smoothing * F.logsigmoid(-gap)",
        "+ label_smoothing * F.logsigmoid(-gap)",
        "test_objectives.test_smoothing_stops_the_gap_where_labels_are_as_often_right_as_claimed",
    ),
    Mutant(
        "IPO sums over tokens",
        OBJECTIVES,
        "(chosen - ref_chosen) / chosen_tokens",
        "(chosen - ref_chosen)",
        "test_objectives.test_ipo_is_0_where_the_gap_of_averaged_log_ratios_is_its_target",
    ),
    Mutant(
        "IPO has twice its target",
        OBJECTIVES,
        "1.0 / (2.0 * beta)",
        "1.0 / beta",
        "test_objectives.test_an_ipo_gap_beyond_its_target_is_pulled_back",
    ),
    Mutant(
        "pairs take the responses of the first prompt",
        "rlhf_core.data.pair_trees",
        "start += len(item.tree.responses)",
        "start = 0",
        "test_pair_trees.test_sides_are_counted_over_the_responses_of_all_trees",
    ),
    Mutant(
        "a response counts by its mean token",
        "rlhf_core.dpo",
        "torch.stack([tokens.sum() for",
        "torch.stack([tokens.mean() for",
        "test_dpo.test_losses_with_smoothing_and_margins_equal_two_padded_passes",
    ),
    Mutant(
        "IPO is DPO",
        "rlhf_core.dpo",
        "losses, won, lost = ipo_loss(*views, tokens[chosen], tokens[rejected], beta=config.beta)",
        "losses, won, lost = dpo_loss(*views, beta=config.beta)",
        "test_dpo.test_ipo_losses_equal_two_padded_passes",
    ),
    Mutant(
        "what was kept holds for any temperature",
        "rlhf_core.dpo",
        "content_key(trees, config.optimiser.precision, config.sampling.temperature)",
        "content_key(trees, config.optimiser.precision)",
        "test_dpo.test_what_is_kept_holds_for_one_temperature_only",
    ),
    Mutant(
        "what was kept holds for any responses",
        "rlhf_core.dpo",
        "content_key(trees, config.optimiser.precision, config.sampling.temperature)",
        "content_key([tree.prompt for tree in trees], config.optimiser.precision, config.sampling.temperature)",
        "test_dpo.test_what_is_kept_holds_for_its_responses_only",
    ),
    Mutant(
        "damage goes unseen",
        "rlhf_core.data.array_cache",
        "hashlib.sha256(body).digest() != checksum",
        "len(checksum) != CHECKSUM_BYTES",
        "test_array_cache.test_a_flipped_bit_is_noticed",
    ),
    Mutant(
        "the KL penalty rewards drift",
        OBJECTIVES,
        "-beta * kl_per_token",
        "beta * kl_per_token",
        "test_objectives.test_rewards_by_hand",
    ),
    Mutant(
        "beta is dropped",
        OBJECTIVES,
        "-beta * kl_per_token",
        "-kl_per_token",
        "test_objectives.test_rewards_by_hand",
    ),
    Mutant(
        "the score comes one token late",
        OBJECTIVES,
        "last = mask.sum(dim=1, keepdim=True) - 1",
        "last = mask.sum(dim=1, keepdim=True).clamp(max=mask.shape[1] - 1)",
        "test_objectives.test_rewards_by_hand",
    ),
    Mutant(
        "padding pays the KL penalty",
        OBJECTIVES,
        'kl_per_token(logprobs, ref_logprobs, mask, estimator="k1")',
        'kl_per_token(logprobs, ref_logprobs, torch.ones_like(mask), estimator="k1")',
        "test_objectives.test_rewards_of_a_response_add_up_to_its_score_less_beta_times_kl",
    ),
    Mutant(
        "the next value is not discounted",
        OBJECTIVES,
        "gamma * following",
        "following",
        "test_objectives.test_advantages_by_hand",
    ),
    Mutant(
        "lambda is dropped",
        OBJECTIVES,
        "gamma * lam * carried",
        "gamma * carried",
        "test_objectives.test_advantages_by_hand",
    ),
    Mutant(
        "advantages run forwards",
        OBJECTIVES,
        "in reversed(range(values.shape[1]))",
        "in range(values.shape[1])",
        "test_objectives.test_advantages_by_hand",
    ),
    Mutant(
        "the value after the end is not 0",
        OBJECTIVES,
        "values = torch.where(mask, values, 0.0)",
        "values = values.clone()",
        "test_objectives.test_without_discount_returns_are_the_sums_of_the_rewards_to_come",
    ),
    Mutant(
        "returns are the advantages",
        OBJECTIVES,
        "return advantages, advantages + values",
        "return advantages, advantages",
        "test_objectives.test_advantages_by_hand",
    ),
    Mutant(
        "whitening does not shift",
        OBJECTIVES,
        "centred = values - masked_mean(values, mask)",
        "centred = values",
        "test_objectives.test_whitening_gives_mean_0_and_variance_1_over_real_entries",
    ),
    Mutant(
        "whitening divides by the variance",
        OBJECTIVES,
        "torch.rsqrt(variance + 1e-8)",
        "torch.reciprocal(variance + 1e-8)",
        "test_objectives.test_whitening_gives_mean_0_and_variance_1_over_real_entries",
    ),
    Mutant(
        "the ratio is upside down",
        OBJECTIVES,
        "torch.where(mask, logprobs - old_logprobs, 0.0)",
        "torch.where(mask, old_logprobs - logprobs, 0.0)",
        "test_objectives.test_the_policy_loss_clips_by_hand",
    ),
    Mutant(
        "the policy loss takes the better of plain and clipped",
        OBJECTIVES,
        "torch.maximum(plain, clipped)",
        "torch.minimum(plain, clipped)",
        "test_objectives.test_the_policy_loss_clips_by_hand",
    ),
    Mutant(
        "the surrogate is minimised",
        OBJECTIVES,
        "plain = -advantages * ratio",
        "plain = advantages * ratio",
        "test_objectives.test_an_unchanged_policy_loses_the_mean_advantage",
    ),
    Mutant(
        "only likelier tokens are clipped",
        OBJECTIVES,
        "ratio.clamp(1.0 - cliprange, 1.0 + cliprange)",
        "ratio.clamp(max=1.0 + cliprange)",
        "test_objectives.test_the_policy_loss_clips_by_hand",
    ),
    Mutant(
        "clipfrac counts the unclipped",
        OBJECTIVES,
        "(clipped > plain)",
        "(clipped <= plain)",
        "test_objectives.test_the_policy_loss_clips_by_hand",
    ),
    Mutant(
        "the value loss takes the better of plain and clipped",
        OBJECTIVES,
        "torch.maximum((values - returns)",
        "torch.minimum((values - returns)",
        "test_objectives.test_the_value_loss_takes_the_worse_of_plain_and_clipped",
    ),
    Mutant(
        "values are clipped around the returns",
        OBJECTIVES,
        "clipped = old_values + (values - old_values)",
        "clipped = returns + (values - returns)",
        "test_objectives.test_the_value_loss_takes_the_worse_of_plain_and_clipped",
    ),
    Mutant(
        "the half of the value loss is dropped",
        OBJECTIVES,
        "return 0.5 * masked_mean(worse, mask)",
        "return masked_mean(worse, mask)",
        "test_objectives.test_an_unclipped_value_loss_is_half_the_squared_error",
    ),
    Mutant(
        "k1 is the divergence the other way round",
        OBJECTIVES,
        "return -log_ratio if",
        "return log_ratio if",
        "test_objectives.test_kl_estimators_average_to_the_exact_divergence",
    ),
    Mutant(
        "k1 is a mean over tokens",
        OBJECTIVES,
        'estimator="k1").sum(dim=1)',
        'estimator="k1").mean(dim=1)',
        "test_objectives.test_kl_of_a_response_by_hand",
    ),
    Mutant(
        "k3 has the ratio upside down",
        OBJECTIVES,
        "torch.where(mask, other_logprobs - logprobs, 0.0)",
        "torch.where(mask, logprobs - other_logprobs, 0.0)",
        "test_objectives.test_kl_of_a_response_by_hand",
    ),
    Mutant(
        "k3 loses its linear part",
        OBJECTIVES,
        "torch.expm1(log_ratio) - log_ratio",
        "torch.expm1(log_ratio)",
        "test_objectives.test_kl_of_a_response_by_hand",
    ),
    Mutant(
        "k3 cancels in single precision",
        OBJECTIVES,
        "torch.expm1(log_ratio)",
        "torch.exp(log_ratio) - 1",
        "test_objectives.test_k3_keeps_precision_where_policies_are_close",
    ),
    Mutant(
        "explained variance compares spreads, not errors",
        OBJECTIVES,
        "errors = (returns - values)[mask]",
        "errors = values[mask]",
        "test_objectives.test_explained_variance_against_numpy",
    ),
    Mutant(
        "above looks at the value",
        "rlhf_core.gates.gate",
        '("lower", estimate.lower)',
        '("lower", estimate.value)',
        "test_gates.test_above_passes_by_its_lower_bound_and_not_by_its_value",
    ),
    Mutant(
        "below looks at the lower bound",
        "rlhf_core.gates.gate",
        '("upper", estimate.upper)',
        '("upper", estimate.lower)',
        "test_gates.test_below_passes_by_its_upper_bound_and_not_by_its_value",
    ),
    Mutant(
        "the threshold itself passes",
        "rlhf_core.gates.gate",
        "passed = bound > gate.threshold",
        "passed = bound >= gate.threshold",
        "test_gates.test_a_bound_on_the_threshold_fails",
    ),
    Mutant(
        "what is not measured passes",
        "rlhf_core.gates.gate",
        'return gate.when_missing, f"was',
        'return "pass", f"was',
        "test_gates.test_a_figure_that_was_not_measured_abstains",
    ),
    Mutant(
        "few samples are enough",
        "rlhf_core.gates.gate",
        "if estimate.n < gate.min_samples:",
        "if estimate.n < 1:",
        "test_gates.test_too_few_samples_abstain_however_good_the_figure",
    ),
    Mutant(
        "abstentions never block",
        "rlhf_core.gates.gate",
        'blocking = {"fail", "abstain"} if abstain_blocks else {"fail"}',
        'blocking = {"fail"}',
        "test_gates.test_failures_block_and_so_do_abstentions_unless_allowed",
    ),
    Mutant(
        "clusters are ignored",
        "rlhf_core.metrics.estimates",
        "_, members = np.unique(np.asarray(clusters), return_inverse=True)",
        "members = np.arange(count)",
        "test_estimates.test_copies_of_an_observation_add_no_certainty",
    ),
    Mutant(
        "the interval holds 50 %",
        "rlhf_core.metrics.estimates",
        "[0.025, 0.975]",
        "[0.25, 0.75]",
        "test_estimates.test_clusters_of_one_are_an_ordinary_bootstrap",
    ),
    Mutant(
        "pairs are torn apart",
        "rlhf_core.metrics.estimates",
        "paired=True",
        "paired=False",
        "test_estimates.test_paired_samples_are_resampled_together",
    ),
    Mutant(
        "the temperature multiplies",
        "rlhf_core.metrics.calibration",
        "losses(margins / np.exp(log))",
        "losses(margins * np.exp(log))",
        "test_reward_model_metrics.test_no_other_temperature_explains_the_preferences_better",
    ),
    Mutant(
        "the likelihood of the rejected",
        "rlhf_core.metrics.calibration",
        "return np.logaddexp(0.0, -deltas)",
        "return np.logaddexp(0.0, deltas)",
        "test_reward_model_metrics.test_losses_are_negative_log_likelihoods_and_never_overflow",
    ),
    Mutant(
        "ties are hits",
        "rlhf_core.metrics.calibration",
        "return (np.sign(deltas) + 1.0) / 2.0",
        "return (deltas >= 0.0).astype(np.float64)",
        "test_reward_model_metrics.test_a_tie_is_half_a_hit",
    ),
    Mutant(
        "the band forgets negative margins",
        "rlhf_core.metrics.calibration",
        "((sizes >= BAND[0]) & (sizes <= BAND[1]))",
        "((deltas >= BAND[0]) & (deltas <= BAND[1]))",
        "test_reward_model_metrics.test_the_band_holds_its_ends",
    ),
    Mutant(
        "overconfidence has the other sign",
        "rlhf_core.metrics.calibration",
        "clustered(weighted_mean, clusters, expit(np.abs(deltas)) - hits(deltas))",
        "clustered(weighted_mean, clusters, hits(deltas) - expit(np.abs(deltas)))",
        "test_reward_model_metrics.test_overconfidence_is_what_is_claimed_less_what_is_true",
    ),
    Mutant(
        "gaps of different bins cancel",
        "rlhf_core.metrics.calibration",
        "np.abs(np.bincount(bins, weights * gaps, minlength=BINS)).sum()",
        "abs(np.bincount(bins, weights * gaps, minlength=BINS).sum())",
        "test_reward_model_metrics.test_calibration_error_against_a_plain_count",
    ),
    Mutant(
        "the calibration error keeps its bias",
        "rlhf_core.metrics.calibration",
        "upper=max(2.0 * estimate.value - estimate.lower, estimate.value)",
        "upper=estimate.upper",
        "test_reward_model_metrics.test_1000_pairs_tell_a_calibrated_model_from_one_that_is_6_points_off",
    ),
    Mutant(
        "the median is the lower quartile",
        "rlhf_core.metrics.calibration",
        "below[-1] / 2)",
        "below[-1] / 4)",
        "test_reward_model_metrics.test_the_median_margin_ignores_signs",
    ),
    Mutant(
        "the expected median is the spread",
        "rlhf_core.metrics.calibration",
        "float(norm.ppf(0.75) * np.interp(",
        "float(np.interp(",
        "test_reward_model_metrics.test_the_ratio_of_medians_of_a_calibrated_model_is_1",
    ),
    Mutant(
        "the longest answer is the shortest",
        "rlhf_core.metrics.agreement",
        "len(pair.chosen.split()) - len(pair.rejected.split())",
        "len(pair.rejected.split()) - len(pair.chosen.split())",
        "test_reward_model_metrics.test_floors_of_length_by_hand",
    ),
    Mutant(
        "the bag of words learns the rejected",
        "rlhf_core.metrics.agreement",
        "turned > 0)",
        "turned < 0)",
        "test_reward_model_metrics.test_a_bag_of_words_learns_a_telling_word",
    ),
    Mutant(
        "weights go to the larger side",
        "rlhf_core.data.pair_weights",
        "len(stratum) / (2 * len(side))",
        "(2 * len(side)) / len(stratum)",
        "test_pair_weights.test_weights_by_hand",
    ),
    Mutant(
        "odds are turned round",
        "rlhf_core.metrics.surface_features",
        "(counts @ more + 0.5) / (counts @ fewer + 0.5)",
        "(counts @ fewer + 0.5) / (counts @ more + 0.5)",
        "test_surface_features.test_the_odds_ratio_of_one_feature_is_the_ratio_of_counts",
    ),
    Mutant(
        "agreement by chance is forgotten",
        "rlhf_core.metrics.annotator_agreement",
        "1 - (n - same) / (n - by_chance)",
        "1 - (n - same) / n",
        "test_annotator_agreement.test_alpha_of_two_observers_by_hand",
    ),
    Mutant(
        "the floor is the worst one",
        "rlhf_core.metrics.reward_model",
        "best = max(",
        "best = min(",
        "test_reward_model_metrics.test_agreement_above_the_floor_is_paired_against_the_best_floor",
    ),
    Mutant(
        "calibrated margins are judged as trained",
        "rlhf_core.metrics.reward_model",
        "abs_delta_ratio(margins, clusters)",
        "abs_delta_ratio(calibrated, clusters)",
        "test_reward_model_metrics.test_the_temperature_changes_calibrated_figures_only",
    ),
    Mutant(
        "the share takes the better ends",
        "rlhf_core.metrics.reward_model",
        "agreement.lower / ceiling.upper, agreement.upper / ceiling.lower",
        "agreement.lower / ceiling.lower, agreement.upper / ceiling.upper",
        "test_reward_model_metrics.test_the_share_of_the_ceiling_is_there_where_the_ceiling_is_known",
    ),
    Mutant(
        "any words of the prompt count",
        "rlhf_core.metrics.drift",
        "not _ngrams(prompt, COPIED_WORDS).isdisjoint",
        "_ngrams(prompt, COPIED_WORDS).isdisjoint",
        "test_policy_metrics.test_an_answer_is_compared_with_its_own_prompt_only",
    ),
    Mutant(
        "lengths are compared the other way round",
        "rlhf_core.metrics.drift",
        "first.mean(axis=axis) / second.mean(axis=axis)",
        "second.mean(axis=axis) / first.mean(axis=axis)",
        "test_policy_metrics.test_the_ratio_of_lengths_is_that_of_the_means",
    ),
    Mutant(
        "unique answers are duplicates",
        "rlhf_core.metrics.drift",
        "return 1.0 - len(set(texts)) / len(texts)",
        "return len(set(texts)) / len(texts)",
        "test_policy_metrics.test_duplicates_by_hand",
    ),
    Mutant(
        "best-of-n is free",
        "rlhf_core.metrics.best_of_n",
        "math.log(n) - (n - 1) / n",
        "math.log(n) - (n - 1)",
        "test_best_of_n.test_two_nats_pay_for_nineteen_answers",
    ),
    Mutant(
        "the judge chooses the best of n",
        "rlhf_core.metrics.best_of_n",
        "best_judge = best_of(n, reward, judge)",
        "best_judge = best_of(n, judge, judge)",
        "test_best_of_n.test_a_policy_is_held_against_the_best_at_its_own_kl",
    ),
    Mutant(
        "ties are lost",
        "rlhf_core.metrics.win_rate",
        "mean((np.sign(_gains(rewards, reference_rewards)) + 1.0) / 2.0)",
        "mean(_gains(rewards, reference_rewards) > 0.0)",
        "test_policy_metrics.test_ties_are_half_a_win",
    ),
    Mutant(
        "the reference is preferred",
        "rlhf_core.metrics.win_rate",
        "np.asarray(rewards, dtype=np.float64) - np.asarray(reference_rewards, dtype=np.float64)",
        "np.asarray(reference_rewards, dtype=np.float64) - np.asarray(rewards, dtype=np.float64)",
        "test_policy_metrics.test_a_gain_is_paired_so_that_hard_prompts_do_not_blur_it",
    ),
    Mutant(
        "the judge is the reward model",
        "rlhf_core.metrics.policy",
        "paired_gain(policy.judge, sft.judge)",
        "paired_gain(policy.reward, sft.reward)",
        "test_policy_metrics.test_reward_and_judge_are_not_mixed_up",
    ),
    Mutant(
        "smoothing of Bradley-Terry sharpens",
        OBJECTIVES,
        "-F.logsigmoid(gaps) + label_smoothing * gaps",
        "-F.logsigmoid(gaps) - label_smoothing * gaps",
        "test_objectives.test_smoothing_of_bradley_terry_weighs_both_labels_by_their_probability",
    ),
    Mutant(
        "the worst case is the best",
        "rlhf_core.models.ensembles",
        "members.amin(dim=1)",
        "members.amax(dim=1)",
        "test_ensembles.test_one_score_of_three_members_by_hand",
    ),
    Mutant(
        "uncertainty is rewarded",
        "rlhf_core.models.ensembles",
        "scores - self.uncertainty_lambda",
        "scores + self.uncertainty_lambda",
        "test_ensembles.test_one_score_of_three_members_by_hand",
    ),
    Mutant(
        "the variance is over all members but one",
        "rlhf_core.models.ensembles",
        "members.var(dim=1, correction=0)",
        "members.var(dim=1, correction=1)",
        "test_ensembles.test_one_score_of_three_members_by_hand",
    ),
    Mutant(
        "the centre is forgotten",
        "rlhf_core.models.ensembles",
        "return scores - self.centre",
        "return scores",
        "test_ensembles.test_one_score_of_three_members_by_hand",
    ),
    Mutant(
        "disagreement is the variance",
        "rlhf_core.models.ensembles",
        "members.std(dim=1, correction=0)",
        "members.var(dim=1, correction=0)",
        "test_ensembles.test_disagreement_is_the_standard_deviation_over_members_and_unknown_of_one",
    ),
    Mutant(
        "the score shall follow length",
        "rlhf_core.reward_model.length_debiasing",
        "pearson(quality, lengths).abs().mean() - pearson(length, lengths).mean()",
        "-pearson(quality, lengths).abs().mean() - pearson(length, lengths).mean()",
        "test_length_debiasing.test_the_length_loss_is_least_where_one_head_is_length_and_the_other_knows_nothing_of_it",
    ),
    Mutant(
        "lengths are not centred",
        "rlhf_core.reward_model.length_debiasing",
        "lengths = lengths - lengths.mean()",
        "lengths = lengths * 1.0",
        "test_length_debiasing.test_the_correlation_of_each_column_is_that_of_scipy",
    ),
    Mutant(
        "heads that shrink count as turned apart",
        "rlhf_core.reward_model.length_debiasing",
        "F.cosine_similarity(quality, length, dim=1)",
        "(quality @ length.T)",
        "test_length_debiasing.test_the_cosine_of_heads_knows_no_norm",
    ),
    Mutant(
        "any pair is of like length",
        "rlhf_core.metrics.length_bias",
        ">= LENGTH_BAND * np.maximum(chosen, rejected)",
        ">= 0.0 * np.maximum(chosen, rejected)",
        "test_length_bias.test_slices_by_hand",
    ),
    Mutant(
        "a member correlates with itself",
        "rlhf_core.metrics.ensemble",
        "np.triu_indices(len(correlations), 1)",
        "np.triu_indices(len(correlations), 0)",
        "test_length_bias.test_member_correlation_is_the_mean_of_the_correlation_matrix_above_its_diagonal",
    ),
    Mutant(
        "a term's gain is the other way round",
        "rlhf_core.metrics.policy",
        "paired_gain(values, sft.terms[name])",
        "paired_gain(sft.terms[name], values)",
        "test_policy_metrics.test_each_term_is_told_with_its_gain_over_sft",
    ),
    Mutant(
        "moments forget the distance between rollouts",
        "rlhf_core.rewards.moments",
        "gap**2 * self.n * batch.size / n",
        "0.0",
        "test_reward.test_running_moments_are_those_of_the_whole_history",
    ),
    Mutant(
        "a term is clipped before it is whitened",
        "rlhf_core.rewards.reward",
        "_clip(self._whitened(name, values.double()), weighing.clip)",
        "self._whitened(name, _clip(values.double(), weighing.clip))",
        "test_reward.test_terms_and_sum_are_whitened_by_all_rollouts_so_far_and_then_clipped",
    ),
    Mutant(
        "the sum is whitened by the present rollout only",
        "rlhf_core.rewards.reward",
        "self._moments[name].with_values(batch)",
        "Moments().with_values(batch)",
        "test_reward.test_terms_and_sum_are_whitened_by_all_rollouts_so_far_and_then_clipped",
    ),
    Mutant(
        "weights are ignored",
        "rlhf_core.rewards.reward",
        "weighing.weight * _clip",
        "1.0 * _clip",
        "test_reward.test_a_weighted_sum_by_hand",
    ),
    Mutant(
        "a state starts anew",
        "rlhf_core.rewards.reward",
        "Moments.from_numbers(numbers) for name, numbers",
        "Moments() for name, numbers",
        "test_reward.test_what_was_written_down_goes_on_as_if_nothing_had_been",
    ),
    Mutant(
        "beta falls where the KL is too large",
        "rlhf_core.ppo.kl_controller",
        "kl_nats / control.target_nats - 1.0",
        "1.0 - kl_nats / control.target_nats",
        "test_kl_controller.test_a_loop_of_a_policy_that_answers_to_beta_settles_at_the_target",
    ),
    Mutant(
        "the peak is where the gain is 0",
        "rlhf_core.metrics.over_optimisation",
        "np.where(turns, beta, 1.0) - 1.0",
        "np.where(turns, beta, 1.0)",
        "test_over_optimisation.test_the_share_lost_is_that_of_the_best_gain_on_the_way",
    ),
    Mutant(
        "all evaluations weigh the same",
        "rlhf_core.metrics.over_optimisation",
        "count / np.where(away, gain.var(axis=1), 1.0)",
        "1.0",
        "test_over_optimisation.test_the_fit_is_the_weighted_one_of_scipy_and_its_intervals_hold_the_truth",
    ),
    Mutant(
        "a difference takes the near end of what is subtracted",
        "rlhf_core.metrics.estimates",
        "second.upper - second.value",
        "second.value - second.lower",
        "test_estimates.test_the_interval_of_a_difference_takes_the_far_ends_of_both",
    ),
    Mutant(
        "demonstrations beside chosen answers",
        "rlhf_core.metrics.reward_model",
        "pairs.scores[pairs.rejected]",
        "pairs.scores[pairs.chosen]",
        "test_reward_model_metrics."
        "test_demonstrations_stand_above_rejected_answers_by_the_difference_of_their_means_in_calibrated_logits",
    ),
    Mutant(
        "the variance of the jackknife is that of the samples left out",
        "rlhf_core.metrics.estimates",
        "(len(values) - 1) * np.var(values)",
        "np.var(values)",
        "test_diversity.test_the_jackknife_of_a_mean_is_its_normal_interval",
    ),
    Mutant(
        "what other texts have too is lost with one",
        "rlhf_core.metrics.diversity",
        "total[gram] == count",
        "total[gram] >= count",
        "test_diversity.test_beside_a_reference_the_same_texts_are_left_out",
    ),
    Mutant(
        "the state beyond the budget is the result",
        "rlhf_core.ppo.early_stopping",
        "history.steps[-2] if history.stop",
        "history.steps[-1] if history.stop",
        "test_early_stopping.test_kl_beyond_the_budget_ends_training_at_the_state_inside",
    ),
    Mutant(
        "a judge that turned leaves the last state before",
        "rlhf_core.ppo.early_stopping",
        "return history.steps[self._best()]",
        "return history.steps[0]",
        "test_early_stopping.test_a_judge_that_turns_while_the_proxy_rises_ends_training_at_its_best",
    ),
    Mutant(
        "a tie counts whole in the area under the curve",
        "rlhf_core.metrics.prompt_quality",
        "negatives / 2",
        "negatives",
        "test_prompt_quality.test_the_same_prompts_on_both_sides_are_at_chance_exactly",
    ),
    Mutant(
        "copies of a prompt lie in several folds",
        "rlhf_core.metrics.prompt_quality",
        '[" ".join(text.lower().split()) for text in texts]',
        "list(range(len(texts)))",
        "test_prompt_quality.test_copies_of_a_prompt_do_not_help_to_recognise_it",
    ),
    Mutant(
        "a prompt is its own nearest one",
        "rlhf_core.metrics.prompt_quality",
        "distances[:, 1]",
        "distances[:, 0]",
        "test_prompt_quality.test_the_share_is_of_prompts_not_of_pairs_of_them_whatever_their_order",
    ),
    Mutant(
        "a distance that a run has left again counts as not reached",
        "benchmarks.quality.mitigations.curves",
        "furthest = np.maximum.accumulate(d)",
        "furthest = d",
        "test_mitigations.test_what_counts_is_where_a_run_first_passes_a_kl",
    ),
    Mutant(
        "the share of the peak is one of gold, not of its gain",
        "benchmarks.quality.mitigations.curves",
        'float(result["gold"]) - start',
        'float(result["gold"])',
        "test_mitigations.test_the_share_is_of_the_gain_and_not_of_the_gold",
    ),
    Mutant(
        "a labelling judge prefers the worse",
        "rlhf_core.annotation",
        "preferred = expit(np",
        "preferred = expit(-np",
        "test_annotation.test_a_judge_shares_its_votes_out_by_the_sigmoid_of_the_gap",
    ),
    Mutant(
        "a soft label pulls both ways alike",
        "rlhf_core.data.pair_weights",
        "pair.weight * (1.0 - pair.share)",
        "pair.weight * pair.share",
        "test_annotation.test_soft_labels_keep_the_weight_of_a_pair_beside_others_and_leave_unanimous_ones_alone",
    ),
    Mutant(
        "the gain of a refresh is turned round",
        "rlhf_core.metrics.refresh",
        "hits(refreshed) - hits(last)",
        "hits(last) - hits(refreshed)",
        "test_annotation.test_a_gain_is_the_paired_difference_of_both_agreements",
    ),
]


@pytest.mark.parametrize("mutant", MUTANTS, ids=[mutant.fault.replace(" ", "-") for mutant in MUTANTS])
def test_a_fault_is_noticed(mutant: Mutant, monkeypatch: pytest.MonkeyPatch) -> None:
    tests, name = mutant.test.split(".")
    getattr(load_tests(tests), name)()  # passes as long as nothing is broken
    monkeypatch.setitem(sys.modules, mutant.module, mutate(mutant))
    broken = getattr(load_tests(tests), name)
    with pytest.raises(AssertionError):
        broken()


def mutate(mutant: Mutant) -> ModuleType:
    path = ROOT / Path(*mutant.module.split(".")).with_suffix(".py")
    source = path.read_text(encoding="utf-8")
    assert source.count(mutant.old) == 1, f"{mutant.old!r} is there {source.count(mutant.old)} times: renew the mutant"
    module = ModuleType(mutant.module)
    exec(compile(source.replace(mutant.old, mutant.new), f"{path}, broken", "exec"), module.__dict__)
    return module


def load_tests(name: str) -> ModuleType:
    """The file of tests, afresh: its imports find what stands in `sys.modules` now."""
    (path,) = (ROOT / "tests").rglob(f"{name}.py")
    spec = importlib.util.spec_from_file_location(f"{name}_again", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
