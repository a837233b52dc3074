"""Continues texts and chats with transformers."""

import sys
from collections.abc import Iterator, Sequence
from queue import SimpleQueue
from threading import Thread
from typing import Any

import torch
from transformers import AutoModelForCausalLM, GenerationConfig, set_seed
from transformers.generation.streamers import BaseStreamer

import files
import settings
from cli import Message, Piece, Sampling, Tool, UsageError, main, room
from stream import Incremental
from text import Text


class Tokens(BaseStreamer):
    """Hands each token from the thread that makes it to the one that shows it."""

    def __init__(self) -> None:
        self.queue: SimpleQueue[int | BaseException | None] = SimpleQueue()
        self._prompt = True

    def put(self, value: torch.Tensor) -> None:
        """Takes the prompt first, then token after token."""
        if not self._prompt:
            for token in value.flatten().tolist():
                self.queue.put(int(token))
        self._prompt = False

    def end(self) -> None:
        """Nothing more comes."""
        self.queue.put(None)


class Model:
    """A model on its devices."""

    def __init__(self, name: str) -> None:
        folder = files.folder(name)
        self._text = Text(folder)
        if settings.THREADS is not None:
            torch.set_num_threads(settings.THREADS)
        # The library's annotations of generate don't accept the class that it returns here.
        self._model: Any = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=getattr(torch, settings.DTYPE),
            device_map=settings.DEVICE_MAP,
            local_files_only=True,
        )
        self._model.eval()
        # Otherwise the repository's own sampling stands in for what the plan leaves out.
        self._model.generation_config = GenerationConfig()

    def complete(self, prompt: str, sampling: Sampling) -> Iterator[Piece]:
        """Continues a text."""
        return self._generate(self._text.encode(prompt), sampling)

    def chat(
        self, messages: Sequence[Message], tools: Sequence[Tool], sampling: Sampling
    ) -> Iterator[Piece]:
        """Answers a conversation."""
        return self._generate(self._text.encode_chat(messages, tools), sampling)

    def _generate(self, prompt: list[int], sampling: Sampling) -> Iterator[Piece]:
        config = _generation(sampling, room(len(prompt), sampling), self._text.stop)
        if sampling.seed is not None:
            set_seed(sampling.seed % 2**32)
        ids = torch.tensor([prompt], device=self._model.device)
        tokens = Tokens()

        def run() -> None:
            try:
                self._model.generate(
                    inputs=ids,
                    attention_mask=torch.ones_like(ids),
                    generation_config=config,
                    streamer=tokens,
                )
            except BaseException as error:  # noqa: BLE001
                tokens.queue.put(error)

        worker = Thread(target=run, daemon=True)
        worker.start()
        shown = Incremental(self._text.decode)
        while (token := tokens.queue.get()) is not None:
            if isinstance(token, BaseException):
                raise UsageError(f"generating failed: {token}") from token
            if token not in self._text.stop:
                yield Piece(shown.push(token), (token,))
        # The library's own threads must have ended before the interpreter does.
        worker.join()
        yield Piece(shown.end())


def _generation(sampling: Sampling, longest: int, stop: frozenset[int]) -> GenerationConfig:
    """The plan's sampling, and nothing of the repository's own."""
    ends = sorted(stop) or None
    if sampling.temperature == 0.0:
        return GenerationConfig(
            do_sample=False, max_new_tokens=longest, eos_token_id=ends, pad_token_id=0
        )
    return GenerationConfig(
        do_sample=True,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        top_k=sampling.top_k,
        min_p=sampling.min_p or None,
        max_new_tokens=longest,
        eos_token_id=ends,
        pad_token_id=0,
    )


if __name__ == "__main__":
    sys.exit(main(Model))
