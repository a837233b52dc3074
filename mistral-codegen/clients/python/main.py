"""Asks the model of the plan: `python main.py chat|stream|tools|schema PROMPT...`.

Answers go to standard output, what they cost to standard error. Exit status 1 when a request
failed, 2 for unusable arguments or settings, 3 when the limit of costs stands in the way.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from client import (
    Client,
    ClientError,
    Defaults,
    Message,
    OverBudgetError,
    SettingError,
    Settings,
    Tool,
    ToolCall,
    text_of,
)

COMMANDS = ("chat", "stream", "tools", "schema")
# Rounds of calls before the model has to answer.
ROUNDS = 5
WORD_COUNT: Tool = {
    "type": "function",
    "function": {
        "name": "word_count",
        "description": "Counts the words of a text.",
        "parameters": {
            "type": "object",
            "properties": {"text": {"type": "string"}},
            "required": ["text"],
            "additionalProperties": False,
        },
    },
}
MOODS = ("good", "bad", "neither")
SUMMARY: dict[str, Any] = {
    "type": "object",
    "properties": {
        "title": {"type": "string"},
        "keywords": {"type": "array", "items": {"type": "string"}},
        "mood": {"type": "string", "enum": list(MOODS)},
    },
    "required": ["title", "keywords", "mood"],
    "additionalProperties": False,
}


def write(text: str) -> None:
    """Writes a piece of an answer as it comes."""
    sys.stdout.write(text)
    sys.stdout.flush()


def chat(client: Client, messages: list[Message]) -> Message:
    """A whole answer."""
    answer = client.chat(client.request(messages))
    write(text_of(answer) + "\n")
    return answer


def stream(client: Client, messages: list[Message]) -> Message:
    """An answer as it is made."""
    try:
        return client.stream(client.request(messages), write)
    finally:
        write("\n")


def tools(client: Client, messages: list[Message]) -> Message:
    """Lets the model call functions until it answers."""
    for _ in range(ROUNDS):
        request = client.request(messages)
        request["tools"] = [WORD_COUNT]
        answer = client.chat(request)
        calls = answer.get("tool_calls") or []
        if not calls:
            write(text_of(answer) + "\n")
            return answer
        messages.append(answer)
        messages.extend(result(call) for call in calls)
    return chat(client, messages)


def result(call: ToolCall) -> Message:
    """The result of a call, for the model to read; what can't be done is told to it."""
    name, arguments = call["function"]["name"], call["function"]["arguments"]
    try:
        given = json.loads(arguments) if isinstance(arguments, str) else arguments
        text = given["text"] if isinstance(given, dict) else None
    except (ValueError, LookupError):
        text = None
    if name != "word_count":
        said: dict[str, object] = {"error": "no such function"}
    elif isinstance(text, str):
        said = {"words": len(text.split())}
    else:
        said = {"error": 'expected {"text": "…"}'}
    return {
        "role": "tool",
        "content": json.dumps(said),
        "tool_call_id": call.get("id", ""),
        "name": name,
    }


def schema(client: Client, messages: list[Message]) -> Message:
    """An answer that follows a schema."""
    request = client.request(messages)
    request["response_format"] = {
        "type": "json_schema",
        "json_schema": {"name": "summary", "schema": SUMMARY, "strict": True},
    }
    answer = client.chat(request)
    try:
        summary = json.loads(text_of(answer))
    except ValueError as error:
        raise ClientError(f"an answer that isn't JSON: {error}") from error
    follows = (
        isinstance(summary, dict)
        and summary.keys() == {"title", "keywords", "mood"}
        and isinstance(summary["title"], str)
        and isinstance(summary["keywords"], list)
        and all(isinstance(word, str) for word in summary["keywords"])
        and summary["mood"] in MOODS
    )
    if not follows:
        raise ClientError("an answer that doesn't follow the schema")
    write(json.dumps(summary, ensure_ascii=False) + "\n")
    return answer


def main(arguments: list[str]) -> int:
    """Each prompt is a turn of one conversation."""
    if len(arguments) < 2 or arguments[0] not in COMMANDS:
        sys.stderr.write("usage: python main.py chat|stream|tools|schema PROMPT...\n")
        return 2
    defaults = Defaults.read()
    try:
        client = Client(Settings.from_variables(defaults), defaults)
    except SettingError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    run = {"chat": chat, "stream": stream, "tools": tools, "schema": schema}[arguments[0]]
    messages: list[Message] = []
    status = 0
    try:
        for prompt in arguments[1:]:
            messages.append({"role": "user", "content": prompt})
            messages.append(run(client, messages))
    except ClientError as error:
        sys.stderr.write(f"{error}\n")
        status = 3 if isinstance(error, OverBudgetError) else 1
    guard = client.guard
    sys.stderr.write(
        f"spent {guard.spent_usd:.6f} of {guard.limit_usd} USD: {guard.prompt_tokens} prompt "
        f"and {guard.completion_tokens} answer tokens\n"
    )
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
