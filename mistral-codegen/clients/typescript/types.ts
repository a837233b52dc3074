/** Requests and answers of `/v1/chat/completions`, as the API's OpenAPI document has them. */

/** A JSON value. */
export type Json = null | boolean | number | string | Json[] | { [name: string]: Json };

/** A function's name and arguments: an object, or a text that holds one. */
export interface FunctionCall {
  name: string;
  arguments: { [name: string]: Json } | string;
}

/** A call of a function. */
export interface ToolCall {
  id?: string;
  type?: "function";
  function: FunctionCall;
  index?: number;
}

/** A part of a content: a text, a thought, … */
export interface Chunk {
  type?: string;
  text?: string;
}

/** A turn of a conversation. */
export interface Message {
  role: "system" | "user" | "assistant" | "tool";
  content?: string | Chunk[] | null;
  tool_calls?: ToolCall[] | null;
  tool_call_id?: string;
  name?: string;
}

/** A function that the model may call, with the JSON schema of its parameters. */
export interface Tool {
  type: "function";
  function: { name: string; description: string; parameters: { [name: string]: Json } };
}

/** The form of an answer. */
export type ResponseFormat =
  | { type: "text" | "json_object" }
  | {
      type: "json_schema";
      json_schema: { name: string; schema: { [name: string]: Json }; strict: boolean };
    };

/** A request for an answer. */
export interface ChatRequest {
  model: string;
  messages: Message[];
  temperature?: number;
  top_p?: number;
  max_tokens?: number;
  stop?: string[];
  random_seed?: number;
  seed?: number;
  tools?: Tool[];
  tool_choice?: "auto" | "none" | "any" | "required";
  response_format?: ResponseFormat;
  stream?: boolean;
  stream_options?: { include_usage: boolean };
}

/** Tokens of a request. */
export interface Usage {
  prompt_tokens: number;
  completion_tokens: number;
}

/** An answer. */
export interface ChatResponse {
  id: string;
  model: string;
  choices: { index: number; message: Message; finish_reason?: string | null }[];
  usage: Usage;
}

/** A part of a streamed answer. */
export interface ChatChunk {
  choices: { index: number; delta: Partial<Message>; finish_reason?: string | null }[];
  usage?: Usage | null;
}

/** The text of a message, thoughts left out. */
export function textOf(message: Partial<Message>): string {
  const content = message.content ?? "";
  if (typeof content === "string") {
    return content;
  }
  return content.map((chunk) => (chunk.type === "text" ? (chunk.text ?? "") : "")).join("");
}
