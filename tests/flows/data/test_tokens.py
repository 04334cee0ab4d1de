"""What the tokenizer of a base makes of all texts, counted before anything is trained on them; letters are tokens."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from transformers import PreTrainedTokenizerBase

from data_contracts.records import Kind
from flows.config.errors import InputError
from flows.config.ladder import LadderConfig
from flows.config.pretrained import FolderBase
from flows.data.audits.tokens import audit_tokens
from flows.registry.references import DataRefs, DatasetRef
from rlhf_core.base import embedded
from rlhf_core.base.from_text import build_tokenizer

CUT = 6
SAME = {"chosen": "whatever it is", "rejected": "whatever you like"}
OTHER = {"chosen": "yes", "rejected": "no"}


@pytest.fixture
def tokenizer() -> PreTrainedTokenizerBase:
    return build_tokenizer(["x"], vocabulary=300)


@pytest.fixture
def base(tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> Path:
    tokenizer.save_pretrained(tmp_path / "base")
    return tmp_path / "base"


def config(method: str = "ppo", **reward_model: Any) -> LadderConfig:
    limits = {"max_prompt_tokens": 20, "max_response_tokens": CUT}
    longer = {"max_prompt_tokens": 20, "max_response_tokens": 2 * CUT}
    return LadderConfig.model_validate(
        {
            "project": "toy",
            "sft": {"sampling": limits},
            "reward_model": limits | reward_model,
            "judge": longer,
            "policy": {"method": method, "sampling": limits},
        }
    )


def data_of(folder: Path, pairs: list[dict[str, str]], **tables: list[dict[str, str]]) -> DataRefs:
    """Pairs with their splits, and one demonstration and prompt unless there are others."""
    plain = {"demonstrations": [{"prompt": "how", "response": "so"}], "prompts": [{"prompt": "how"}]}
    rows: dict[Kind, list[dict[str, str]]] = {**plain, "preferences": pairs, **tables}  # type: ignore[dict-item]
    refs = {}
    for kind, cells in rows.items():
        path = folder / f"{kind}.parquet"
        pd.DataFrame([{"prompt": "how", "split": "train"} | row for row in cells]).to_parquet(path)
        refs[kind] = DatasetRef(
            name=kind, digest="d", path=str(path), rows=len(cells), splits={}, sources=(), report=""
        )
    return DataRefs(datasets=refs, counts={}, report="", ladder_run="", seconds=0.0)


def pairs_of(**counts: tuple[int, int]) -> list[dict[str, str]]:
    """Of each split so many pairs that are the same once cut, and so many that are not."""
    rows = [({**SAME, "split": split}, alike) for split, (alike, _) in counts.items()]
    rows += [({**OTHER, "split": split}, different) for split, (_, different) in counts.items()]
    return [row for row, count in rows for _ in range(count)]


def test_pairs_that_are_the_same_once_cut_are_counted_for_whoever_reads_them(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = data_of(tmp_path, pairs_of(train=(2, 6), judge=(3, 1), test=(1, 3)))
    figures = audit_tokens(config(), data, base)
    alike = {name: share for name, share in figures.items() if "alike" in name}
    assert alike == {
        "data/train_pairs_alike_reward_model": 0.25,
        "data/test_pairs_alike_reward_model": 0.25,
        "data/judge_pairs_alike_judge": 0.0,  # twice as many letters are enough
        "data/test_pairs_alike_judge": 0.0,
    }
    told = capsys.readouterr().out.splitlines()
    assert [line.partition(";")[0] for line in told] == [
        "warning: 2 of 8 train pairs are the same once cut to 6 tokens (reward_model.max_response_tokens)",
        "warning: 1 of 4 test pairs are the same once cut to 6 tokens (reward_model.max_response_tokens)",
    ]
    dpo = audit_tokens(config("dpo"), data, base)
    assert dpo["data/train_pairs_alike_policy"] == 0.25


@pytest.mark.parametrize(("split", "refused"), [("train", "train"), ("test", "test"), ("judge", None)])
def test_a_length_that_makes_most_pairs_of_a_split_the_same_is_refused(
    base: Path, tmp_path: Path, split: str, refused: str | None
) -> None:
    splits = {"train": (2, 2), "judge": (2, 2), "test": (2, 2)} | {split: (3, 2)}
    data = data_of(tmp_path, pairs_of(**splits))
    if refused is None:
        audit_tokens(config(), data, base)
        return
    with pytest.raises(
        InputError, match=f"field 'reward_model.max_response_tokens': 3 of 5 {refused} pairs are the same once cut to 6"
    ):
        audit_tokens(config(), data, base)


def test_a_model_that_is_taken_reads_by_tokens_of_its_own(base: Path, tmp_path: Path) -> None:
    taken = config(**{"from": "models:/other-reward-model/1"})
    assert "data/train_pairs_alike_reward_model" not in audit_tokens(
        taken, data_of(tmp_path, pairs_of(train=(2, 0))), base
    )


def test_rows_that_write_special_tokens_are_counted(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    demonstrations = [
        {"response": "so"},
        {"response": "so <|end|>, and <|end|>"},
        {"prompt": "<|user|> me <|end|>", "response": "no"},
    ]
    data = data_of(tmp_path, pairs_of(train=(0, 1)), demonstrations=demonstrations)
    figures = audit_tokens(config(), data, base)
    assert figures["data/demonstrations_special_tokens"] == pytest.approx(2 / 3)
    assert figures["data/preferences_special_tokens"] == figures["data/prompts_special_tokens"] == 0.0
    told = capsys.readouterr().out
    which = "special tokens of the base (<|end|> 3, <|user|> 1)"
    assert told == f"warning: 2 of 3 rows of demonstrations write {which}; they stay text\n"


@pytest.mark.parametrize("brings", [True, False])
def test_a_base_from_elsewhere_without_a_chat_template_is_told(
    base: Path, tokenizer: PreTrainedTokenizerBase, tmp_path: Path, capsys: pytest.CaptureFixture[str], brings: bool
) -> None:
    tokenizer.chat_template = "{% for m in messages %}<|user|>{{ m['content'] }}<|end|>{% endfor %}" if brings else None
    tokenizer.save_pretrained(base)
    taken = config().model_copy(update={"base": FolderBase(path=base)})
    audit_tokens(taken, data_of(tmp_path, pairs_of(train=(0, 1))), base)
    why = "the base brings no chat template, or the default one"
    told = f"warning: {why}; prompts are written as <|user|>...<|assistant|>\n"
    assert capsys.readouterr().out == ("" if brings else told)


def test_a_text_that_cannot_be_spelt_is_refused_before_training(tmp_path: Path) -> None:
    embedded.build_tokenizer().save_pretrained(tmp_path / "words")
    data = data_of(tmp_path, pairs_of(train=(0, 1)), prompts=[{"prompt": "how"}, {"prompt": "end it <|end|>"}])
    with pytest.raises(InputError, match=r"field 'data\.prompts': the text 'end it <.end.>' writes a special token"):
        audit_tokens(config(), data, tmp_path / "words")
