"""Continues texts and chats with llama.cpp in this process, through llama-cpp-python."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import llama_cpp
from huggingface_hub import hf_hub_download
from llama_cpp import Llama

import settings
from cli import Message, Piece, Sampling, Tool, UsageError, main, room
from stream import Incremental


class Model:
    """A model from a GGUF file."""

    def __init__(self, name: str) -> None:
        cache: int | None = getattr(llama_cpp, settings.CACHE_TYPE) if settings.CACHE_TYPE else None
        self._llama = Llama(
            model_path=_file(name),
            n_ctx=settings.CONTEXT_TOKENS,
            n_batch=settings.BATCH_TOKENS or 512,
            n_gpu_layers=settings.GPU_LAYERS,
            n_threads=settings.THREADS,
            n_threads_batch=settings.THREADS,
            flash_attn=settings.FLASH_ATTENTION,
            type_k=cache,
            type_v=cache,
            verbose=False,
        )

    def complete(self, prompt: str, sampling: Sampling) -> Iterator[Piece]:
        """Continues a text."""
        ids = self._llama.tokenize(prompt.encode("utf-8"), add_bos=True, special=False)
        left = room(len(ids), sampling)
        self._seed(sampling)
        shown = Incremental(self._text)
        tokens = self._llama.generate(
            ids,
            temp=sampling.temperature,
            top_p=sampling.top_p,
            top_k=sampling.top_k,
            min_p=sampling.min_p,
        )
        for count, token in enumerate(tokens, start=1):
            if token == self._llama.token_eos():
                break
            yield Piece(shown.push(token), (token,))
            if count == left:
                break
        yield Piece(shown.end())

    def chat(
        self, messages: Sequence[Message], tools: Sequence[Tool], sampling: Sampling
    ) -> Iterator[Piece]:
        """Answers a conversation, by the chat template inside the file."""
        turns: list[Any] = [dict(message) for message in messages]
        offered: list[Any] = [dict(tool) for tool in tools]
        self._seed(sampling)
        try:
            chunks: Any = self._llama.create_chat_completion(
                messages=turns,
                tools=offered or None,
                temperature=sampling.temperature,
                top_p=sampling.top_p,
                top_k=sampling.top_k,
                min_p=sampling.min_p,
                max_tokens=sampling.max_tokens,
                stream=True,
            )
            for chunk in chunks:
                text: str = chunk["choices"][0]["delta"].get("content") or ""
                yield Piece(text)
        except ValueError as error:
            raise UsageError(str(error)) from error

    def _seed(self, sampling: Sampling) -> None:
        if sampling.seed is not None:
            self._llama.set_seed(sampling.seed % 2**32)

    def _text(self, ids: Sequence[int]) -> str:
        text: bytes = self._llama.detokenize(list(ids))
        return text.decode("utf-8", errors="replace")


def _file(name: str) -> str:
    """The GGUF file: on this machine, or downloaded once."""
    if Path(name).is_file():
        return name
    if settings.FILE is None or name != settings.MODEL:
        raise UsageError(f"{name}: expected a GGUF file")
    path: str = hf_hub_download(name, settings.FILE, revision=settings.REVISION)
    return path


if __name__ == "__main__":
    sys.exit(main(Model))
