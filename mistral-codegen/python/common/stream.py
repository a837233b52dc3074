"""Text from tokens that come one by one."""

from collections.abc import Callable, Sequence


class Incremental:
    """Shows text as soon as no later token can change it.

    Each step decodes a few tokens only: those of the text shown last, and those after them.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str]) -> None:
        self._decode = decode
        self._ids: list[int] = []
        self._context = 0
        self._shown = 0

    def push(self, token: int) -> str:
        """The text that this token completes; empty in the middle of a character."""
        self._ids.append(token)
        text = self._rest()
        if not text or text.endswith("\ufffd"):
            return ""
        self._context, self._shown = self._shown, len(self._ids)
        return text

    def end(self) -> str:
        """What is left at the end, whole or not."""
        text = self._rest()
        self._context = self._shown = len(self._ids)
        return text

    def _rest(self) -> str:
        old = self._decode(self._ids[self._context : self._shown])
        new = self._decode(self._ids[self._context :])
        return new[len(old) :]
