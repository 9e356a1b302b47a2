"""The shape of the model (DeepSeek-V3, arXiv 2412.19437), without torch."""

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from pipeline.settings.base import Settings, execution

Count = Annotated[int, Field(ge=1)]
Size = Annotated[int, Field(ge=1)]


class MLASettings(Settings):
    """Multi-head latent attention (section 2.1.1)."""

    num_heads: Count
    """Attention heads."""
    q_lora_rank: Size
    """Width of the compressed query."""
    kv_lora_rank: Size
    """Width of the compressed key and value: what a cache keeps, besides the rotary key."""
    qk_nope_head_dim: Size
    """Width of a head's query and key that carries no position."""
    qk_rope_head_dim: Size
    """Width of a head's query and key that is rotated. Even; the key's is shared by all heads."""
    v_head_dim: Size
    """Width of a head's value."""
    use_flash_mla: bool = execution(False)
    """Demand a fused attention kernel: where the device has only the mathematical one, the model refuses to run."""

    @field_validator("qk_rope_head_dim")
    @classmethod
    def _pairs(cls, value: int) -> int:
        if value % 2:
            raise ValueError(f"qk_rope_head_dim is {value}, rotation takes pairs; write {value + 1}")
        return value

    @property
    def qk_head_dim(self) -> int:
        """Width of a head's whole query and key."""
        return self.qk_nope_head_dim + self.qk_rope_head_dim


class MoESettings(Settings):
    """A mixture-of-experts layer and how its load is balanced (section 2.1.2)."""

    num_experts: Annotated[int, Field(ge=2)]
    """Routed experts of a layer."""
    top_k: Count
    """Routed experts of a token."""
    num_shared_experts: Count = 1
    """Experts that every token passes; together they are one MLP of this many times `intermediate_size`."""
    intermediate_size: Size
    """Inner width of one expert."""
    num_groups: Count = 1
    """The experts stand in this many groups (nodes, in DeepSeek-V3)."""
    top_k_groups: Count = 1
    """A token chooses its experts from this many groups."""
    score: Literal["sigmoid", "softmax"] = "sigmoid"
    """What makes affinities of the router's logits: sigmoid in DeepSeek-V3, softmax in DeepSeek-V2."""
    normalize_weights: bool = True
    """Whether the weights of the chosen experts are divided by their sum."""
    routed_scaling_factor: Annotated[float, Field(gt=0)] = 2.5
    """Factor on the weights of the chosen experts."""
    bias_update_speed: Annotated[float, Field(ge=0)] = 0.001
    """How far an expert's bias moves per step towards even load, without a loss; 0 leaves the biases as they are."""
    sequence_loss_weight: Annotated[float, Field(ge=0)] = 0.0001
    """Weight of DeepSeek-V3's balance loss within each sequence (equations 17-20); 0 for none."""
    router_aux_loss_weight: Annotated[float, Field(ge=0)] = 0.0
    """Weight of the Switch loss over the whole micro-batch, N * sum(f_i * P_i) (arXiv 2101.03961); 0 for none."""
    use_deep_ep: bool = execution(False)
    """Exchange tokens between GPUs by DeepEP's kernels."""

    @field_validator("use_deep_ep")
    @classmethod
    def _refuse_deep_ep(cls, value: bool) -> bool:
        if value:
            raise ValueError("use_deep_ep is true, but there is no expert parallelism to use it for yet; write false")
        return value

    @model_validator(mode="after")
    def _groups_hold_the_choice(self) -> Self:
        experts, groups = self.num_experts, self.num_groups
        if experts % groups:
            raise ValueError(
                f"num_groups is {groups}, which does not divide num_experts {experts}; choose a divisor of it"
            )
        if self.top_k_groups > groups:
            raise ValueError(f"top_k_groups is {self.top_k_groups}, but num_groups is {groups}; write {groups} or less")
        if groups > 1 and experts == groups:
            raise ValueError(
                f"num_groups is {groups}: one expert a group, but a group is scored by its two best; write 1"
            )
        reachable = experts // groups * self.top_k_groups
        if self.top_k > reachable:
            raise ValueError(
                f"top_k is {self.top_k}, but the chosen groups hold {reachable} experts"
                f" (num_experts {experts} / num_groups {groups} * top_k_groups {self.top_k_groups});"
                f" write {reachable} or less, or a larger top_k_groups"
            )
        return self


class YarnSettings(Settings):
    """Longer context by YaRN (arXiv 2309.00071; section 4.3)."""

    factor: Annotated[float, Field(gt=1)]
    """How many times longer the context becomes."""
    original_max_position: Count
    """The context of the training before, in tokens."""
    beta_fast: Annotated[float, Field(gt=0)] = 32.0
    """Dimensions that turn more often than this within the original context keep their frequency."""
    beta_slow: Annotated[float, Field(gt=0)] = 1.0
    """Dimensions that turn less often than this are slowed by the whole factor."""
    mscale: Annotated[float, Field(gt=0)] = 1.0
    """Weight of the attention temperature in the rotary part."""
    mscale_all_dim: Annotated[float, Field(gt=0)] = 1.0
    """Weight of the attention temperature in the softmax's scale."""

    @model_validator(mode="after")
    def _fast_above_slow(self) -> Self:
        if self.beta_fast <= self.beta_slow:
            raise ValueError(
                f"beta_fast is {self.beta_fast}, not above beta_slow {self.beta_slow}; the paper's are 32 and 1"
            )
        return self


class RopeSettings(Settings):
    """Rotary positions."""

    theta: Annotated[float, Field(gt=1)] = 10000.0
    """Base of the frequencies."""
    yarn: YarnSettings | None = None
    """Set in stages that extend the context."""


class ModelSettings(Settings):
    """The model of a stage."""

    vocab_size: Annotated[int, Field(ge=8)]
    """Rows of the embedding: the tokenizer's vocabulary fits into them."""
    hidden_size: Size
    """Width of the residual stream."""
    num_layers: Count
    """Layers of the main model, without the MTP modules."""
    intermediate_size: Size
    """Inner width of a dense layer's MLP."""
    first_k_dense: Annotated[int, Field(ge=0)] = 1
    """The first so many layers are dense (3 in DeepSeek-V3)."""
    dense_layer_interval: Annotated[int, Field(ge=0)] = 0
    """Layers 0, n, 2n, ... are dense too; 0 for none."""
    mtp_depth: Annotated[int, Field(ge=0)] = 1
    """Multi-token prediction modules: each predicts one token further ahead (section 2.2)."""
    max_position_embeddings: Count = 4096
    """Longest sequence, in tokens."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of each sub-layer's output that training drops before it is added to the residual stream."""
    init_std: Annotated[float, Field(gt=0)] = 0.006
    """Standard deviation of the initial weights."""
    rms_norm_eps: Annotated[float, Field(gt=0)] = 1e-6
    """Added to the mean square in the norms of the residual stream."""
    mla: MLASettings
    """The attention."""
    moe: MoESettings
    """The expert layers."""
    rope: RopeSettings = RopeSettings()
    """The positions."""

    @property
    def dense_layers(self) -> tuple[int, ...]:
        """The numbers of the layers that have a plain MLP, ascending."""
        return tuple(layer for layer in range(self.num_layers) if self._is_dense(layer))

    @property
    def sparse_layers(self) -> tuple[int, ...]:
        """The numbers of the layers that have experts, ascending."""
        return tuple(layer for layer in range(self.num_layers) if not self._is_dense(layer))

    @property
    def dense_layers_come_first(self) -> bool:
        """Whether all dense layers stand before all others, as DeepSeek-V3's own configuration demands."""
        return self.dense_layers == tuple(range(len(self.dense_layers)))

    def _is_dense(self, layer: int) -> bool:
        interval = self.dense_layer_interval
        return layer < self.first_k_dense or (interval > 0 and layer % interval == 0)

    @model_validator(mode="after")
    def _parts_agree(self) -> Self:
        if self.first_k_dense > self.num_layers:
            raise ValueError(
                f"first_k_dense is {self.first_k_dense}, but num_layers is {self.num_layers}; write that or less"
            )
        yarn = self.rope.yarn
        if yarn is not None and self.max_position_embeddings > yarn.factor * yarn.original_max_position:
            raise ValueError(
                f"max_position_embeddings is {self.max_position_embeddings}, but rope.yarn.factor {yarn.factor} *"
                f" rope.yarn.original_max_position {yarn.original_max_position} reaches less; raise rope.yarn.factor"
            )
        return self
