"""Mistral's own tokenizer files and chat encoding, by mistral-common."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mistral_common.protocol.instruct.request import ChatCompletionRequest
from mistral_common.tokens.tokenizers.base import SpecialTokenPolicy
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer
from mistral_common.tokens.tokenizers.utils import get_one_valid_tokenizer_file

import settings
from cli import Message, Tool, UsageError


class Text:
    """Texts and conversations as tokens, and back."""

    def __init__(self, folder: Path) -> None:
        files = [str(path) for path in sorted(folder.iterdir()) if path.is_file()]
        try:
            file = get_one_valid_tokenizer_file(files)
        except ValueError as error:
            raise UsageError(f"{folder}: expected tekken.json or tokenizer.model.v*") from error
        self._tokenizer = MistralTokenizer.from_file(file)
        self._plain = self._tokenizer.instruct_tokenizer.tokenizer
        # A call of a tool is told from an answer by its control tokens.
        keep = SpecialTokenPolicy.KEEP
        self._policy = keep if settings.TOOLS else SpecialTokenPolicy.IGNORE
        self.stop: frozenset[int] = frozenset([self._plain.eos_id])

    def encode(self, prompt: str) -> list[int]:
        """A text as it is, after the token that begins one."""
        ids: list[int] = self._plain.encode(prompt, bos=True, eos=False)
        return ids

    def encode_chat(self, messages: Sequence[Message], tools: Sequence[Tool]) -> list[int]:
        """A conversation that the model is to answer."""
        offered: list[Any] = [dict(tool) for tool in tools]
        turns: list[Any] = [dict(message) for message in messages]
        request = ChatCompletionRequest.from_openai(messages=turns, tools=offered or None)
        ids: list[int] = self._tokenizer.encode_chat_completion(request).tokens
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """The text of an answer's tokens."""
        text: str = self._plain.decode(list(ids), special_token_policy=self._policy)
        return text
