/** The bodies of requests: what is supported, and the refusal by name of what is not. */
import { z } from 'zod';
import type { Message } from '../data/fields.js';
import { RequestError } from '../http/server.js';

const part = z.union([z.string(), z.array(z.strictObject({ type: z.literal('text'), text: z.string() }))], {
  error: 'expected a text, or a list of {"type": "text", "text": TEXT}; images and other parts are not supported',
});

const message = z
  .object({
    role: z.enum(['system', 'developer', 'user', 'assistant', 'tool']),
    content: part.nullish(),
    name: z.string().optional(),
    tool_calls: z.array(z.looseObject({})).optional(),
    tool_call_id: z.string().optional(),
  })
  .refine(({ content, tool_calls }) => (content ?? undefined) !== undefined || (tool_calls?.length ?? 0) > 0, {
    path: ['content'],
    error: 'expected a text: only a message with tool_calls has none',
  });

const id = z.number().int().min(0);
const prompt = z.union(
  [z.string(), z.array(z.string()).min(1), z.array(id).min(1), z.array(z.array(id).min(1)).min(1)],
  { error: 'expected a text, token ids, or a list of at least one of these' },
);

/** A tool, as chat templates describe it to the model. */
export const functionTool = z.looseObject({
  name: z.string().min(1),
  description: z.string().nullish(),
  /** A JSON Schema. */
  parameters: z.looseObject({}).nullish(),
  strict: z
    .boolean()
    .nullish()
    .refine((value) => !value, { error: 'is true, expected false: sampling is not constrained to a schema' }),
});

const toolChoice = z
  .enum(['auto', 'none'], { error: 'expected "auto" or "none": the model cannot be made to call a tool' })
  .nullish();

export const sampling = {
  model: z.string().nullish(),
  max_tokens: z.number().int().min(1).nullish(),
  temperature: z
    .number()
    .refine((value) => value === 0 || value >= 1e-4, { error: 'expected 0 or at least 0.0001' })
    .nullish(),
  top_p: z.number().min(0).max(1).nullish(),
  top_k: z.number().int().min(-1).nullish(),
  n: z.number().int().min(1).nullish(),
  seed: z.number().int().nullish(),
  stop: z.union([z.string().min(1), z.array(z.string().min(1)).max(16)]).nullish(),
  stream: z.boolean().nullish(),
  stream_options: z.object({ include_usage: z.boolean().optional() }).nullish(),
  user: z.string().nullish(),
};

export const chatBody = z.object({
  messages: z.array(message).min(1),
  ...sampling,
  max_completion_tokens: z.number().int().min(1).nullish(),
  logprobs: z.boolean().nullish(),
  top_logprobs: z.number().int().min(0).max(20).nullish(),
  tools: z.array(z.looseObject({ type: z.literal('function'), function: functionTool })).nullish(),
  tool_choice: toolChoice,
});

export const completionBody = z.object({
  prompt,
  ...sampling,
  /** 0 with `echo` measures the prompt alone. */
  max_tokens: z.number().int().min(0).nullish(),
  echo: z.boolean().nullish(),
  logprobs: z.number().int().min(0).max(20).nullish(),
});

const messagesOrText = z.union([z.string().min(1), z.array(message).min(1)]);

export const scoreBody = z.object({
  model: z.string().nullish(),
  prompt: messagesOrText,
  responses: z.array(z.string()).min(1).max(64),
});

const which = { id: z.string().min(1), index: z.number().int().min(0).optional() };

export const feedbackBody = z.object({
  id: which.id.optional(),
  index: which.index,
  /** true is good. */
  thumb: z.boolean().optional(),
  reward: z.number().optional(),
  /** What the answer should have been. */
  edit: z.string().regex(/\S/, 'is empty, expected at least one word').optional(),
  /** Answers to one prompt; rank 0 is the best, equal ranks are ties. */
  ranking: z
    .array(z.object({ ...which, rank: z.number().int().min(0).max(1_000_000) }))
    .min(2)
    .max(64)
    .optional(),
  /** Who says so. */
  labeler: z.string().min(1).max(200).optional(),
});

export const rollbackBody = z.object({ version: z.number().int().min(0) });

export type ChatBody = z.infer<typeof chatBody>;
export type CompletionBody = z.infer<typeof completionBody>;
export type FeedbackBody = z.infer<typeof feedbackBody>;

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
const isBlank = (value: unknown) => isObject(value) && Object.values(value).every((each) => each === null);
const isText = (value: unknown) => typeof value === 'string';
const kUnconstrained = ': sampling is not constrained to JSON or a schema, so that an answer could be anything';

/** Parameters of OpenAI's API that change nothing with these values, and why others are refused. */
const neutral: Readonly<Record<string, readonly [isNeutral: (value: unknown) => boolean, expected: string]>> = {
  presence_penalty: [(value) => value === 0, '0'],
  frequency_penalty: [(value) => value === 0, '0'],
  logit_bias: [(value) => isObject(value) && Object.keys(value).length === 0, '{}'],
  response_format: [(value) => isObject(value) && value.type === 'text', `{"type": "text"}${kUnconstrained}`],
  text: [
    (value) =>
      isObject(value) &&
      ['medium', null, undefined].includes(value.verbosity as string | undefined) &&
      (!value.format || (isObject(value.format) && value.format.type === 'text')),
    `{"format": {"type": "text"}}${kUnconstrained}`,
  ],
  tools: [(value) => Array.isArray(value) && value.length === 0, '[]'],
  tool_choice: [(value) => value === 'none' || value === 'auto', '"auto" or "none"'],
  parallel_tool_calls: [(value) => value === true, 'true: the model may call any number of tools'],
  best_of: [(value) => value === 1, '1'],
  suffix: [(value) => value === '', '""'],
  store: [(value) => typeof value === 'boolean', 'true or false'],
  metadata: [isObject, 'an object'],
  service_tier: [(value) => value === 'auto' || value === 'default', '"auto" or "default"'],
  truncation: [(value) => value === 'disabled', '"disabled": send fewer messages'],
  background: [(value) => value === false, 'false'],
  reasoning: [isBlank, 'none: the model does not reason apart from its answer'],
  prompt_cache_key: [isText, 'a text'],
  safety_identifier: [isText, 'a text'],
};

/** @throws RequestError 400 that names the parameter */
export function parse<Body extends z.ZodObject>(schema: Body, body: unknown): z.infer<Body> {
  if (typeof body !== 'object' || body === null || Array.isArray(body))
    throw new RequestError(400, 'the body is no JSON object; send one with content-type application/json');
  const known: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(body)) {
    if (Object.hasOwn(schema.shape, key)) known[key] = value;
    else if (value !== null) requireNeutral(key, value);
  }
  const parsed = schema.safeParse(known);
  if (parsed.success) return parsed.data;
  const { path, message } = innermost(parsed.error.issues[0]!);
  const name = path.map(String).join('.');
  throw new RequestError(400, `${name}: ${message}`, 'invalid_request_error', name);
}

/** @throws RequestError 400 */
function requireNeutral(key: string, value: unknown): void {
  const known = Object.hasOwn(neutral, key) ? neutral[key]! : undefined;
  if (known?.[0](value)) return;
  const name = key.slice(0, 100);
  const message = `${name} is not supported here${known ? `, expected none or ${known[1]}` : ''}`;
  throw new RequestError(400, message, 'invalid_request_error', name, {}, 'unsupported_parameter');
}

type Problem = Pick<z.core.$ZodIssue, 'path' | 'message'>;

/** Of what may be several things, the problem that is deepest within: it is about the one that was meant. */
function innermost(issue: z.core.$ZodIssue): Problem {
  if (issue.code !== 'invalid_union' || issue.message !== 'Invalid input') return issue;
  const [within] = issue.errors
    .flatMap(([first]) => (first ? [innermost(first)] : []))
    .sort((a, b) => b.path.length - a.path.length);
  if (!within || within.path.length === 0) return issue;
  return { path: [...issue.path, ...within.path], message: within.message };
}

/** Messages whose parts of text are joined. The arguments of calls are values, as chat templates expect them. */
export function messagesOf(messages: z.infer<typeof message>[]): Message[] {
  return messages.map(({ role, content, tool_calls, ...rest }) => ({
    ...rest,
    ...(tool_calls ? { tool_calls: tool_calls.map(callOf) } : {}),
    role: role === 'developer' ? 'system' : role,
    content: typeof content === 'string' ? content : (content ?? []).map(({ text }) => text).join(''),
  }));
}

function callOf(call: Record<string, unknown>) {
  if (!isObject(call.function) || typeof call.function.arguments !== 'string') return call;
  return { ...call, function: { ...call.function, arguments: argumentsOf(call.function.arguments) } };
}

/** The value of a call's arguments; the text itself where it is no JSON. */
export function argumentsOf(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch {
    return json;
  }
}
