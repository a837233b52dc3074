"""Continues texts and chats with a decoder in JAX."""

import os
import secrets
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import jax

import files
import sampler
import settings
from cli import Message, Piece, Sampling, Tool, main, room
from decoder import Cache, Config, Weights, forward, new_cache
from loader import load_weights, read_config
from stream import Incremental
from text import Text

# Tokens of a prompt that are computed together: forward is compiled for this many, and for one.
CHUNK = 256


class Decoder:
    """A model on its devices."""

    def __init__(self, folder: Path) -> None:
        self._text = Text(folder)
        self._config: Config = read_config(folder)
        devices = jax.devices()
        if len(devices) < settings.TENSOR_PARALLEL:
            wanted = f"{settings.TENSOR_PARALLEL} devices, found {len(devices)}"
            raise SystemExit(f"expected {wanted} ({devices[0].platform})")
        self._devices = devices[: settings.TENSOR_PARALLEL]
        self._weights: Weights = load_weights(folder, self._config, self._devices, settings.DTYPE)

    def complete(self, prompt: str, sampling: Sampling) -> Iterator[Piece]:
        """Continues a text."""
        return self._generate(self._text.encode(prompt), sampling)

    def chat(
        self, messages: Sequence[Message], tools: Sequence[Tool], sampling: Sampling
    ) -> Iterator[Piece]:
        """Answers a conversation."""
        return self._generate(self._text.encode_chat(messages, tools), sampling)

    def _generate(self, prompt: list[int], sampling: Sampling) -> Iterator[Piece]:
        left = room(len(prompt), sampling)
        # Whole chunks, so that a padded one never ends behind the cache.
        length = -(-(len(prompt) + left) // CHUNK) * CHUNK
        cache = new_cache(self._config, length, self._devices, settings.CACHE_DTYPE)
        logits, cache = self._prefill(prompt, cache)
        choice = sampler.Choice(
            sampling.temperature, sampling.top_p, sampling.top_k, sampling.min_p
        )
        seed = secrets.randbits(32) if sampling.seed is None else sampling.seed
        shown = Incremental(self._text.decode)
        key = jax.random.key(seed & 0xFFFFFFFF)
        for step in range(left):
            token = int(sampler.choose(logits, jax.random.fold_in(key, step), choice))
            if token in self._text.stop:
                break
            yield Piece(shown.push(token), (token,))
            if step + 1 < left:
                logits, cache = self._forward([token], len(prompt) + step, cache)
        yield Piece(shown.end())

    def _prefill(self, prompt: list[int], cache: Cache) -> tuple[jax.Array, Cache]:
        """The scores after the prompt, and what later tokens need of it."""
        for begin in range(0, len(prompt), CHUNK):
            part = prompt[begin : begin + CHUNK]
            # Tokens after the last one are computed and never seen: their places are written anew.
            padded = part + [0] * (CHUNK - len(part))
            logits, cache = self._forward(padded, begin, cache, last=len(part) - 1)
        return logits, cache

    def _forward(
        self, tokens: list[int], start: int, cache: Cache, *, last: int = 0
    ) -> tuple[jax.Array, Cache]:
        ids = jax.numpy.array(tokens)
        made: tuple[jax.Array, Cache] = forward(
            self._config, self._weights, cache, ids, start, last
        )
        return made


def load(model: str) -> Decoder:
    """The model's files, on the platform that the plan names unless JAX_PLATFORMS does."""
    platforms = os.environ.get("JAX_PLATFORMS") or settings.PLATFORMS
    jax.config.update("jax_platforms", platforms)
    return Decoder(files.folder(model))


if __name__ == "__main__":
    sys.exit(main(load))
