"""Audit of lengths: how much of the data the configured token limits cut."""

import sys
from collections.abc import Sequence
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from flows.config.errors import InputError
from flows.config.ladder import LadderConfig
from flows.registry.references import DataRefs
from flows.storage.records import read_demonstrations, read_pairs, read_prompts
from rlhf_core.config.lengths import Lengths
from rlhf_core.config.reward_model import RewardModelConfig
from rlhf_core.config.sampling import SamplingConfig
from rlhf_core.data.tokenizer import encode, encode_prompts, load_tokenizer

SAMPLE = 2000

WHOLE = sys.maxsize


def truncated_shares(config: LadderConfig, data: DataRefs, base: Path) -> dict[str, float]:
    """Share of the training texts that the configured lengths cut; prompts lose their start, responses their end.

    A prompt and its response are cut apart from one another, so that no answer is dropped for a long prompt.

    Args:
        config: with the lengths.
        data: the tables; of each, the first rows of the training split are looked at, which are a random sample.
        base: folder with the tokenizer.

    Returns:
        Shares in [0, 1] by `data/<table>_<text>_truncated`.

    Raises:
        InputError: if the tokenizer cannot be used, or not for these texts.
    """
    try:
        return _shares(config, data, load_tokenizer(str(base)))
    except ValueError as error:
        raise InputError(f"field 'base': {error}") from None


def _shares(config: LadderConfig, data: DataRefs, tokenizer: PreTrainedTokenizerBase) -> dict[str, float]:
    pairs = read_pairs(data.preferences, "train")[:SAMPLE]
    spoken, compared = config.sft.sampling, config.reward_model
    answered: list[tuple[str, Sequence[tuple[str, str]], SamplingConfig | RewardModelConfig]] = [
        ("demonstrations", read_demonstrations(data.demonstrations, "train")[:SAMPLE], spoken),
        ("preferences", [(pair.prompt, text) for pair in pairs for text in (pair.chosen, pair.rejected)], compared),
    ]
    shares: dict[str, float] = {}
    for table, items, limits in answered:
        trees = encode(tokenizer, items, Lengths(WHOLE, WHOLE))
        prompts = [len(tree.prompt) > limits.max_prompt_tokens for tree in trees]
        responses = [len(tree.responses[0]) > limits.max_response_tokens for tree in trees]
        shares[f"data/{table}_prompt_truncated"] = sum(prompts) / len(prompts)
        shares[f"data/{table}_response_truncated"] = sum(responses) / len(responses)
    policy_prompts = encode_prompts(tokenizer, read_prompts(data.prompts, "train")[:SAMPLE], max_prompt_tokens=WHOLE)
    is_cut = [len(ids) > config.policy.sampling.max_prompt_tokens for ids in policy_prompts]
    return {**shares, "data/prompts_prompt_truncated": sum(is_cut) / len(is_cut)}
