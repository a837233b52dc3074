"""The choice of a token."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp


class Choice(NamedTuple):
    """How to choose; a temperature of 0 takes the likeliest, top_k 0 and top_p 1 keep all."""

    temperature: float
    top_p: float
    top_k: int
    min_p: float


@partial(jax.jit, static_argnames=("choice",))
def choose(scores: jax.Array, key: jax.Array, choice: Choice) -> jax.Array:
    """A token for its scores (vocabulary,)."""
    if choice.temperature == 0.0:
        return jnp.argmax(scores)
    order = jnp.argsort(-scores)
    sorted_scores = scores[order] / choice.temperature
    shares = jax.nn.softmax(sorted_scores)
    kept = jnp.ones_like(shares, dtype=bool)
    if choice.top_k:
        kept &= jnp.arange(scores.shape[0]) < choice.top_k
    if choice.top_p < 1.0:
        # The smallest set of likeliest tokens with this probability: what is before is not enough.
        rest = jnp.where(kept, shares, 0.0)
        rest = rest / jnp.sum(rest)
        kept &= jnp.cumsum(rest) - rest < choice.top_p
    if choice.min_p > 0.0:
        kept &= shares >= choice.min_p * shares[0]
    return order[jax.random.categorical(key, jnp.where(kept, sorted_scores, -jnp.inf))]
