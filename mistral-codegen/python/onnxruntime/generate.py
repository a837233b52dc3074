"""Continues texts and chats with ONNX Runtime's generate() API."""

import importlib
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import settings
from cli import Message, Piece, Sampling, Tool, UsageError, main, room

# The library is compiled and describes no types.
og: Any = importlib.import_module("onnxruntime_genai")


class Model:
    """A model that was built for ONNX Runtime."""

    def __init__(self, name: str) -> None:
        if not (Path(name) / "genai_config.json").is_file():
            raise UsageError(f"{name}: expected a folder with genai_config.json (see README.md)")
        config = og.Config(name)
        config.clear_providers()
        if settings.PROVIDER != "cpu":
            config.append_provider(settings.PROVIDER)
        elif settings.THREADS is not None:
            options = {"intra_op_num_threads": settings.THREADS}
            config.overlay(json.dumps({"model": {"decoder": {"session_options": options}}}))
        self._model = og.Model(config)
        self._tokenizer = og.Tokenizer(self._model)

    def complete(self, prompt: str, sampling: Sampling) -> Iterator[Piece]:
        """Continues a text."""
        ids = self._ids(prompt)
        # The library's tokenizer leaves out the token that begins a text for some models.
        begin = int(self._tokenizer.bos_token_id)
        return self._generate(ids if ids[:1] == [begin] else [begin, *ids], sampling)

    def chat(
        self, messages: Sequence[Message], tools: Sequence[Tool], sampling: Sampling
    ) -> Iterator[Piece]:
        """Answers a conversation, by the chat template that was copied with the model."""
        turns = json.dumps([dict(message) for message in messages])
        offered = json.dumps(list(tools)) if tools else ""
        text = self._tokenizer.apply_chat_template(turns, tools=offered, add_generation_prompt=True)
        return self._generate(self._ids(text), sampling)

    def _ids(self, text: str) -> list[int]:
        return [int(token) for token in self._tokenizer.encode(text)]

    def _generate(self, ids: list[int], sampling: Sampling) -> Iterator[Piece]:
        left = room(len(ids), sampling)
        parameters = og.GeneratorParams(self._model)
        parameters.set_search_options(**_search(sampling, len(ids) + left))
        generator = og.Generator(self._model, parameters)
        generator.append_tokens(ids)
        stream = self._tokenizer.create_stream()
        ends = set(self._tokenizer.eos_token_ids)
        while not generator.is_done():
            generator.generate_next_token()
            token = int(generator.get_next_tokens()[0])
            if token in ends:
                break
            yield Piece(stream.decode(token), (token,))


def _search(sampling: Sampling, longest: int) -> dict[str, bool | int | float]:
    """The plan's sampling, and the whole length."""
    greedy = sampling.temperature == 0.0
    options: dict[str, bool | int | float] = {"max_length": longest, "do_sample": not greedy}
    if not greedy:
        options |= {"temperature": sampling.temperature, "top_p": sampling.top_p}
        options["top_k"] = sampling.top_k
    if sampling.seed is not None:
        options["random_seed"] = sampling.seed % 2**31
    return options


if __name__ == "__main__":
    sys.exit(main(Model))
