"""Forward passes over a row: log-probabilities, values and scores."""

from torch import Tensor
from transformers import PreTrainedModel

from rlhf_core.data.packing import Row
from rlhf_core.models.heads import score_head
from rlhf_core.models.logits import state_logprobs
from rlhf_core.models.ways import row_states


def response_logprobs(model: PreTrainedModel, row: Row, *, sampling_temperature: float = 1.0) -> tuple[Tensor, Tensor]:
    """What a causal language model says about the R response tokens of a row, and about nothing else.

    Args:
        model: causal language model.
        row: prompts with responses.
        sampling_temperature: divides the logits.

    Returns:
        Log-probability of each token, and entropy of the distribution that it comes from, both shape ``[R]``, nats.
    """
    states = row_states(model, row).index_select(0, row.before)
    return state_logprobs(model, states, row.targets, sampling_temperature=sampling_temperature)


def response_values(model: PreTrainedModel, row: Row) -> Tensor:
    """Scalar head before each of the R response tokens of a row, shape ``[R]``, float32: the value model's values."""
    scores: Tensor = score_head(model)(row_states(model, row).index_select(0, row.before))
    return scores.squeeze(-1).float()


def response_scores(model: PreTrainedModel, row: Row) -> Tensor:
    """The K heads at the last token of each of the B responses of a row, shape ``[B, K]``, float32, logits."""
    scores: Tensor = score_head(model)(last_states(model, row))
    return scores.float()


def response_logprobs_and_values(
    model: PreTrainedModel, row: Row, *, sampling_temperature: float = 1.0
) -> tuple[Tensor, Tensor, Tensor]:
    """`response_logprobs` and `response_values` of a policy with a value head, by one forward pass, each ``[R]``."""
    states = row_states(model, row).index_select(0, row.before)
    logprobs, entropies = state_logprobs(model, states, row.targets, sampling_temperature=sampling_temperature)
    values: Tensor = score_head(model)(states)
    return logprobs, entropies, values.squeeze(-1).float()


def last_states(model: PreTrainedModel, row: Row) -> Tensor:
    """Final hidden state at the last token of each of the B responses of a row, shape ``[B, D]``."""
    return row_states(model, row).index_select(0, row.last)
