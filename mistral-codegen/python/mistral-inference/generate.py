"""Continues texts and chats with mistral-inference, Mistral's own reference implementation."""

import sys
from collections.abc import Iterator, Sequence

import torch
from mistral_inference.cache import BufferCache
from mistral_inference.transformer import Transformer

import files
import settings
from cli import Message, Piece, Sampling, Tool, UsageError, main, room
from stream import Incremental
from text import Text


class Model:
    """A model on one device."""

    def __init__(self, name: str) -> None:
        folder = files.folder(name)
        for wanted in ("params.json", "consolidated.safetensors"):
            if not (folder / wanted).is_file():
                raise UsageError(f"{folder}: expected {wanted}, Mistral's own form of a model")
        self._text = Text(folder)
        self._model = Transformer.from_folder(
            folder,
            max_batch_size=1,
            device=settings.DEVICE,
            dtype=getattr(torch, settings.DTYPE),
        )
        self._model.eval()

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
        cache = self._cache(len(prompt) + left)
        random = torch.Generator(device=settings.DEVICE)
        if sampling.seed is None:
            random.seed()
        else:
            random.manual_seed(sampling.seed % 2**63)
        shown = Incremental(self._text.decode)
        scores = self._forward(prompt, cache)
        for step in range(left):
            token = choose(scores, sampling, random)
            if token in self._text.stop:
                break
            yield Piece(shown.push(token), (token,))
            if step + 1 < left:
                scores = self._forward([token], cache)
        yield Piece(shown.end())

    def _cache(self, length: int) -> BufferCache:
        """Keys and values of one sequence."""
        shape = self._model.args
        cache = BufferCache(
            self._model.n_local_layers,
            1,
            length,
            shape.n_kv_heads,
            shape.head_dim,
            shape.sliding_window,
        )
        cache.to(device=self._model.device, dtype=self._model.dtype)
        cache.reset()
        return cache

    def _forward(self, tokens: list[int], cache: BufferCache) -> torch.Tensor:
        """The scores of what follows the last token."""
        ids = torch.tensor(tokens, device=self._model.device, dtype=torch.long)
        with torch.inference_mode():
            scores: torch.Tensor = self._model.forward(ids, seqlens=[len(tokens)], cache=cache)
        return scores[-1]


def choose(scores: torch.Tensor, sampling: Sampling, random: torch.Generator) -> int:
    """A token for its scores (vocabulary,), by the plan's sampling."""
    if sampling.temperature == 0.0:
        return int(scores.argmax().item())
    ordered, order = torch.sort(scores / sampling.temperature, descending=True)
    shares = torch.softmax(ordered, dim=-1)
    kept = torch.ones_like(shares, dtype=torch.bool)
    if sampling.top_k:
        kept[sampling.top_k :] = False
    if sampling.top_p < 1.0:
        # The smallest set of likeliest tokens with this probability: what is before is not enough.
        rest = shares * kept
        rest = rest / rest.sum()
        kept &= rest.cumsum(dim=-1) - rest < sampling.top_p
    kept &= shares >= sampling.min_p * shares[0]
    return int(order[torch.multinomial(shares * kept, 1, generator=random)].item())


if __name__ == "__main__":
    sys.exit(main(Model))
