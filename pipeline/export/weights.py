"""The weights under the names that transformers, vLLM and SGLang read, in safetensors files of bounded size."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

SHARED_WITH_MTP = {"embed_tokens.weight": "embed_tokens.weight", "lm_head.weight": "shared_head.head.weight"}
INDEX = "model.safetensors.index.json"


def transformers_tensors(state: Mapping[str, Tensor], num_layers: int) -> dict[str, Tensor]:
    """A model's state under transformers' names, as views: experts one by one, MTP modules as further layers.

    As DeepSeek-V3 is published, each MTP module stands at `model.layers.{num_layers + depth}` and holds copies of the
    embedding and the output head, which engines that load it as a model of its own need.
    """
    found: dict[str, Tensor] = {}
    for name, tensor in state.items():
        for new_name, part in _split_experts(_rename(name, num_layers), tensor):
            found[new_name] = part
    depths = {name.split(".")[1] for name in state if name.startswith("mtp.")}
    for depth in sorted(depths, key=int):
        for name, copy in SHARED_WITH_MTP.items():
            found[f"model.layers.{num_layers + int(depth)}.{copy}"] = state[name]
    return found


def stored_dtype(name: str, dtype: torch.dtype) -> torch.dtype:
    """A tensor's precision on disk: router biases keep their own, a near-tie decides by them."""
    return torch.float32 if name.endswith("e_score_correction_bias") else dtype


@torch.no_grad()
def round_weights(state: Mapping[str, Tensor], dtype: torch.dtype) -> None:
    """Round a model's weights in place to what the disk will hold of them."""
    for name, tensor in state.items():
        tensor.copy_(tensor.to(stored_dtype(name, dtype)))


def write_weights(folder: Path, tensors: Mapping[str, Tensor], dtype: torch.dtype, max_shard_bytes: int) -> list[str]:
    """Write safetensors files, and their index where there are several. Returns the files' names."""
    shards = plan_shards(
        {name: _stored_bytes(name, tensor, dtype) for name, tensor in tensors.items()}, max_shard_bytes
    )
    files = _file_names(len(shards))
    for file, names in zip(files, shards, strict=True):
        # Copies, because safetensors refuses views and shared memory; a shard at a time.
        stored = {
            name: tensors[name].to(stored_dtype(name, dtype), memory_format=torch.contiguous_format, copy=True)
            for name in names
        }
        save_file(stored, folder / file, metadata={"format": "pt"})
    if len(files) > 1:
        total = sum(_stored_bytes(name, tensor, dtype) for name, tensor in tensors.items())
        where = {name: file for file, names in zip(files, shards, strict=True) for name in names}
        index = {"metadata": {"total_size": total}, "weight_map": where}
        (folder / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
    return files


def plan_shards(sizes: Mapping[str, int], max_shard_bytes: int) -> list[list[str]]:
    """Put tensors into files in their order; a tensor above the limit gets a file of its own."""
    shards: list[list[str]] = [[]]
    filled = 0
    for name, size in sizes.items():
        if shards[-1] and filled + size > max_shard_bytes:
            shards.append([])
            filled = 0
        shards[-1].append(name)
        filled += size
    return shards


def _file_names(count: int) -> list[str]:
    if count == 1:
        return ["model.safetensors"]
    return [f"model-{number:05d}-of-{count:05d}.safetensors" for number in range(1, count + 1)]


def _stored_bytes(name: str, tensor: Tensor, dtype: torch.dtype) -> int:
    return tensor.numel() * stored_dtype(name, dtype).itemsize


def _rename(name: str, num_layers: int) -> str:
    if name.startswith("lm_head."):
        return name
    if not name.startswith("mtp."):
        return f"model.{name}"
    _, depth, rest = name.split(".", 2)
    layer = f"model.layers.{num_layers + int(depth)}"
    if rest.startswith("norm."):
        return f"{layer}.shared_head.{rest}"
    return f"{layer}.{rest.removeprefix('block.')}"


def _split_experts(name: str, tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
    layer, _, kind = name.partition(".experts.")
    if not kind:
        yield name, tensor
        return
    for number, expert in enumerate(tensor):
        if kind == "gate_up_proj":
            gate, up = expert.chunk(2)
            yield f"{layer}.experts.{number}.gate_proj.weight", gate
            yield f"{layer}.experts.{number}.up_proj.weight", up
        else:
            yield f"{layer}.experts.{number}.{kind}.weight", expert
