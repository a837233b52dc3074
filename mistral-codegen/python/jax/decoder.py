"""The decoder of Mistral and Mixtral: one pass over some tokens of one sequence."""

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec


@dataclass(frozen=True)
class Config:
    """Dimensions of a model."""

    dim: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    hidden: int
    vocabulary: int
    epsilon: float
    theta: float
    window: int | None
    experts: int
    experts_per_token: int


class Layers(NamedTuple):
    """All layers' weights, the layer first; those of projections as (out, in)."""

    attention_norm: jax.Array  # (layers, dim)
    query: jax.Array  # (layers, heads x head_dim, dim)
    key: jax.Array  # (layers, kv_heads x head_dim, dim)
    value: jax.Array  # (layers, kv_heads x head_dim, dim)
    output: jax.Array  # (layers, dim, heads x head_dim)
    ffn_norm: jax.Array  # (layers, dim)
    router: jax.Array  # (layers, experts, dim); no rows in a dense model
    gate: jax.Array  # (layers, [experts,] hidden, dim)
    up: jax.Array  # (layers, [experts,] hidden, dim)
    down: jax.Array  # (layers, [experts,] dim, hidden)


class Weights(NamedTuple):
    """A model."""

    embedding: jax.Array  # (vocabulary, dim)
    layers: Layers
    norm: jax.Array  # (dim,)
    head: jax.Array  # (vocabulary, dim)


class Cache(NamedTuple):
    """Keys and values of every token so far."""

    keys: jax.Array  # (layers, length, kv_heads, head_dim)
    values: jax.Array  # (layers, length, kv_heads, head_dim)


def placed(devices: list[jax.Device], axis: int | None, rank: int) -> NamedSharding:
    """An array of ``rank`` axes, cut along one of them over the devices, or whole on each."""
    mesh = Mesh(np.array(devices), ("tp",), axis_types=(AxisType.Auto,))
    cut = [None if axis is None or i != axis % rank else "tp" for i in range(rank)]
    return NamedSharding(mesh, PartitionSpec(*cut))


def new_cache(config: Config, length: int, devices: list[jax.Device], dtype: str) -> Cache:
    """An empty cache for sequences of at most ``length`` tokens."""
    shape = (config.layers, length, config.kv_heads, config.head_dim)
    where = placed(devices, 2, len(shape))
    return Cache(jnp.zeros(shape, dtype, device=where), jnp.zeros(shape, dtype, device=where))


@partial(jax.jit, static_argnames=("config",), donate_argnames=("cache",))
def forward(
    config: Config,
    weights: Weights,
    cache: Cache,
    tokens: jax.Array,
    start: int | jax.Array,
    last: int | jax.Array,
) -> tuple[jax.Array, Cache]:
    """Scores (vocabulary,) of what follows ``tokens[last]``, in f32, and the cache with the tokens.

    The first of ``tokens`` stands at position ``start`` of the sequence.
    """
    positions = start + jnp.arange(tokens.shape[0])
    rotation = _rotation(config, positions)
    seen = _seen(config, positions, cache.keys.shape[1])
    x = weights.embedding[tokens]

    def layer(
        x: jax.Array, its: tuple[Layers, jax.Array, jax.Array]
    ) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        w, keys, values = its
        normal = _norm(x, w.attention_norm, config.epsilon)
        key = _rotate(_heads(normal, w.key, config.kv_heads), rotation)
        value = _heads(normal, w.value, config.kv_heads)
        at = (start, 0, 0)
        keys = jax.lax.dynamic_update_slice(keys, key.astype(keys.dtype), at)
        values = jax.lax.dynamic_update_slice(values, value.astype(values.dtype), at)
        query = _rotate(_heads(normal, w.query, config.heads), rotation)
        x = x + _linear(_attend(query, keys, values, seen), w.output)
        normal = _norm(x, w.ffn_norm, config.epsilon)
        return x + (_mixture if config.experts else _dense)(config, normal, w), (keys, values)

    x, (keys, values) = jax.lax.scan(layer, x, (weights.layers, cache.keys, cache.values))
    x = _norm(jax.lax.dynamic_index_in_dim(x, last, keepdims=False), weights.norm, config.epsilon)
    scores = jnp.einsum("d,vd->v", x, weights.head, preferred_element_type=jnp.float32)
    return scores, Cache(keys, values)


def _linear(x: jax.Array, weight: jax.Array) -> jax.Array:
    """(tokens, in) by (out, in); sums in f32."""
    product = jnp.einsum("ti,oi->to", x, weight, preferred_element_type=jnp.float32)
    return product.astype(x.dtype)


def _norm(x: jax.Array, weight: jax.Array, epsilon: float) -> jax.Array:
    """Root mean square layer normalisation (arXiv 1910.07467), in f32."""
    wide = x.astype(jnp.float32)
    scale = jax.lax.rsqrt(jnp.mean(wide * wide, axis=-1, keepdims=True) + epsilon)
    return (wide * scale).astype(x.dtype) * weight


def _heads(x: jax.Array, weight: jax.Array, heads: int) -> jax.Array:
    """A projection as (tokens, heads, head_dim)."""
    return _linear(x, weight).reshape(x.shape[0], heads, -1)


def _rotation(config: Config, positions: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Cosines and sines (tokens, head_dim / 2) of RoPE (arXiv 2104.09864)."""
    exponents = jnp.arange(0, config.head_dim, 2, dtype=jnp.float32) / config.head_dim
    angles = positions[:, None] / config.theta**exponents
    return jnp.cos(angles), jnp.sin(angles)


def _rotate(x: jax.Array, rotation: tuple[jax.Array, jax.Array]) -> jax.Array:
    """Rotates pairs (i, i + head_dim / 2), as Hugging Face's files have them, in f32."""
    cos, sin = (part[:, None, :] for part in rotation)
    first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    rotated = (first * cos - second * sin, second * cos + first * sin)
    return jnp.concatenate(rotated, axis=-1).astype(x.dtype)


def _seen(config: Config, positions: jax.Array, length: int) -> jax.Array:
    """Which of the cache's places each token attends to: (tokens, length)."""
    distance = positions[:, None] - jnp.arange(length)[None, :]
    seen = distance >= 0
    return seen if config.window is None else seen & (distance < config.window)


def _attend(query: jax.Array, keys: jax.Array, values: jax.Array, seen: jax.Array) -> jax.Array:
    """Grouped-query attention (arXiv 2305.13245) of (tokens, heads, head_dim), softmax in f32."""
    tokens, heads, width = query.shape
    groups = query.reshape(tokens, keys.shape[1], -1, width)
    scores = jnp.einsum("tkgd,skd->kgts", groups, keys, preferred_element_type=jnp.float32)
    scores = jnp.where(seen, scores * width**-0.5, -jnp.inf)
    shares = jax.nn.softmax(scores, axis=-1).astype(values.dtype)
    mixed = jnp.einsum("kgts,skd->tkgd", shares, values, preferred_element_type=jnp.float32)
    return mixed.reshape(tokens, heads * width).astype(query.dtype)


def _swiglu(x: jax.Array, gate: jax.Array, up: jax.Array, down: jax.Array) -> jax.Array:
    """SwiGLU (arXiv 2002.05202)."""
    return _linear(jax.nn.silu(_linear(x, gate)) * _linear(x, up), down)


def _dense(config: Config, x: jax.Array, w: Layers) -> jax.Array:
    return _swiglu(x, w.gate, w.up, w.down)


def _mixture(config: Config, x: jax.Array, w: Layers) -> jax.Array:
    """The experts of a layer (arXiv 2401.04088); ties go to the lower one, weights are f32."""
    logits = jnp.einsum("ti,ei->te", x, w.router, preferred_element_type=jnp.float32)
    best, chosen = jax.lax.top_k(logits, config.experts_per_token)
    shares = jax.nn.softmax(best, axis=-1)
    if x.shape[0] == 1:
        # One token reads the weights of its experts and no others.
        outputs = jax.vmap(_swiglu, in_axes=(None, 0, 0, 0))(
            x, w.gate[chosen[0]], w.up[chosen[0]], w.down[chosen[0]]
        )
        return jnp.einsum("e,eti->ti", shares[0], outputs.astype(jnp.float32)).astype(x.dtype)
    # Among many tokens most experts are chosen by some: each sees all, with a share that may be 0.
    rows = jnp.arange(x.shape[0])[:, None]
    share = jnp.zeros_like(logits).at[rows, chosen].set(shares)

    def expert(
        total: jax.Array, its: tuple[jax.Array, jax.Array, jax.Array, jax.Array]
    ) -> tuple[jax.Array, None]:
        part, gate, up, down = its
        return total + part[:, None] * _swiglu(x, gate, up, down).astype(jnp.float32), None

    total = jnp.zeros(x.shape, jnp.float32)
    total, _ = jax.lax.scan(expert, total, (share.T, w.gate, w.up, w.down))
    return total.astype(x.dtype)
