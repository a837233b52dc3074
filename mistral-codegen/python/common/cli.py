"""The command line: one text, one chat message, or a conversation."""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypedDict

import settings

Tool = dict[str, object]


class Message(TypedDict):
    """One turn of a conversation."""

    role: str
    content: str


@dataclass(frozen=True)
class Sampling:
    """How tokens are chosen; a temperature of 0 takes the likeliest."""

    temperature: float
    top_p: float
    top_k: int
    min_p: float
    seed: int | None
    max_tokens: int | None


@dataclass(frozen=True)
class Piece:
    """What an engine has made: some text, some tokens, either of which may be empty."""

    text: str
    ids: tuple[int, ...] = ()


class Engine(Protocol):
    """A loaded model."""

    def complete(self, prompt: str, sampling: Sampling) -> Iterator[Piece]:
        """Continues a text as it is, without a chat's markup."""
        ...

    def chat(
        self, messages: Sequence[Message], tools: Sequence[Tool], sampling: Sampling
    ) -> Iterator[Piece]:
        """Answers a conversation."""
        ...


class UsageError(Exception):
    """Something that the user can put right."""


def room(prompt_tokens: int, sampling: Sampling) -> int:
    """Tokens that an answer may have: what was asked for, and what the context leaves."""
    left = settings.CONTEXT_TOKENS - prompt_tokens
    if left < 1:
        raise UsageError(
            f"the prompt has {prompt_tokens} tokens and the context {settings.CONTEXT_TOKENS}: "
            "nothing is left for an answer"
        )
    return left if sampling.max_tokens is None else min(left, sampling.max_tokens)


def main(load: Callable[[str], Engine]) -> int:
    """Runs the program; ``load`` gets the repository or path of the model."""
    arguments = _parser().parse_args()
    try:
        sampling = _sampling(arguments)
        tools = _tools(arguments)
        engine = load(arguments.model)
        if arguments.prompt is not None:
            _show(engine.complete(arguments.prompt, sampling), as_json=arguments.json)
            return 0
        messages = _opening(arguments)
        if arguments.chat is not None:
            messages.append(Message(role="user", content=arguments.chat))
            _show(engine.chat(messages, tools, sampling), as_json=arguments.json)
            return 0
        for line in _lines():
            messages.append(Message(role="user", content=line))
            answer = _show(engine.chat(messages, tools, sampling), as_json=arguments.json)
            messages.append(Message(role="assistant", content=answer))
    except UsageError as error:
        print(f"{Path(sys.argv[0]).name}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Continues a text or chats. Without --prompt and --chat, each line of the "
        "standard input is a message of one conversation.",
        allow_abbrev=False,
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--prompt", metavar="TEXT", help="a text to continue as it is")
    what.add_argument("--chat", metavar="TEXT", help="one message to answer")
    parser.add_argument("--system", metavar="TEXT", help="what a chat's model is told first")
    if settings.TOOLS:
        parser.add_argument(
            "--tools", metavar="FILE", type=Path, help="a JSON list of functions to offer in chats"
        )
    parser.add_argument("--model", metavar="NAME", default=settings.MODEL, help="another model")
    parser.add_argument(
        "--max-tokens", metavar="N", type=int, default=settings.MAX_OUTPUT_TOKENS, help="longest"
    )
    parser.add_argument(
        "--temperature", metavar="T", type=float, default=settings.TEMPERATURE, help="0 is greedy"
    )
    parser.add_argument("--seed", metavar="N", type=int, default=settings.SEED)
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object an answer, with its tokens"
    )
    return parser


def _sampling(arguments: argparse.Namespace) -> Sampling:
    if not 0.0 <= arguments.temperature <= 2.0:
        raise UsageError(f"--temperature expects 0 to 2, found {arguments.temperature}")
    if arguments.max_tokens is not None and arguments.max_tokens < 1:
        raise UsageError(f"--max-tokens expects at least 1, found {arguments.max_tokens}")
    if arguments.seed is not None and not 0 <= arguments.seed < 2**64:
        raise UsageError(f"--seed expects 0 to 2^64 - 1, found {arguments.seed}")
    return Sampling(
        temperature=arguments.temperature,
        top_p=settings.TOP_P,
        top_k=settings.TOP_K,
        min_p=settings.MIN_P,
        seed=arguments.seed,
        max_tokens=arguments.max_tokens,
    )


def _tools(arguments: argparse.Namespace) -> list[Tool]:
    path: Path | None = getattr(arguments, "tools", None)
    if path is None:
        return []
    try:
        tools = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: {error}") from error
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        raise UsageError(f"{path}: expected a list of functions as the OpenAI interface has them")
    return tools


def _opening(arguments: argparse.Namespace) -> list[Message]:
    if arguments.system is None:
        return []
    return [Message(role="system", content=arguments.system)]


def _lines() -> Iterator[str]:
    """Messages from the standard input, with a mark before each when a person types them."""
    typed = sys.stdin.isatty()
    while True:
        if typed:
            print("> ", end="", file=sys.stderr, flush=True)
        line = sys.stdin.readline()
        if not line:
            return
        if line.strip():
            yield line.rstrip("\r\n")


def _show(pieces: Iterator[Piece], *, as_json: bool) -> str:
    """Prints an answer as it comes, or all of it as JSON; returns its text."""
    start = time.monotonic()
    text: list[str] = []
    ids: list[int] = []
    for piece in pieces:
        text.append(piece.text)
        ids.extend(piece.ids)
        if not as_json:
            print(piece.text, end="", flush=True)
    whole = "".join(text)
    if as_json:
        seconds = round(time.monotonic() - start, 3)
        print(json.dumps({"text": whole, "token_ids": ids, "seconds": seconds}), flush=True)
    else:
        print(flush=True)
    return whole
