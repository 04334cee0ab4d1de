"""Configurations of a few thousand weights for every causal language model that `transformers` builds.

What depends on length (windows, chunks, kept keys) is a few tokens, so that short texts show it.
"""

import inspect
from typing import Any

from transformers import CONFIG_MAPPING, PreTrainedConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

VOCABULARY = 32
WINDOW = 4

LAYERS = 2
LOCAL = {"layer_types": ["sliding_attention", "full_attention"]}
LINEAR = {"layer_types": ["linear_attention", "full_attention"]}
LATENT = {"num_key_value_heads": 4}
DECODER = {"is_decoder": True}
PADDED = {"pad_token_id": 0}

SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "pad_token_id": None,
    "bos_token_id": 1,
    "eos_token_id": 1,
    "initializer_range": 0.4,
    "init_std": 0.4,
    "max_position_embeddings": 64,
    **dict.fromkeys(("n_positions", "n_ctx", "max_seq_len", "context_length", "max_target_positions"), 64),
    **dict.fromkeys(("hidden_size", "d_model", "n_embd", "emb_dim", "embedding_size", "word_embed_proj_dim"), 16),
    **dict.fromkeys(("input_embedding_size", "output_embedding_size", "lru_width", "attention_hidden_size"), 16),
    **dict.fromkeys(("num_hidden_layers", "n_layer", "n_layers", "num_layers"), LAYERS),
    **dict.fromkeys(("encoder_layers", "decoder_layers", "num_encoder_layers", "num_decoder_layers"), LAYERS),
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "num_heads", "attention_heads"), 4),
    **dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), 4),
    **dict.fromkeys(("num_encoder_attention_heads", "num_decoder_attention_heads"), 4),
    **dict.fromkeys(("num_key_value_heads", "num_kv_heads"), 2),
    **dict.fromkeys(("head_dim", "dim_head", "d_head", "kv_channels", "attention_head_dim", "rotary_dim"), 4),
    **dict.fromkeys(("intermediate_size", "ffn_dim", "encoder_ffn_dim", "decoder_ffn_dim", "d_inner"), 24),
    **dict.fromkeys(("intermediate_size_mlp", "dim_ff", "dff", "dense_intermediate_size", "feed_forward_size"), 24),
    **dict.fromkeys(("moe_intermediate_size", "shared_expert_intermediate_size", "expert_ffn_hidden_size"), 8),
    **dict.fromkeys(("moe_shared_expert_intermediate_size", "shared_intermediate_size"), 8),
    **dict.fromkeys(("shared_experts_intermediate_size", "prefix_dense_intermediate_size"), 8),
    **dict.fromkeys(("num_experts", "n_routed_experts", "num_local_experts", "moe_num_experts"), 4),
    **dict.fromkeys(("num_experts_per_tok", "moe_topk", "moe_k", "top_k_experts"), 2),
    **dict.fromkeys(("n_shared_experts", "num_shared_experts", "moe_num_shared_experts"), 1),
    **dict.fromkeys(("n_group", "topk_group", "num_dense_layers", "first_k_dense_replace"), 1),
    "query_pre_attn_scalar": 4,
    "q_lora_rank": 8,
    "kv_lora_rank": 8,
    "qk_rope_head_dim": 4,
    "qk_nope_head_dim": 4,
    "v_head_dim": 4,
    "index_head_dim": 8,
    "index_n_heads": 8,
    "index_topk": 5,
    **dict.fromkeys(("sliding_window", "sliding_window_size", "attention_window_size"), WINDOW),
    **dict.fromkeys(("attention_chunk_size", "window_size", "local_attention"), WINDOW),
    "use_sliding_window": True,
    "max_window_layers": 1,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 4,
    "linear_value_head_dim": 4,
    "state_size": 4,
    "mamba_d_state": 4,
    "mamba_n_heads": 4,
    "mamba_d_head": 8,
    "mamba_chunk_size": 4,
    "chunk_size": 4,
    "hidden_size_per_layer_input": 4,
    "vocab_size_per_layer_input": VOCABULARY,
}
"""A small value for each field of that name, whatever the family."""

PARTICULAR: dict[str, dict[str, Any]] = {
    "afmoe": {"global_attn_every_n_layers": 2},
    "axk1": LATENT,
    "axk2": LATENT,
    "bailing_hybrid": LATENT | LINEAR,
    "bamba": {"attn_layer_indices": [1]},
    "bart": DECODER,
    "bert": DECODER,
    "bert-generation": DECODER,
    "big_bird": DECODER | {"attention_type": "original_full"},
    "camembert": DECODER | PADDED,
    "cohere": {"logit_scale": 0.25},
    "cohere2": LOCAL | {"logit_scale": 0.25},
    "cohere2_moe": {"sliding_window_pattern": 2, "logit_scale": 0.25},
    "cohere_compass_text": LOCAL
    | {"rope_parameters": {name: {"rope_type": "default", "rope_theta": 1e4} for name in LOCAL["layer_types"]}},
    "data2vec-text": DECODER | PADDED,
    "dbrx": {
        "attn_config": {"kv_n_heads": 2, "clip_qkv": 8.0, "rope_theta": 1e4},
        "ffn_config": {"hidden_size": 16, "ffn_hidden_size": 24, "moe_num_experts": 4, "moe_top_k": 2},
    },
    "deepseek_v2": LATENT,
    "deepseek_v3": LATENT,
    "deepseek_v32": LATENT,
    "deepseek_v4": {"o_lora_rank": 8, "o_groups": 2, "head_dim": 8, "partial_rotary_factor": 0.5, "hc_mult": 2}
    | {
        "layer_types": ["heavily_compressed_attention", "compressed_sparse_attention"],
        "compress_rates": {"compressed_sparse_attention": 2, "heavily_compressed_attention": 4},
    },
    "dots1": {"layer_types": ["full_attention", "sliding_attention"]},
    "dots3_note_text": LATENT
    | LOCAL
    | dict.fromkeys(("swa_num_attention_heads", "swa_num_key_value_heads", "swa_qk_nope_head_dim", "swa_v_head_dim"), 4)
    | {"head_dim": 8, "swa_q_lora_rank": 8, "swa_kv_lora_rank": 8, "swa_head_dim": 8},
    "electra": DECODER,
    "ernie": DECODER,
    "exaone4": LOCAL,
    "exaone_moe": LOCAL,
    "falcon_h1": {"mamba_d_ssm": 32, "lm_head_multiplier": 0.5},
    "gemma2": LOCAL | {"attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0},
    "gemma3_text": LOCAL,
    "gemma3n_text": LOCAL | {"num_kv_shared_layers": 0, "laurel_rank": 4, "altup_num_inputs": 2},
    "gemma4_text": LOCAL | {"num_kv_shared_layers": 0, "global_head_dim": 4, "num_global_key_value_heads": 2},
    "gemma4_unified_text": LOCAL | {"num_kv_shared_layers": 0, "global_head_dim": 4, "num_global_key_value_heads": 2},
    "glm4_moe_lite": LATENT,
    "glm_moe_dsa": LATENT,
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "gpt_oss": LOCAL,
    "granite": {"logits_scaling": 4.0},
    "granite_swa": LOCAL | {"logits_scaling": 4.0},
    "granitemoe": {"logits_scaling": 4.0},
    "granitemoe_swa": LOCAL | {"logits_scaling": 4.0},
    "granitemoehybrid": {"layer_types": ["mamba", "attention"], "logits_scaling": 4.0},
    "hrm_text": {"initializer_range": 0.1},
    "inkling2_text": {
        "layer_types": ["hybrid_sliding", "hybrid"],
        "unpadded_vocab_size": VOCABULARY,
        "swa_num_attention_heads": 4,
        "swa_num_key_value_heads": 2,
        "swa_head_dim": 4,
        "d_rel": 4,
        "rel_extent": 8,
        "n_layers_per_attn_res_block": 1,
    },
    "inkling_text": {
        "logits_mup_width_multiplier": 2.0,
        "layer_types": ["hybrid_sliding", "hybrid"],
        "swa_num_attention_heads": 4,
        "swa_num_key_value_heads": 2,
        "swa_head_dim": 4,
        "d_rel": 4,
        "rel_extent": 8,
    },
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1},
    "kimi_linear": LATENT | LINEAR | {"linear_head_dim": 4, "linear_num_heads": 4, "head_dim": 8},
    "lfm2": {"layer_types": ["conv", "full_attention"]},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"]},
    "lfm3": {"layer_types": ["conv", "full_attention"]},
    "llama4_text": {"layer_types": ["chunked_attention", "full_attention"], "no_rope_layers": [1, 0]},
    "longcat_flash": LATENT | {"ffn_hidden_size": 24, "zero_expert_num": 2, "moe_topk": 2},
    "mamba2": {"num_heads": 4, "head_dim": 8, "n_groups": 1},
    "megatron-bert": DECODER,
    "mellum": LOCAL,
    "mimo_v2_flash": LOCAL,
    "minicpm3": LATENT,
    "minimax": {"layer_types": ["linear_attention", "full_attention"], "block_size": 4},
    "modernbert-decoder": {"pad_token_id": 0, "layer_types": ["sliding_attention", "full_attention"]},
    "nemotron_h": {
        "layers_block_type": ["mamba", "attention"],
        "ssm_state_size": 4,
        "mamba_num_heads": 4,
        "mamba_head_dim": 4,
        "n_groups": 1,
    },
    "olmo3": LOCAL,
    "olmo_hybrid": LINEAR,
    "prophetnet": {"pad_token_id": 0, "is_decoder": True, "ngram": 2},
    "qwen2": LOCAL,
    "qwen2_moe": LOCAL,
    "qwen3": LOCAL,
    "qwen3_5_moe_text": LINEAR,
    "qwen3_5_text": LINEAR,
    "qwen3_next": LINEAR,
    "qwen4_exp_text": LINEAR
    | {
        "hc_count": 2,
        "hc_lowrank": 4,
        "ngram_vocab_size_base": 64,
        "make_ngram_vocab_size_divisible_by": 8,
        "indexer_n_heads": 2,
        "indexer_kv_heads": 1,
        "indexer_head_dim": 4,
        "indexer_budget": 8,
        "indexer_compress_ratio": 2,
    },
    "recurrent_gemma": {"block_types": ["recurrent", "attention"], "w_init_variance_scale": 1.0},
    "reformer": DECODER
    | {
        "attn_layers": ["local", "local"],
        "axial_pos_embds": False,
        "local_attn_chunk_length": 4,
        "attention_head_size": 4,
        "pad_token_id": 0,
    },
    "rembert": DECODER,
    "roberta": DECODER | PADDED,
    "roberta-prelayernorm": DECODER | PADDED,
    "roc_bert": DECODER
    | {
        "pronunciation_embed_dim": 4,
        "pronunciation_vocab_size": VOCABULARY,
        "shape_embed_dim": 4,
        "shape_vocab_size": VOCABULARY,
    },
    "roformer": DECODER,
    "smollm3": {"no_rope_layers": [1, 0], "layer_types": ["sliding_attention", "full_attention"]},
    "xlm": {"pad_token_id": 0, "causal": True, "embed_init_std": 0.4},
    "xlm-roberta": DECODER | PADDED,
    "xlm-roberta-xl": DECODER | PADDED,
    "xlstm": {"hidden_size": 64, "qk_dim_factor": 1.0, "chunk_size": 16, "ffn_round_up_to_multiple_of": 8},
    "xmod": DECODER | PADDED | {"languages": ["en_XX"], "default_language": "en_XX"},
    "youtu": LATENT,
    "zamba": {
        "num_hidden_layers": 3,
        "layers_block_type": ["mamba", "hybrid", "hybrid"],
        "attention_hidden_size": 32,
        "attention_head_dim": 8,
    },
    "zamba2": {"layers_block_type": ["mamba", "hybrid"], "n_mamba_heads": 4, "adapter_rank": 4},
    "zaya": {"num_experts_per_tok": 1, "router_hidden_size": 8},
}
"""What a family needs beside or instead of that."""

MANY = "reads images, sound or bytes beside text"
NOT_BUILT = dict.fromkeys(
    (
        *("blt", "dots3_note", "emu3", "fuyu", "gemma3", "gemma3n", "gemma4", "gemma4_unified", "git", "got_ocr2"),
        *("llama4", "mllama", "moshi", "moss_transcribe_diarize", "musicgen", "musicgen_melody", "phi4_multimodal"),
        *("qwen3_5", "qwen3_5_moe", "qwen4_exp"),
    ),
    MANY,
) | dict.fromkeys(("gemma4_assistant", "gemma4_unified_assistant"), "drafts for another model, whose cache it reads")
"""Families of `transformers` that no tiny causal language model can be made of here, with the reason."""


def configuration(model_type: str, **changes: Any) -> PreTrainedConfig:
    """A tiny configuration of a family.

    Args:
        model_type: as in `config.json`.
        changes: fields that are different.
    """
    kind = CONFIG_MAPPING[model_type]
    fields = inspect.signature(kind.__init__).parameters
    general = {name: value for name, value in SIZES.items() if name in fields}
    return kind(**(general | PARTICULAR.get(model_type, {}) | changes))


FAMILIES = [name for name in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES if name not in NOT_BUILT]
"""Every `model_type` with a causal language model that is built here."""
