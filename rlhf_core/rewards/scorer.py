"""A frozen reward model as a policy's training asks it: by the policy's tokens, or by tokens of its own.

B counts responses.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from rlhf_core.config.lengths import Lengths
from rlhf_core.config.optimiser import OptimiserConfig
from rlhf_core.data.tokenizer import Tree, encode, halves_of_positions, load_tokenizer
from rlhf_core.distributed import shard
from rlhf_core.models.compilation import fuse
from rlhf_core.models.known_answers import check_known_answers
from rlhf_core.models.loading import load_reward_model
from rlhf_core.models.scoring import Scores, score_ensemble


class Responses(NamedTuple):
    """What is scored.

    Attributes:
        prompts: texts of the users, B.
        texts: their responses without special tokens, B.
        trees: token ids of each prompt with its response, B.
        finished: whether a response ended by itself, B.
    """

    prompts: Sequence[str]
    texts: Sequence[str]
    trees: Sequence[Tree]
    finished: Sequence[bool]


class Scorer:
    """A frozen reward model, ready to score responses of a policy.

    One with the policy's vocabulary, chat template and end of sequence reads the policy's tokens. Any other reads the
    texts as tokens of its own, and its end of sequence where a response ended; prompt and response get half of its
    positions each.

    Args:
        folder: of the reward model.
        tokenizer: the policy's.
        config: precision and tokens of one forward pass.
        beside: a loaded model, whose weights it shares if it was trained as an adapter on it.

    Attributes:
        model: the reward model.
        reads_text: whether it has tokens of its own.
    """

    def __init__(
        self,
        folder: Path,
        tokenizer: PreTrainedTokenizerBase,
        config: OptimiserConfig,
        beside: PreTrainedModel | None = None,
    ) -> None:
        own = load_tokenizer(str(folder))
        self.reads_text = not _alike(own, tokenizer)
        self.model = shard(fuse(load_reward_model(folder, own, beside=beside), config)).requires_grad_(False)
        self._folder, self._config = folder, config
        self._tokenizer = own if self.reads_text else tokenizer

    def __call__(self, responses: Responses) -> Scores:
        """What it says of each response."""
        return self._score(self._read_again(responses) if self.reads_text else responses.trees)

    def check_known_answers(self, name: str, lengths: Lengths) -> None:
        """Test that it says of known texts what it said when it was saved.

        Args:
            name: for people.
            lengths: at which texts of the policy's tokens are cut.

        Raises:
            SelfTestError: as `rlhf_core.models.known_answers.check_known_answers`.
        """
        check_known_answers(
            name,
            self._folder,
            lambda trees: self._score(trees).score,
            self._tokenizer,
            self._config,
            halves_of_positions(self.model.config) if self.reads_text else lengths,
        )

    def _score(self, trees: Sequence[Tree]) -> Scores:
        return score_ensemble(self.model, trees, self._config)

    def _read_again(self, responses: Responses) -> list[Tree]:
        pairs = list(zip(responses.prompts, responses.texts, strict=True))
        trees = encode(self._tokenizer, pairs, halves_of_positions(self.model.config))
        return [
            tree if finished else _unended(tree, self._tokenizer.eos_token_id)
            for tree, finished in zip(trees, responses.finished, strict=True)
        ]


def _alike(one: PreTrainedTokenizerBase, other: PreTrainedTokenizerBase) -> bool:
    """Whether two tokenizers write the same tokens for the same texts."""
    first, second = ((each.get_vocab(), each.chat_template, each.eos_token) for each in (one, other))
    return first == second


def _unended(tree: Tree, end: int) -> Tree:
    """A tree of one response without the end-of-sequence token, unless it is all that there is."""
    (ids,) = tree.responses
    return Tree(tree.prompt, [ids[:-1]]) if len(ids) > 1 and ids[-1] == end else tree
