"""Loading, scoring and keeping models, on small models with random weights."""

import shutil
from pathlib import Path

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    PreTrainedTokenizerBase,
)

from rlhf_core.batching import pad, response_mask
from rlhf_core.models import (
    TEMPERATURE,
    device,
    digest,
    hidden_states,
    load_policy,
    load_reward_model,
    response_logits,
    save,
    sequence_scores,
    temperature,
    token_scores,
)

SEQUENCES = [[3, 5, 6, 7, 4, 8, 9, 2], [3, 5, 4, 8], [3, 7, 4]]


def test_scores_do_not_depend_on_padding(base: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    model = load_reward_model(base, tokenizer)
    together = sequence_scores(model, pad(SEQUENCES, 0, device()))
    wider = sequence_scores(model, pad([*SEQUENCES, [5] * 30], 9, device()))[:3]
    alone = torch.cat([sequence_scores(model, pad([sequence], 0, device())) for sequence in SEQUENCES])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)
    torch.testing.assert_close(wider, alone, rtol=0, atol=1e-5)
    assert alone.std() > 0.05  # the scores differ, or the comparison would show nothing


def test_a_sequence_is_scored_at_its_last_real_token(base: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    model = load_reward_model(base, tokenizer)
    batch = pad(SEQUENCES, 0, device())
    values = token_scores(model, batch)
    last = torch.stack([values[row, len(sequence) - 1] for row, sequence in enumerate(SEQUENCES)])
    torch.testing.assert_close(sequence_scores(model, batch), last)


def test_plain_transformers_gives_the_same_scores(
    base: Path, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    model = load_reward_model(base, tokenizer)
    save(model, tokenizer, tmp_path / "reward")
    stock = AutoModelForSequenceClassification.from_pretrained(tmp_path / "reward").eval()
    batch = pad(SEQUENCES, int(tokenizer.pad_token_id), torch.device("cpu"))
    scores = stock(input_ids=batch.ids, attention_mask=batch.mask.long()).logits.squeeze(-1)
    torch.testing.assert_close(sequence_scores(model, pad(SEQUENCES, 0, device())).cpu(), scores, rtol=0, atol=1e-5)


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


def test_logits_are_those_that_predict_the_response(base: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    model = load_policy(base, tokenizer)
    batch = pad(SEQUENCES[:2], 0, device())
    logits = response_logits(model, batch, response_mask(batch, [5, 3]))
    stock = AutoModelForCausalLM.from_pretrained(base).eval()
    expected = [
        stock(input_ids=torch.tensor([sequence])).logits[0, start - 1 : -1]
        for sequence, start in zip(SEQUENCES[:2], [5, 3], strict=True)
    ]
    torch.testing.assert_close(logits.cpu(), torch.cat(expected), rtol=0, atol=1e-5)


def test_a_loaded_model_has_no_dropout(base: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    model = load_policy(base, tokenizer)
    assert not model.training
    batch = pad(SEQUENCES, 0, device())
    quiet = hidden_states(model, batch)
    torch.testing.assert_close(hidden_states(model.train(), batch), quiet, rtol=0, atol=0)


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
