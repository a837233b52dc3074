"""tokenizer.json and the chat template beside it."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from jinja2 import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import Tokenizer

import settings
from cli import Message, Tool, UsageError


class Text:
    """Texts and conversations as tokens, and back."""

    def __init__(self, folder: Path) -> None:
        file = folder / "tokenizer.json"
        if not file.is_file():
            raise UsageError(f"{folder}: expected tokenizer.json")
        self._tokenizer: Tokenizer = Tokenizer.from_file(str(file))
        self._config = _read(folder / "tokenizer_config.json")
        template = folder / "chat_template.jinja"
        self._template: object = self._config.get("chat_template")
        if template.is_file():
            self._template = template.read_text(encoding="utf-8")
        self.stop: frozenset[int] = _stop(folder)

    def encode(self, prompt: str) -> list[int]:
        """A text as it is, after the token that begins one."""
        ids: list[int] = self._tokenizer.encode(prompt).ids
        begin = self._tokenizer.token_to_id(self._special("bos_token"))
        if self._config.get("add_bos_token") and begin is not None and ids[:1] != [begin]:
            ids = [begin, *ids]
        return ids

    def encode_chat(self, messages: Sequence[Message], tools: Sequence[Tool]) -> list[int]:
        """A conversation that the model is to answer."""
        if not isinstance(self._template, str):
            raise UsageError("this model has no chat template: use --prompt")
        # What transformers gives a template, no more: it comes from the model's repository.
        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
        environment.globals["raise_exception"] = _refuse
        try:
            text = environment.from_string(self._template).render(
                messages=list(messages),
                tools=list(tools) or None,
                add_generation_prompt=True,
                bos_token=self._special("bos_token"),
                eos_token=self._special("eos_token"),
            )
        except TemplateError as error:
            raise UsageError(f"the chat template refuses this conversation: {error}") from error
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """The text of an answer's tokens."""
        skip = not settings.TOOLS
        text: str = self._tokenizer.decode(list(ids), skip_special_tokens=skip)
        return text

    def _special(self, name: str) -> str:
        token = self._config.get(name)
        return str(token.get("content", "")) if isinstance(token, dict) else str(token or "")


def _refuse(message: str) -> NoReturn:
    raise TemplateError(message)


def _read(file: Path) -> dict[str, Any]:
    if not file.is_file():
        return {}
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UsageError(f"{file}: {error}") from error
    return found if isinstance(found, dict) else {}


def _stop(folder: Path) -> frozenset[int]:
    """The tokens that end an answer."""
    for name in ("generation_config.json", "config.json"):
        ids = _read(folder / name).get("eos_token_id")
        if isinstance(ids, int):
            return frozenset([ids])
        if isinstance(ids, list):
            return frozenset(ids)
    return frozenset()
