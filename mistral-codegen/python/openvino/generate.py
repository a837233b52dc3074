"""Continues texts and chats with OpenVINO GenAI."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any

import openvino_genai as genai

import settings
from cli import Message, Piece, Sampling, Tool, UsageError, main, room


class Model:
    """A model that was converted to OpenVINO's form."""

    def __init__(self, name: str) -> None:
        if not (Path(name) / "openvino_model.xml").is_file():
            raise UsageError(f"{name}: expected a folder with openvino_model.xml (see README.md)")
        properties: dict[str, Any] = {}
        if settings.THREADS is not None:
            properties["INFERENCE_NUM_THREADS"] = settings.THREADS
        if settings.CACHE_PRECISION is not None:
            properties["KV_CACHE_PRECISION"] = settings.CACHE_PRECISION
        if settings.DTYPE is not None:
            properties["INFERENCE_PRECISION_HINT"] = settings.DTYPE
        self._pipeline = genai.LLMPipeline(name, settings.DEVICE, **properties)
        self._tokenizer = self._pipeline.get_tokenizer()

    def complete(self, prompt: str, sampling: Sampling) -> Iterator[Piece]:
        """Continues a text."""
        return self._generate(prompt, sampling, special=True)

    def chat(
        self, messages: Sequence[Message], tools: Sequence[Tool], sampling: Sampling
    ) -> Iterator[Piece]:
        """Answers a conversation, by the chat template that was converted with the model."""
        history = genai.ChatHistory([dict(message) for message in messages])
        if tools:
            history.set_tools([dict(tool) for tool in tools])
        text = self._tokenizer.apply_chat_template(history, add_generation_prompt=True)
        return self._generate(text, sampling, special=False)

    def _generate(self, text: str, sampling: Sampling, *, special: bool) -> Iterator[Piece]:
        tokens = self._tokenizer.encode(text, add_special_tokens=special)
        left = room(tokens.input_ids.shape[1], sampling)
        config = _generation(sampling, left)
        pieces: SimpleQueue[str | BaseException | None] = SimpleQueue()

        def show(text: str) -> genai.StreamingStatus:
            pieces.put(text)
            return genai.StreamingStatus.RUNNING

        def run() -> None:
            try:
                self._pipeline.generate(tokens, config, show)
                pieces.put(None)
            except BaseException as error:  # noqa: BLE001
                pieces.put(error)

        worker = Thread(target=run, daemon=True)
        worker.start()
        while (piece := pieces.get()) is not None:
            if isinstance(piece, BaseException):
                raise UsageError(f"generating failed: {piece}") from piece
            yield Piece(piece)
        # The library's own threads must have ended before the interpreter does.
        worker.join()


def _generation(sampling: Sampling, longest: int) -> genai.GenerationConfig:
    """The plan's sampling."""
    greedy = sampling.temperature == 0.0
    values: dict[str, Any] = {"max_new_tokens": longest, "do_sample": not greedy}
    if not greedy:
        values |= {"temperature": sampling.temperature, "top_p": sampling.top_p}
        if sampling.top_k:
            values["top_k"] = sampling.top_k
        if sampling.min_p:
            values["min_p"] = sampling.min_p
        if sampling.seed is not None:
            values["rng_seed"] = sampling.seed
    return genai.GenerationConfig(**values)


if __name__ == "__main__":
    sys.exit(main(Model))
