"""A client of Mistral's API and of servers that speak as it does.

It is written on httpx and not on Mistral's SDK: the limit of costs has to stand before every
request, retries included, and the same client has to reach any compatible server.
"""

from __future__ import annotations

import json
import math
import os
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Literal, NotRequired, TypedDict

import httpx

CONNECT_S = 10.0
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0
# Longest pause that a server may ask for.
MOST_PAUSE_S = 120.0
MAY_HELP = frozenset({408, 429, 500, 502, 503, 504})
# Bytes of an answer, and of one event of a stream.
LONGEST_ANSWER = 32 << 20
LONGEST_EVENT = 4 << 20
SHOWN = 500


class FunctionCall(TypedDict):
    """A function's name and arguments: an object, or a text that holds one."""

    name: str
    arguments: dict[str, Any] | str


class ToolCall(TypedDict):
    """A call of a function."""

    id: NotRequired[str]
    type: NotRequired[Literal["function"]]
    function: FunctionCall
    index: NotRequired[int]


class Message(TypedDict):
    """A turn of a conversation."""

    role: Literal["system", "user", "assistant", "tool"]
    content: NotRequired[str | list[dict[str, Any]] | None]
    tool_calls: NotRequired[list[ToolCall] | None]
    tool_call_id: NotRequired[str]
    name: NotRequired[str]


class Function(TypedDict):
    """A function that the model may call, with the JSON schema of its parameters."""

    name: str
    description: str
    parameters: dict[str, Any]


class Tool(TypedDict):
    """What a model may use."""

    type: Literal["function"]
    function: Function


class JsonSchema(TypedDict):
    """A named schema."""

    name: str
    schema: dict[str, Any]
    strict: bool


class ResponseFormat(TypedDict):
    """The form of an answer."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: NotRequired[JsonSchema]


class Usage(TypedDict):
    """Tokens of a request."""

    prompt_tokens: int
    completion_tokens: int


class ChatRequest(TypedDict):
    """A request of `/v1/chat/completions`, as the API's OpenAPI document has it."""

    model: str
    messages: list[Message]
    temperature: NotRequired[float]
    top_p: NotRequired[float]
    max_tokens: NotRequired[int]
    stop: NotRequired[list[str]]
    random_seed: NotRequired[int]
    seed: NotRequired[int]
    tools: NotRequired[list[Tool]]
    tool_choice: NotRequired[Literal["auto", "none", "any", "required"]]
    response_format: NotRequired[ResponseFormat]
    stream: NotRequired[bool]
    stream_options: NotRequired[dict[str, bool]]


class ClientError(Exception):
    """Why there is no answer."""


class SettingError(ClientError):
    """A setting that can't be used."""


class OverBudgetError(ClientError):
    """The request could cost more than what is left."""


class CutError(ClientError):
    """A stream that ended before its end was said. What came before was handed on."""


@dataclass(frozen=True)
class Defaults:
    """What the plan decided."""

    model: str
    base_url: str
    dialect: str
    key_variable: str | None
    max_tokens: int
    temperature: float
    top_p: float
    seed: int | None
    usd_per_mtok_in: float
    usd_per_mtok_out: float
    usd_limit: float

    @staticmethod
    def read(path: Path | None = None) -> Defaults:
        """The values beside this file."""
        path = path or Path(__file__).with_name("defaults.json")
        return Defaults(**json.loads(path.read_text(encoding="utf-8")))


@dataclass(frozen=True)
class Settings:
    """Where requests go and what they may take."""

    base_url: str
    key: str | None = field(repr=False)
    dialect: Literal["mistral", "openai"]
    limit_usd: float
    timeout_s: float
    retries: int

    @staticmethod
    def from_variables(defaults: Defaults, variables: Mapping[str, str] = os.environ) -> Settings:
        """Settings from the environment, the plan's where there are none."""
        key = None
        if defaults.key_variable is not None:
            key = variables.get(defaults.key_variable, "")
            if not key or not all("!" <= c <= "~" for c in key):
                raise SettingError(f"{defaults.key_variable}: expected the key, without spaces")
        url = variables.get("MISTRAL_BASE_URL") or defaults.base_url
        if not url.startswith(("https://", "http://")):
            raise SettingError("MISTRAL_BASE_URL: expected https:// or http://")
        dialect = variables.get("MISTRAL_DIALECT") or defaults.dialect
        if dialect not in ("mistral", "openai"):
            raise SettingError("MISTRAL_DIALECT: expected mistral or openai")

        def number(name: str, otherwise: float) -> float:
            try:
                value = float(variables.get(name) or otherwise)
            except ValueError:
                value = math.nan
            if not 0 <= value <= 1e9:
                raise SettingError(f"{name}: expected a number from 0 to 1e9")
            return value

        return Settings(
            base_url=url.rstrip("/"),
            key=key,
            dialect="mistral" if dialect == "mistral" else "openai",
            limit_usd=number("MISTRAL_USD_LIMIT", defaults.usd_limit),
            timeout_s=max(number("MISTRAL_TIMEOUT_S", 300), 0.001),
            retries=int(number("MISTRAL_RETRIES", 4)),
        )


class CostGuard:
    """Counts tokens times price, and lets no request start that could pass the limit.

    A request reserves the most that it could cost, its prompt counted as a token a byte, and gives
    back what it didn't use. One whose end isn't known counts as a whole.
    """

    def __init__(self, limit_usd: float, usd_per_mtok_in: float, usd_per_mtok_out: float) -> None:
        """A guard with a limit in dollars and prices in dollars a million tokens."""
        self.limit_usd = limit_usd
        self.spent_usd = 0.0
        self.prompt_tokens = 0
        self.completion_tokens = 0
        self._prices = (usd_per_mtok_in, usd_per_mtok_out)
        self._reserved = 0.0
        self._lock = threading.Lock()

    def usd(self, prompt_tokens: int, completion_tokens: int) -> float:
        """Dollars for these tokens; cached ones count in full."""
        return (prompt_tokens * self._prices[0] + completion_tokens * self._prices[1]) / 1e6

    def reserve(self, request_bytes: int, max_tokens: int) -> float:
        """Sets aside what a request could cost, in dollars."""
        usd = self.usd(request_bytes, max_tokens)
        with self._lock:
            taken = self.spent_usd + self._reserved
            if taken + usd > self.limit_usd:
                raise OverBudgetError(
                    f"the limit of {self.limit_usd} USD would be passed: {taken:.6f} USD are spent "
                    f"or reserved, and this request may cost {usd:.6f} USD"
                )
            self._reserved += usd
        return usd

    def settle(self, reserved: float, usage: Usage | None) -> None:
        """Ends a reservation: it cost what was used, or all of it where that isn't known."""
        with self._lock:
            self._reserved -= reserved
            if usage is None:
                self.spent_usd += reserved
                return
            prompt, answer = usage["prompt_tokens"], usage["completion_tokens"]
            self.spent_usd += self.usd(prompt, answer)
            self.prompt_tokens += prompt
            self.completion_tokens += answer

    def release(self, reserved: float) -> None:
        """Ends the reservation of a request that was refused: it cost nothing."""
        with self._lock:
            self._reserved -= reserved


def text_of(message: Message) -> str:
    """The text of a message, thoughts left out."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    return "".join(c.get("text", "") for c in content or [] if c.get("type") == "text")


class Client:
    """Asks a server, tries again, counts the cost. It can be shared between threads."""

    def __init__(self, settings: Settings, defaults: Defaults) -> None:
        """A client with the plan's prices."""
        self.settings = settings
        self.defaults = defaults
        self.guard = CostGuard(
            settings.limit_usd, defaults.usd_per_mtok_in, defaults.usd_per_mtok_out
        )
        timeout = httpx.Timeout(settings.timeout_s, connect=CONNECT_S)
        self._http = httpx.Client(timeout=timeout, follow_redirects=False)

    def request(self, messages: list[Message]) -> ChatRequest:
        """A request with the plan's model, sampling and length."""
        plan = self.defaults
        request = ChatRequest(
            model=plan.model,
            messages=messages,
            temperature=plan.temperature,
            top_p=plan.top_p,
            max_tokens=plan.max_tokens,
        )
        if plan.seed is not None:
            if self.settings.dialect == "mistral":
                request["random_seed"] = plan.seed
            else:
                request["seed"] = plan.seed
        return request

    def chat(self, request: ChatRequest) -> Message:
        """The whole answer to a request."""
        body: ChatRequest = {**request, "stream": False}
        response, reserved, until = self._send(body)
        usage = None
        try:
            answer = json.loads(b"".join(self._bytes(response, until)))
            message: Message = answer["choices"][0]["message"]
            usage = _usage(answer["usage"])
        except (httpx.HTTPError, ValueError, LookupError, TypeError) as error:
            raise ClientError(f"an answer of another form: {_shown(str(error))}") from error
        finally:
            response.close()
            self.guard.settle(reserved, usage)
        return message

    def stream(self, request: ChatRequest, piece: Callable[[str], None]) -> Message:
        """Streams the answer: each new piece of text goes to `piece`, the whole comes back.

        Once the stream has begun it isn't tried again, since pieces were handed on.
        """
        body: ChatRequest = {**request, "stream": True}
        if self.settings.dialect == "openai":
            body["stream_options"] = {"include_usage": True}
        response, reserved, until = self._send(body)
        joined = _Joined()
        ended = False
        try:
            for data in _events(self._bytes(response, until)):
                if data == "[DONE]":
                    ended = True
                    break
                joined.add(json.loads(data), piece)
        except httpx.HTTPError as error:
            raise CutError(f"the stream was cut: {_shown(str(error))}") from error
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise ClientError(f"an event of another form: {_shown(str(error))}") from error
        finally:
            response.close()
            self.guard.settle(reserved, joined.usage)
        if not ended:
            raise CutError("the stream was cut")
        return joined.message()

    def _bytes(self, response: httpx.Response, until: float) -> Iterator[bytes]:
        """The body, as long as there is time and it isn't endless."""
        size = 0
        for part in response.iter_bytes():
            size += len(part)
            if time.monotonic() > until:
                raise httpx.ReadTimeout("the time for the request is up")
            if size > LONGEST_ANSWER:
                raise ClientError(f"an answer of more than {LONGEST_ANSWER} bytes")
            yield part

    def _send(self, body: ChatRequest) -> tuple[httpx.Response, float, float]:
        """Sends until an answer begins or trying again is of no use.

        Gives back the answer, the dollars set aside for it, and when its time is up.
        """
        content = json.dumps(body).encode()
        max_tokens = body.get("max_tokens", self.defaults.max_tokens)
        headers = {"content-type": "application/json"}
        if self.settings.key is not None:
            headers["authorization"] = f"Bearer {self.settings.key}"
        url = f"{self.settings.base_url}/chat/completions"
        tries = 0
        while True:
            reserved = self.guard.reserve(len(content), max_tokens)
            tries += 1
            last = tries > self.settings.retries
            until = time.monotonic() + self.settings.timeout_s
            try:
                sent = self._http.build_request("POST", url, content=content, headers=headers)
                response = self._http.send(sent, stream=True)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                self.guard.release(reserved)
                pause = _pause(tries)
                problem = f"not reached after {tries} tries: {_shown(str(error))}"
            except httpx.HTTPError as error:
                # The server may have worked on it: its money stays spent.
                self.guard.settle(reserved, None)
                pause = _pause(tries)
                problem = f"no answer after {tries} tries: {_shown(str(error))}"
            else:
                if response.is_success:
                    return response, reserved, until
                self.guard.release(reserved)
                pause, problem = _refusal(response, tries)
                last = last or response.status_code not in MAY_HELP
            if last:
                raise ClientError(problem)
            if pause > MOST_PAUSE_S:
                raise ClientError(f"the server asks to wait {pause:.0f} s; {problem}")
            time.sleep(pause)


def _pause(tries: int) -> float:
    """Seconds, half of them by chance, so that clients don't come back together."""
    longest = min(FIRST_PAUSE_S * 2.0 ** min(tries - 1, 16), LONGEST_PAUSE_S)
    return longest * (0.5 + random.random() / 2)


def _refusal(response: httpx.Response, tries: int) -> tuple[float, str]:
    """The pause that helps, and what the server said."""
    try:
        text = response.read()[: 4 * SHOWN].decode(errors="replace")
    except httpx.HTTPError:
        text = ""
    finally:
        response.close()
    pause = _asked(response.headers.get("retry-after", ""))
    problem = f"status {response.status_code} after {tries} tries: {_shown(text)}"
    return (_pause(tries) if pause is None else pause), problem


def _asked(header: str) -> float | None:
    """Seconds that a `Retry-After` header asks for, given in seconds or as a date."""
    if header.strip().isdecimal():
        return float(header)
    try:
        return max(parsedate_to_datetime(header).timestamp() - time.time(), 0.0)
    except ValueError:
        return None


def _shown(text: str) -> str:
    """The beginning of a server's text, fit for a terminal."""
    return "".join(c if c.isprintable() else " " for c in text.strip()[:SHOWN])


def _usage(value: Mapping[str, Any]) -> Usage:
    return Usage(
        prompt_tokens=int(value["prompt_tokens"]),
        completion_tokens=int(value.get("completion_tokens") or 0),
    )


def _events(parts: Iterator[bytes]) -> Iterator[str]:
    """The data of each server-sent event; one that the end cuts short is dropped."""
    rest = b""
    data: list[str] = []
    for part in parts:
        *lines, rest = (rest + part).split(b"\n")
        if len(rest) > LONGEST_EVENT:
            raise ClientError(f"an event of more than {LONGEST_EVENT} bytes")
        for line in lines:
            text = line.removesuffix(b"\r").decode(errors="replace")
            name, _, value = text.partition(":")
            if not text and data:
                yield "\n".join(data)
                data = []
            elif name == "data":
                data.append(value.removeprefix(" "))


class _Joined:
    """A streamed answer as far as it came."""

    def __init__(self) -> None:
        self.usage: Usage | None = None
        self._text: list[str] = []
        self._calls: dict[int, ToolCall] = {}
        self._begun = False

    def add(self, chunk: dict[str, Any], piece: Callable[[str], None]) -> None:
        if "choices" not in chunk:
            raise ClientError(f"the server failed within the stream: {_shown(str(chunk))}")
        if chunk.get("usage"):
            self.usage = _usage(chunk["usage"])
        # One answer is asked for.
        for choice in (c for c in chunk["choices"] if c["index"] == 0):
            self._begun = True
            text = text_of(choice["delta"])
            if text:
                piece(text)
                self._text.append(text)
            for call in choice["delta"].get("tool_calls") or []:
                self._add_call(call)

    def _add_call(self, part: ToolCall) -> None:
        call = self._calls.setdefault(
            part.get("index", 0),
            ToolCall(id="", type="function", function=FunctionCall(name="", arguments="")),
        )
        call["id"] = call.get("id") or part.get("id", "")
        function, new = call["function"], part["function"]
        function["name"] += new.get("name") or ""
        arguments = new.get("arguments") or ""
        known = function["arguments"]
        both = isinstance(known, str) and isinstance(arguments, str)
        function["arguments"] = f"{known}{arguments}" if both else arguments or known

    def message(self) -> Message:
        if not self._begun:
            raise ClientError("an answer without a choice")
        message = Message(role="assistant", content="".join(self._text))
        if self._calls:
            message["tool_calls"] = [self._calls[index] for index in sorted(self._calls)]
        return message
