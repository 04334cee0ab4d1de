"""Loading, scoring and keeping models, on small models with random weights."""

import errno
import resource
import shutil
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    GraniteConfig,
    GraniteForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from rlhf_core.data.packing import lay
from rlhf_core.data.tokenizer import Tree
from rlhf_core.models.attention import ragged_states
from rlhf_core.models.forward import last_states, response_logprobs, response_scores, response_values
from rlhf_core.models.heads import TEMPERATURE, temperature
from rlhf_core.models.loading import digest, load_policy, load_reward_model, save
from rlhf_core.models.precision import device

TREES = [Tree([3, 5, 6, 7, 4], [[8, 9, 2]]), Tree([3, 5, 4], [[8], [9, 2]]), Tree([3], [[7, 4]])]


def alone(model: PreTrainedModel) -> list[Tensor]:
    """Final states of each response with its prompt, by itself."""
    whole = [(tree.prompt, response) for tree in TREES for response in tree.responses]
    return [ragged_states(model, lay([Tree(prompt, [response])], device())) for prompt, response in whole]


def test_scores_do_not_depend_on_what_else_is_scored(base: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    model = load_reward_model(base, tokenizer)
    together = response_scores(model, lay(TREES, device()))
    expected = torch.stack([model.score(states[-1]) for states in alone(model)])
    torch.testing.assert_close(together, expected, rtol=0, atol=1e-5)
    assert expected.std() > 0.05  # the scores differ, or the comparison would show nothing


def test_values_are_those_before_each_token(base: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    model = load_reward_model(base, tokenizer)
    lengths = [len(response) for tree in TREES for response in tree.responses]
    expected = [
        model.score(states[-length - 1 : -1]).squeeze(-1) for states, length in zip(alone(model), lengths, strict=True)
    ]
    torch.testing.assert_close(response_values(model, lay(TREES, device())), torch.cat(expected), rtol=0, atol=1e-5)


def test_a_full_disk_is_an_error_of_the_system(base: Path, tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    model, limits = load_reward_model(base, tokenizer), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 12, limits[1]))  # of any file of this process
    try:
        with pytest.raises(OSError, match="File too large") as told:
            save(model, tokenizer, tmp_path / "reward")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (told.value.errno, told.value.filename) == (errno.EFBIG, str(tmp_path / "reward"))


def test_plain_transformers_gives_the_same_scores(
    base: Path, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    model = load_reward_model(base, tokenizer)
    save(model, tokenizer, tmp_path / "reward")
    stock = AutoModelForSequenceClassification.from_pretrained(tmp_path / "reward").eval()
    whole = [tree.prompt + response for tree in TREES for response in tree.responses]
    expected = torch.cat([stock(input_ids=torch.tensor([ids])).logits for ids in whole])
    torch.testing.assert_close(response_scores(model, lay(TREES, device())).cpu(), expected, rtol=0, atol=1e-5)


def test_a_new_head_is_drawn_narrow_and_a_saved_one_is_kept(
    base: Path, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    heads = torch.stack([load_reward_model(base, tokenizer).score.weight.detach() for _ in range(40)])
    assert heads.shape == (40, 1, 16)
    assert heads.mean().abs() < 3 * 17**-0.5 / 640**0.5
    assert heads.std() == pytest.approx(17**-0.5, rel=0.1)  # 1 / sqrt(d + 1)
    model = load_reward_model(base, tokenizer)
    save(model, tokenizer, tmp_path / "reward")
    again = load_reward_model(tmp_path / "reward", tokenizer)
    torch.testing.assert_close(again.score.weight, model.score.weight, rtol=0, atol=0)


def test_log_probabilities_are_those_of_plain_transformers(base: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    logprobs, entropies = response_logprobs(
        load_policy(base, tokenizer), lay(TREES, device()), sampling_temperature=2.0
    )
    stock = AutoModelForCausalLM.from_pretrained(base).eval()
    of_targets, spreads = [], []
    for tree in TREES:
        for response in tree.responses:
            logits = stock(input_ids=torch.tensor([tree.prompt + response])).logits[0, len(tree.prompt) - 1 : -1]
            distribution = torch.distributions.Categorical(logits=logits / 2.0)
            of_targets.append(distribution.log_prob(torch.tensor(response)))
            spreads.append(distribution.entropy())
    torch.testing.assert_close(logprobs.cpu(), torch.cat(of_targets), rtol=0, atol=1e-5)
    torch.testing.assert_close(entropies.cpu(), torch.cat(spreads), rtol=0, atol=1e-5)


def test_logits_that_an_architecture_scales_are_scaled(tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    stock = GraniteForCausalLM(GraniteConfig(vocab_size=10, logits_scaling=0.1, pad_token_id=0, **shape))
    stock.save_pretrained(tmp_path)
    with torch.no_grad():
        found, _ = response_logprobs(load_policy(tmp_path, tokenizer), lay([Tree([1, 2], [[3, 4]])], device()))
        ids = torch.tensor([[1, 2, 3, 4]])
        logits = stock.eval()(input_ids=ids).logits[0, 1:-1]
        unscaled = stock.lm_head(stock.model(ids).last_hidden_state)[0, 1:-1]
    torch.testing.assert_close(found.cpu(), logits.log_softmax(dim=-1)[[0, 1], [3, 4]], rtol=0, atol=1e-5)
    assert float((logits - unscaled).abs().max()) > 0.5  # or nothing were scaled


def test_a_loaded_model_has_no_dropout(base: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    model = load_policy(base, tokenizer)
    assert not model.training
    quiet = last_states(model, lay(TREES, device()))
    torch.testing.assert_close(last_states(model.train(), lay(TREES, device())), quiet, rtol=0, atol=0)


def test_a_loaded_model_has_an_embedding_for_every_token(base: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    tokenizer.add_tokens(["please"])
    assert load_policy(base, tokenizer).get_input_embeddings().num_embeddings == len(tokenizer)


def test_temperature_is_one_until_it_is_stored(base: Path, tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    model = load_reward_model(base, tokenizer)
    assert temperature(model) == 1.0
    setattr(model.config, TEMPERATURE, 2.5)
    save(model, tokenizer, tmp_path / "reward")
    assert temperature(load_reward_model(tmp_path / "reward", tokenizer)) == 2.5


def test_digest_is_of_names_and_contents_wherever_the_folder_lies(tmp_path: Path) -> None:
    folder = tmp_path / "one"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.txt").write_text("words")
    (folder / "sub" / "b.txt").write_text("more")
    first = digest(folder)
    assert digest(Path(shutil.copytree(folder, tmp_path / "two"))) == first
    (folder / "a.txt").write_text("wordz")
    changed = digest(folder)
    (folder / "a.txt").write_text("words")
    (folder / "a.txt").rename(folder / "c.txt")
    assert len({first, changed, digest(folder)}) == 3
