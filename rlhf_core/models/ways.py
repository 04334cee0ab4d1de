"""The way in which a model is computed: rows without padding, else padded by its stock forward; exact, or refused."""

import logging

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from rlhf_core.data.packing import Row
from rlhf_core.models.attention import RowError, ragged_states, use_ragged_attention
from rlhf_core.models.logits import linear_logits, stock_logits
from rlhf_core.models.padding import cache_holds, check_padding, padded_states
from rlhf_core.models.rotary import check_positions
from rlhf_core.models.trial import Trial, name_of, same
from rlhf_core.models.trunk import Way, settle, way_of

log = logging.getLogger(__name__)

ELSEWHERE = "its attention does not go through the attention interface of transformers"


def row_states(model: PreTrainedModel, row: Row) -> Tensor:
    """Final hidden states of a row in the way of the model, shape ``[N, D]``.

    Raises:
        ValueError: if the model was not prepared, or its positions would depend on what is read together.
    """
    check_positions(model.config, max(row.longest))
    return ragged_states(model, row) if way_of(model).rows else padded_states(model, row)


@torch.no_grad()
def choose_way(model: PreTrainedModel) -> None:
    """Settle the way of a model by a trial against its stock forward, whose attention it has so far.

    Raises:
        ValueError: if no way says what the stock forward says.
    """
    trial = Trial(model)
    linear_head = _has_linear_head(model, trial)
    stock_attention = model.config._attn_implementation
    try:
        use_ragged_attention(model, trial)
        settle(model, Way(linear_head=linear_head))
    except Exception as error:  # an architecture may do whatever with what it does not know
        model.set_attn_implementation(stock_attention)
        check_padding(model, trial)
        reason = str(error) if isinstance(error, RowError) else ELSEWHERE
        settle(model, Way(False, cache_holds(model, trial), linear_head, reason))
        log.warning("%s is computed with padding, which is slower, because %s", name_of(model), reason)


def _has_linear_head(model: PreTrainedModel, trial: Trial) -> bool:
    """Whether the logits of a language model, if it is one, are those of its linear head, scaled and capped.

    Raises:
        ValueError: if they cannot be made of its final states at all, or are no numbers.
    """
    head = model.get_output_embeddings()
    if head is None:
        return True
    ids = torch.tensor([trial.sequences[0]], device=model.device)
    expected, states = model(input_ids=ids).logits[0], trial.states[0]
    if isinstance(head, nn.Linear) and same(linear_logits(model, states), expected):
        return True
    if same(stock_logits(model, states), expected):
        return False
    if not expected.isfinite().all():
        raise ValueError(
            f"{name_of(model)}: the model's logits are not finite (NaN or infinite): its weights are damaged"
        )
    raise ValueError(
        f"{name_of(model)}: {type(model).__name__} makes its logits of more than the final state of a token, so its "
        "log-probabilities cannot be computed here"
    )
