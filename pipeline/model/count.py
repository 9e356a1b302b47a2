"""How many parameters a model has and what a token costs to train; pure arithmetic, without torch."""

from dataclasses import dataclass

from pipeline.settings.model import ModelSettings


@dataclass(frozen=True)
class Parameters:
    """Numbers of parameters."""

    total: int
    """Of the main model."""
    active: int
    """Of the main model, what one token uses."""
    mtp: int
    """Of the MTP modules, which training needs besides; they share embedding and head with the main model."""


def parameters(settings: ModelSettings) -> Parameters:
    """Count the parameters of a model of these settings. Router biases are no parameters."""
    dense, sparse = len(settings.dense_layers), len(settings.sparse_layers)
    around = 2 * settings.vocab_size * settings.hidden_size + settings.hidden_size
    fixed = around + settings.num_layers * _attention(settings) + dense * _mlp(settings, settings.intermediate_size)
    return Parameters(
        total=fixed + sparse * _moe(settings, settings.moe.num_experts),
        active=fixed + sparse * _moe(settings, settings.moe.top_k),
        mtp=settings.mtp_depth * _mtp_module(settings),
    )


def training_flops_per_token(settings: ModelSettings, seq_len: int, with_mtp: bool = True) -> float:
    """Floating-point operations of forward and backward pass per token, with causal attention counted once.

    Six per weight that takes part in a product (norms and the look-up of embeddings are left out), and per pair of
    positions in attention. Recomputed activations do not count: this is the numerator of MFU.
    """
    head = settings.vocab_size * settings.hidden_size
    pairs = _attention_pairs(settings, seq_len)
    projections = _attention_products(settings) + pairs
    experts = _moe(settings, settings.moe.top_k)
    dense, sparse = len(settings.dense_layers), len(settings.sparse_layers)
    main = head + settings.num_layers * projections + sparse * experts
    main += dense * _mlp(settings, settings.intermediate_size)
    module = head + 2 * settings.hidden_size**2 + projections + experts
    return 6.0 * (main + (settings.mtp_depth * module if with_mtp else 0))


def _attention_products(settings: ModelSettings) -> int:
    mla, width = settings.mla, settings.hidden_size
    query = width * mla.q_lora_rank + mla.q_lora_rank * mla.num_heads * mla.qk_head_dim
    latent = width * (mla.kv_lora_rank + mla.qk_rope_head_dim)
    key_value = mla.kv_lora_rank * mla.num_heads * (mla.qk_nope_head_dim + mla.v_head_dim)
    return query + latent + key_value + mla.num_heads * mla.v_head_dim * width


def _attention_pairs(settings: ModelSettings, seq_len: int) -> float:
    """Products of a token with the positions that it sees, on average (seq_len + 1) / 2."""
    mla = settings.mla
    return mla.num_heads * (mla.qk_head_dim + mla.v_head_dim) * (seq_len + 1) / 2


def _attention(settings: ModelSettings) -> int:
    """A layer's attention with its two norms and the layer's two."""
    mla = settings.mla
    return _attention_products(settings) + mla.q_lora_rank + mla.kv_lora_rank + 2 * settings.hidden_size


def _mlp(settings: ModelSettings, intermediate_size: int) -> int:
    return 3 * settings.hidden_size * intermediate_size


def _moe(settings: ModelSettings, routed: int) -> int:
    """An expert layer with so many of its routed experts."""
    moe = settings.moe
    experts = (routed + moe.num_shared_experts) * _mlp(settings, moe.intermediate_size)
    return experts + moe.num_experts * settings.hidden_size


def _mtp_module(settings: ModelSettings) -> int:
    width = settings.hidden_size
    return 2 * width * width + 3 * width + _attention(settings) + _moe(settings, settings.moe.num_experts)
