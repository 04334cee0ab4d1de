"""Names of a model's cache: `transformers` 5.24 has a new one and warns of the old one, which 5.23 alone knows."""

import warnings
from typing import Any

import pytest
import torch
from torch import nn
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM, LlamaModel
from transformers.utils.deprecation import deprecate_kwarg

from rlhf_core.generation.decoding import DrawRequest, draw_eagerly
from rlhf_core.models.trunk import Way, cache_name, settle, trunk
from rlhf_core.models.ways import choose_way


class Renamed(LlamaModel):
    """A trunk as 5.24 has it."""

    @deprecate_kwarg("past_key_values", "99.0.0", new_name="cache")
    def forward(self, *inputs: Any, position_ids: Any = None, cache: Any = None, **options: Any) -> Any:
        return super().forward(*inputs, position_ids=position_ids, **{cache_name(LlamaModel(SMALL)): cache}, **options)


SMALL = LlamaConfig(
    vocab_size=32, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, bos_token_id=1
)


class OfStates(nn.Module):
    def forward(self, ids: Any, cache_params: Any = None) -> Any:
        return ids, cache_params


def test_a_cache_is_called_what_its_trunk_calls_it() -> None:
    assert cache_name(Renamed(SMALL)) == "cache" and cache_name(OfStates()) == "cache_params"
    assert cache_name(LlamaModel(SMALL)) in ("cache", "past_key_values") and cache_name(nn.Linear(1, 1)) != "cache"


@torch.inference_mode()
@pytest.mark.parametrize("rows", [True, False], ids=["by rows", "padded"])
def test_no_old_name_is_used_where_there_is_a_new_one(rows: bool) -> None:
    model = LlamaForCausalLM(SMALL).eval()
    chance = torch.rand(2, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    request = DrawRequest([[3, 9, 4], [11]], chance, stops=[2], temperature=1.0, max_tokens=64)
    choose_way(model)
    settle(model, Way(rows=rows))
    expected = draw_eagerly(model, request)
    trunk(model).__class__ = Renamed
    with pytest.warns(FutureWarning, match="Use `cache` instead"):
        trunk(model)(torch.tensor([[3]]), past_key_values=DynamicCache(config=SMALL))
    with warnings.catch_warnings():
        warnings.simplefilter("error", FutureWarning)
        drawn = draw_eagerly(model, request)
    assert [one.ids for one in drawn] == [one.ids for one in expected]
