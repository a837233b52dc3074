"""Talks to a running server with the `openai` package and says what it found.

Arguments: base URL, key, model name, a JSON object of what the model says. Prints `ok` last.
"""

import json
import sys

import openai

base_url, key, model, known = sys.argv[1:5]
known = json.loads(known)
client = openai.OpenAI(base_url=base_url, api_key=key, max_retries=0, timeout=60)
USER = [{"role": "user", "content": "When is the café open?"}]
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "opening_hours",
            "description": "Opening hours of a day",
            "parameters": {
                "type": "object",
                "properties": {"day": {"type": "string"}, "a_first": {"type": "number"}},
                "required": ["day"],
            },
        },
    }
]


def expect(what, found, expected):
    """Fails with both values when they differ."""
    if found != expected:
        sys.exit(f"{what}: expected {expected!r}, found {found!r}")


def refused(kind, status, part, **request):
    """Fails unless the chat is refused by this exception, status and message."""
    request = {"model": model, "messages": USER} | request
    try:
        client.chat.completions.create(**request)
    except kind as error:
        expect(f"status of {part}", error.status_code, status)
        if part not in str(error):
            sys.exit(f"expected {part!r} in {error}")
    else:
        sys.exit(f"accepted {request}")


def models():
    expect("models", [m.id for m in client.models.list()], [model])
    expect("model", client.models.retrieve(model).id, model)


def chats():
    whole = client.chat.completions.create(model=model, messages=USER, temperature=0)
    expect("chat", whole.choices[0].message.content, known["reply"])
    expect("finish", whole.choices[0].finish_reason, "stop")
    usage = whole.usage
    expect("total", usage.total_tokens, usage.prompt_tokens + usage.completion_tokens)

    stream = client.chat.completions.create(
        model=model,
        messages=[{"role": "system", "content": "Be brief."}] + USER,
        temperature=0,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    deltas = [c.choices[0].delta.content or "" for c in chunks if c.choices]
    expect("streamed chat", "".join(deltas), known["reply"])
    if len([d for d in deltas if d]) < 5:
        sys.exit(f"expected the reply in pieces, found {deltas}")
    expect("streamed tokens", chunks[-1].usage.completion_tokens, usage.completion_tokens)
    expect("streamed finish", chunks[-2].choices[0].finish_reason, "stop")

    cut = client.chat.completions.create(model=model, messages=USER, temperature=0, max_tokens=2)
    expect("cut", cut.choices[0].finish_reason, "length")
    expect("cut tokens", cut.usage.completion_tokens, 2)
    stopped = client.chat.completions.create(model=model, messages=USER, temperature=0, stop=[" is"])
    expect("stopped", stopped.choices[0].message.content, known["reply"].split(" is")[0])


def tools():
    messages = USER + [{"role": "assistant", "content": "!", "prefix": True}]
    whole = client.chat.completions.create(
        model=model, messages=messages, tools=TOOLS, temperature=0
    )
    choice = whole.choices[0]
    expect("finish with tools", choice.finish_reason, "tool_calls")
    call = choice.message.tool_calls[0]
    expect("tool", call.function.name, "opening_hours")
    expect("arguments", json.loads(call.function.arguments), {"day": "Monday"})
    expect("id", call.id, "abcDEF123")

    stream = client.chat.completions.create(
        model=model, messages=messages, tools=TOOLS, temperature=0, stream=True
    )
    calls = [c for chunk in stream for c in chunk.choices[0].delta.tool_calls or []]
    expect("streamed tool", [c.function.name for c in calls], ["opening_hours"])

    answered = USER + [choice.message.model_dump(exclude_none=True)]
    answered.append({"role": "tool", "tool_call_id": call.id, "content": '{"open": "9 to 5"}'})
    client.chat.completions.create(model=model, messages=answered, tools=TOOLS, max_tokens=1)


def completions():
    letters = client.completions.create(model=model, prompt="say abc", temperature=0, max_tokens=30)
    expect("completion", letters.choices[0].text, known["alphabet"])
    stream = client.completions.create(
        model=model, prompt="say abc", temperature=0, max_tokens=30, stream=True
    )
    expect("streamed completion", "".join(c.choices[0].text for c in stream), known["alphabet"])

    def drawn(seed):
        answer = client.completions.create(
            model=model, prompt="R", temperature=1, seed=seed, max_tokens=20
        )
        return answer.choices[0].text

    expect("same seed", drawn(7), drawn(7))
    if len({drawn(seed) for seed in range(5)}) < 2:
        sys.exit("expected other seeds to draw other digits")


def refusals():
    refused(openai.NotFoundError, 404, "no model", model="other")
    refused(openai.BadRequestError, 400, "temperature", temperature=9)
    refused(openai.BadRequestError, 400, "maximum context length", max_tokens=100_000)
    refused(openai.BadRequestError, 400, "maximum context length", messages=[
        {"role": "user", "content": "x" * 2000}
    ])
    refused(openai.BadRequestError, 400, "n: this server does not support 2", n=2)
    refused(openai.BadRequestError, 400, "wizard", messages=[{"role": "wizard", "content": "a"}])
    wrong = openai.OpenAI(base_url=base_url, api_key="wrong", max_retries=0)
    try:
        wrong.models.list()
    except openai.AuthenticationError as error:
        expect("status without the key", error.status_code, 401)
    else:
        sys.exit("accepted a wrong key")


for part in (models, chats, tools, completions, refusals):
    part()
print("ok")
