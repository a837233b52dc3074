/**
 * Asks the model of the plan: `node dist/main.js chat|stream|tools|schema PROMPT...`
 *
 * Answers go to standard output, what they cost to standard error. Exit status 1 when a request
 * failed, 2 for unusable arguments or settings, 3 when the limit of costs stands in the way.
 */

import { Client, ClientError } from "./client.js";
import { OverBudgetError } from "./guard.js";
import { fromVariables, SettingError } from "./settings.js";
import type { Settings } from "./settings.js";
import { textOf } from "./types.js";
import type { Json, Message, Tool, ToolCall } from "./types.js";

const USAGE = "usage: node dist/main.js chat|stream|tools|schema PROMPT...\n";
/** Rounds of calls before the model has to answer. */
const ROUNDS = 5;

const WORD_COUNT: Tool = {
  type: "function",
  function: {
    name: "word_count",
    description: "Counts the words of a text.",
    parameters: {
      type: "object",
      properties: { text: { type: "string" } },
      required: ["text"],
      additionalProperties: false,
    },
  },
};

const MOODS = ["good", "bad", "neither"];
const SUMMARY: { [name: string]: Json } = {
  type: "object",
  properties: {
    title: { type: "string" },
    keywords: { type: "array", items: { type: "string" } },
    mood: { type: "string", enum: MOODS },
  },
  required: ["title", "keywords", "mood"],
  additionalProperties: false,
};

/** What `schema` asks for. */
interface Summary {
  title: string;
  keywords: string[];
  mood: string;
}

type Run = (client: Client, messages: Message[]) => Promise<Message>;

const chat: Run = async (client, messages) => {
  const answer = await client.chat(client.request(messages));
  process.stdout.write(`${textOf(answer)}\n`);
  return answer;
};

const stream: Run = async (client, messages) => {
  try {
    return await client.stream(client.request(messages), (text) => process.stdout.write(text));
  } finally {
    process.stdout.write("\n");
  }
};

/** Lets the model call functions until it answers. */
const tools: Run = async (client, messages) => {
  for (let round = 0; round < ROUNDS; round += 1) {
    const answer = await client.chat({ ...client.request(messages), tools: [WORD_COUNT] });
    const calls = answer.tool_calls ?? [];
    if (calls.length === 0) {
      process.stdout.write(`${textOf(answer)}\n`);
      return answer;
    }
    messages.push(answer, ...calls.map(result));
  }
  return chat(client, messages);
};

/** The result of a call, for the model to read; what can't be done is told to it. */
function result(call: ToolCall): Message {
  const { name } = call.function;
  const words = count(call.function.arguments);
  let said: Json = { error: "no such function" };
  if (name === "word_count") {
    said = words === undefined ? { error: 'expected {"text": "…"}' } : { words };
  }
  return { role: "tool", content: JSON.stringify(said), tool_call_id: call.id ?? "", name };
}

function count(given: { [name: string]: Json } | string): number | undefined {
  try {
    const parsed = typeof given === "string" ? (JSON.parse(given) as { [name: string]: Json }) : given;
    const text = parsed["text"];
    return typeof text === "string" ? text.split(/\s+/u).filter(Boolean).length : undefined;
  } catch {
    return undefined;
  }
}

/** An answer that follows a schema. */
const schema: Run = async (client, messages) => {
  const answer = await client.chat({
    ...client.request(messages),
    response_format: {
      type: "json_schema",
      json_schema: { name: "summary", schema: SUMMARY, strict: true },
    },
  });
  const made: unknown = JSON.parse(textOf(answer));
  if (!isSummary(made)) {
    throw new ClientError("an answer that doesn't follow the schema");
  }
  process.stdout.write(`${JSON.stringify(made)}\n`);
  return answer;
};

function isSummary(value: unknown): value is Summary {
  if (typeof value !== "object" || value === null) {
    return false;
  }
  const { title, keywords, mood, ...others } = value as { [name: string]: unknown };
  return (
    typeof title === "string" &&
    Array.isArray(keywords) &&
    keywords.every((word) => typeof word === "string") &&
    typeof mood === "string" &&
    MOODS.includes(mood) &&
    Object.keys(others).length === 0
  );
}

/** Each prompt is a turn of one conversation. */
async function main(command: string, prompts: string[]): Promise<number> {
  const run = new Map<string, Run>(Object.entries({ chat, stream, tools, schema })).get(command);
  if (run === undefined || prompts.length === 0) {
    process.stderr.write(USAGE);
    return 2;
  }
  let settings: Settings;
  try {
    settings = fromVariables(process.env);
  } catch (error) {
    if (error instanceof SettingError) {
      process.stderr.write(`${error.message}\n`);
      return 2;
    }
    throw error;
  }
  const client = new Client(settings);
  const messages: Message[] = [];
  let status = 0;
  try {
    for (const prompt of prompts) {
      messages.push({ role: "user", content: prompt });
      messages.push(await run(client, messages));
    }
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
    status = error instanceof OverBudgetError ? 3 : 1;
  }
  const { spentUsd, limitUsd, usage } = client.guard;
  process.stderr.write(
    `spent ${spentUsd.toFixed(6)} of ${limitUsd} USD: ${usage.prompt_tokens} prompt and ` +
      `${usage.completion_tokens} answer tokens\n`,
  );
  return status;
}

const [command = "", ...prompts] = process.argv.slice(2);
process.exitCode = await main(command, prompts);
