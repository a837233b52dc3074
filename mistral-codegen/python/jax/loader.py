"""A model's files as arrays: config.json and safetensors as Hugging Face has them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from safetensors import safe_open

from cli import UsageError
from decoder import Config, Layers, Weights, placed


def read_config(folder: Path) -> Config:
    """The dimensions, checked: what this decoder doesn't compute is refused by name."""
    file = folder / "config.json"
    if not file.is_file():
        raise UsageError(f"{folder}: expected config.json")
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    kind = found.get("model_type")
    if kind not in ("mistral", "mixtral"):
        raise UsageError(f"{file}: expected model_type mistral or mixtral, found {kind!r}")
    rope = found.get("rope_parameters") or found.get("rope_scaling") or {}
    scaling = rope.get("rope_type", rope.get("type", "default"))
    if scaling != "default":
        raise UsageError(f"{file}: expected unscaled positions, found rope_type {scaling!r}")
    if found.get("quantization_config"):
        raise UsageError(f"{file}: expected weights that aren't quantised")
    if found.get("hidden_act", "silu") != "silu":
        raise UsageError(f"{file}: expected hidden_act silu, found {found['hidden_act']!r}")
    heads = found["num_attention_heads"]
    return Config(
        dim=found["hidden_size"],
        layers=found["num_hidden_layers"],
        heads=heads,
        kv_heads=found.get("num_key_value_heads") or heads,
        head_dim=found.get("head_dim") or found["hidden_size"] // heads,
        hidden=found["intermediate_size"],
        vocabulary=found["vocab_size"],
        epsilon=found["rms_norm_eps"],
        theta=rope.get("rope_theta") or found.get("rope_theta") or 10000.0,
        window=found.get("sliding_window"),
        experts=found.get("num_local_experts", 0) if kind == "mixtral" else 0,
        experts_per_token=found.get("num_experts_per_tok", 0) if kind == "mixtral" else 0,
    )


class _Tensors:
    """The tensors of all files of a folder."""

    def __init__(self, folder: Path) -> None:
        paths = sorted(folder.glob("model*.safetensors"))
        if not paths:
            raise UsageError(f"{folder}: expected model*.safetensors")
        self._files = [safe_open(path, framework="np") for path in paths]
        self._of = {name: file for file in self._files for name in file.keys()}  # noqa: SIM118

    def __contains__(self, name: str) -> bool:
        return name in self._of

    def get(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        if name not in self._of:
            raise UsageError(f"expected a tensor {name}, found none")
        found: np.ndarray = self._of[name].get_tensor(name)
        if found.shape != shape:
            raise UsageError(f"{name}: expected the shape {shape}, found {found.shape}")
        return found


def load_weights(folder: Path, config: Config, devices: list[jax.Device], dtype: str) -> Weights:
    """The weights in ``dtype``, cut over the devices: heads, inner width and vocabulary."""
    tensors = _Tensors(folder)
    c = config
    queries, keys = c.heads * c.head_dim, c.kv_heads * c.head_dim
    if c.kv_heads % len(devices) or c.hidden % len(devices):
        raise UsageError(f"{len(devices)} devices can't share {c.kv_heads} key heads")

    def put(array: np.ndarray, axis: int | None) -> jax.Array:
        where = placed(devices, axis, array.ndim)
        there: jax.Array = jax.device_put(array.astype(jnp.dtype(dtype)), where)
        return there

    def stacked(name: str, shape: tuple[int, ...], axis: int | None = None) -> jax.Array:
        """One array of a tensor of every layer, put on the devices before the next is read."""
        each = [tensors.get(f"model.layers.{i}.{name}.weight", shape) for i in range(c.layers)]
        return put(np.stack(each), axis)

    def experts(name: str, shape: tuple[int, ...], axis: int) -> jax.Array:
        each = [
            np.stack([tensors.get(_expert(i, e, name), shape) for e in range(c.experts)])
            for i in range(c.layers)
        ]
        return put(np.stack(each), axis)

    ffn: Callable[[str, tuple[int, ...], int], jax.Array]
    if c.experts:
        router = stacked("block_sparse_moe.gate", (c.experts, c.dim))
        ffn, names = experts, ("w1", "w3", "w2")
    else:
        router = put(np.zeros((c.layers, 0, c.dim), np.float32), None)
        ffn, names = stacked, ("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")
    layers = Layers(
        attention_norm=stacked("input_layernorm", (c.dim,)),
        query=stacked("self_attn.q_proj", (queries, c.dim), 1),
        key=stacked("self_attn.k_proj", (keys, c.dim), 1),
        value=stacked("self_attn.v_proj", (keys, c.dim), 1),
        output=stacked("self_attn.o_proj", (c.dim, queries), 2),
        ffn_norm=stacked("post_attention_layernorm", (c.dim,)),
        router=router,
        gate=ffn(names[0], (c.hidden, c.dim), -2),
        up=ffn(names[1], (c.hidden, c.dim), -2),
        down=ffn(names[2], (c.dim, c.hidden), -1),
    )
    table = (c.vocabulary, c.dim)
    embedding = tensors.get("model.embed_tokens.weight", table)
    # A model without an output projection of its own takes the embedding.
    tied = "lm_head.weight" not in tensors
    head = embedding if tied else tensors.get("lm_head.weight", table)
    cut = None if c.vocabulary % len(devices) else 0
    norm = put(tensors.get("model.norm.weight", (c.dim,)), None)
    return Weights(put(embedding, None), layers, norm, put(head, cut))


def _expert(layer: int, expert: int, name: str) -> str:
    return f"model.layers.{layer}.block_sparse_moe.experts.{expert}.{name}.weight"
