/** A client of Mistral's API and of servers that speak as it does, on `fetch` alone. */

import { CostGuard } from "./guard.js";
import * as plan from "./plan.js";
import type { Settings } from "./settings.js";
import { textOf } from "./types.js";
import type { ChatChunk, ChatRequest, ChatResponse, Message, ToolCall, Usage } from "./types.js";

const FIRST_PAUSE_S = 0.5;
const LONGEST_PAUSE_S = 30;
/** Longest pause that a server may ask for. */
const MOST_PAUSE_S = 120;
const MAY_HELP = new Set([408, 429, 500, 502, 503, 504]);
/** Characters of an answer, and of one event of a stream. */
const LONGEST_ANSWER = 32 << 20;
const LONGEST_EVENT = 4 << 20;
const SHOWN = 500;

/** Why there is no answer. */
export class ClientError extends Error {}

/** A stream that ended before its end was said. What came before was handed on. */
export class CutError extends ClientError {}

/** A response that begins an answer, and the dollars set aside for it. */
interface Begun {
  response: Response;
  reserved: number;
}

/** Asks a server, tries again, counts the cost. */
export class Client {
  readonly guard: CostGuard;

  constructor(private readonly settings: Settings) {
    this.guard = new CostGuard(settings.limitUsd, plan.USD_PER_MTOK_IN, plan.USD_PER_MTOK_OUT);
  }

  /** A request with the plan's model, sampling and length. */
  request(messages: Message[]): ChatRequest {
    const request: ChatRequest = {
      model: plan.MODEL,
      messages,
      temperature: plan.TEMPERATURE,
      top_p: plan.TOP_P,
      max_tokens: plan.MAX_TOKENS,
    };
    if (plan.SEED !== null) {
      const name = this.settings.dialect === "mistral" ? "random_seed" : "seed";
      request[name] = plan.SEED;
    }
    return request;
  }

  /** The whole answer to a request. */
  async chat(request: ChatRequest): Promise<Message> {
    const { response, reserved } = await this.send({ ...request, stream: false });
    let usage: Usage | undefined;
    try {
      let text = "";
      for await (const part of parts(response)) {
        text += part;
      }
      const answer = JSON.parse(text) as Partial<ChatResponse>;
      usage = usageOf(answer.usage);
      const message = answer.choices?.[0]?.message;
      if (message === undefined) {
        throw new ClientError("an answer without a choice");
      }
      return message;
    } catch (error) {
      throw told("an answer of another form", error);
    } finally {
      this.guard.settle(reserved, usage);
    }
  }

  /**
   * Streams the answer: each new piece of text goes to `piece`, the whole comes back. Once the
   * stream has begun it isn't tried again, since pieces were handed on.
   */
  async stream(request: ChatRequest, piece: (text: string) => void): Promise<Message> {
    const body: ChatRequest = { ...request, stream: true };
    if (this.settings.dialect === "openai") {
      body.stream_options = { include_usage: true };
    }
    const { response, reserved } = await this.send(body);
    const joined = new Joined();
    try {
      for await (const data of events(response)) {
        if (data === "[DONE]") {
          return joined.message();
        }
        joined.add(JSON.parse(data) as Partial<ChatChunk>, piece);
      }
    } catch (error) {
      if (error instanceof ClientError) {
        throw error;
      }
      throw new CutError(`the stream was cut: ${shown(String(error))}`);
    } finally {
      this.guard.settle(reserved, joined.usage);
    }
    throw new CutError("the stream was cut");
  }

  /** Sends until an answer begins or trying again is of no use. */
  private async send(request: ChatRequest): Promise<Begun> {
    const body = JSON.stringify(request);
    const bytes = new TextEncoder().encode(body).length;
    const headers: { [name: string]: string } = { "content-type": "application/json" };
    if (this.settings.key !== undefined) {
      headers["authorization"] = `Bearer ${this.settings.key}`;
    }
    for (let tries = 1; ; tries += 1) {
      const reserved = this.guard.reserve(bytes, request.max_tokens ?? plan.MAX_TOKENS);
      let asked: number | undefined;
      let problem: string;
      let last = tries > this.settings.retries;
      try {
        const response = await fetch(`${this.settings.baseUrl}/chat/completions`, {
          method: "POST",
          headers,
          body,
          // The key must not follow to another place.
          redirect: "manual",
          signal: AbortSignal.timeout(this.settings.timeoutS * 1000),
        });
        if (response.ok) {
          return { response, reserved };
        }
        this.guard.release(reserved);
        asked = askedPause(response.headers.get("retry-after"), Date.now());
        const said = await response.text().catch(() => "");
        problem = `status ${response.status} after ${tries} tries: ${shown(said)}`;
        last ||= !MAY_HELP.has(response.status);
      } catch (error) {
        if (unsent(error)) {
          this.guard.release(reserved);
        } else {
          // The server may have worked on it: its money stays spent.
          this.guard.settle(reserved, undefined);
        }
        problem = `no answer after ${tries} tries: ${shown(String(error))}`;
      }
      if (last) {
        throw new ClientError(problem);
      }
      const pause = asked ?? ownPause(tries);
      if (pause > MOST_PAUSE_S) {
        throw new ClientError(`the server asks to wait ${pause} s; ${problem}`);
      }
      await new Promise((done) => setTimeout(done, pause * 1000));
    }
  }
}

/** Whether a request failed before any of it reached a server. */
function unsent(error: unknown): boolean {
  const cause: unknown = error instanceof Error ? error.cause : undefined;
  const code = typeof cause === "object" && cause !== null && "code" in cause ? cause.code : "";
  return code === "ECONNREFUSED" || code === "ENOTFOUND";
}

/** Seconds, half of them by chance, so that clients don't come back together. */
function ownPause(tries: number): number {
  const longest = Math.min(FIRST_PAUSE_S * 2 ** Math.min(tries - 1, 16), LONGEST_PAUSE_S);
  return longest * (0.5 + Math.random() / 2);
}

/** Seconds that a `Retry-After` header asks for, given in seconds or as a date. */
function askedPause(header: string | null, now: number): number | undefined {
  if (header === null) {
    return undefined;
  }
  if (/^\s*\d+\s*$/.test(header)) {
    return Number(header);
  }
  const date = Date.parse(header);
  return Number.isNaN(date) ? undefined : Math.max((date - now) / 1000, 0);
}

/** The beginning of a server's text, fit for a terminal. */
function shown(text: string): string {
  return text
    .trim()
    .slice(0, SHOWN)
    .replace(/\p{C}/gu, " ");
}

function told(what: string, error: unknown): ClientError {
  return error instanceof ClientError ? error : new ClientError(`${what}: ${shown(String(error))}`);
}

function usageOf(usage: Partial<Usage> | null | undefined): Usage | undefined {
  const { prompt_tokens, completion_tokens = 0 } = usage ?? {};
  const known = Number.isFinite(prompt_tokens) && Number.isFinite(completion_tokens);
  return known && prompt_tokens !== undefined ? { prompt_tokens, completion_tokens } : undefined;
}

/** The body as text, as far as it isn't endless. */
async function* parts(response: Response): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  const reader = response.body?.getReader();
  let length = 0;
  for (;;) {
    const read = await reader?.read();
    if (read === undefined || read.done) {
      return;
    }
    const text = decoder.decode(read.value, { stream: true });
    length += text.length;
    if (length > LONGEST_ANSWER) {
      throw new ClientError(`an answer of more than ${LONGEST_ANSWER} characters`);
    }
    yield text;
  }
}

/** The data of each server-sent event; one that the end cuts short is dropped. */
async function* events(response: Response): AsyncGenerator<string> {
  let rest = "";
  let data: string[] = [];
  for await (const part of parts(response)) {
    const lines = (rest + part).split("\n");
    rest = lines.pop() ?? "";
    if (rest.length > LONGEST_EVENT) {
      throw new ClientError(`an event of more than ${LONGEST_EVENT} characters`);
    }
    for (const line of lines.map((line) => line.replace(/\r$/, ""))) {
      if (line === "" && data.length > 0) {
        yield data.join("\n");
        data = [];
      } else if (line === "data" || line.startsWith("data:")) {
        data.push(line.slice(5).replace(/^ /, ""));
      }
    }
  }
}

/** A streamed answer as far as it came. */
class Joined {
  usage: Usage | undefined;
  private text = "";
  private begun = false;
  private readonly calls = new Map<number, ToolCall>();

  add(chunk: Partial<ChatChunk>, piece: (text: string) => void): void {
    if (chunk.choices === undefined) {
      throw new ClientError(`the server failed within the stream: ${shown(JSON.stringify(chunk))}`);
    }
    this.usage = usageOf(chunk.usage) ?? this.usage;
    // One answer is asked for.
    for (const { delta } of chunk.choices.filter((choice) => choice.index === 0)) {
      this.begun = true;
      const text = textOf(delta);
      if (text !== "") {
        piece(text);
        this.text += text;
      }
      for (const call of delta.tool_calls ?? []) {
        this.addCall(call);
      }
    }
  }

  private addCall(part: ToolCall): void {
    const index = part.index ?? 0;
    const known = this.calls.get(index);
    if (known === undefined) {
      this.calls.set(index, part);
      return;
    }
    const { function: call } = known;
    const begun = call.arguments;
    const rest = part.function.arguments;
    call.name += part.function.name ?? "";
    if (typeof begun === "string" && typeof rest === "string") {
      call.arguments = begun + rest;
    } else {
      call.arguments = rest ?? begun;
    }
  }

  message(): Message {
    if (!this.begun) {
      throw new ClientError("an answer without a choice");
    }
    const message: Message = { role: "assistant", content: this.text };
    if (this.calls.size > 0) {
      message.tool_calls = [...this.calls.values()];
    }
    return message;
  }
}
