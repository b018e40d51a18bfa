/** The bodies of requests: what is supported, and the refusal by name of what is not. */
import { z } from 'zod';
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

const sampling = {
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

/** Parameters of OpenAI's API that change nothing with these values. */
const neutral: Readonly<Record<string, (value: unknown) => boolean>> = {
  presence_penalty: (value) => value === 0,
  frequency_penalty: (value) => value === 0,
  logit_bias: (value) => typeof value === 'object' && Object.keys(value ?? {}).length === 0,
  response_format: (value) => (value as { type?: unknown } | null)?.type === 'text',
  tools: (value) => Array.isArray(value) && value.length === 0,
  tool_choice: (value) => value === 'none' || value === 'auto',
  best_of: (value) => value === 1,
  suffix: (value) => value === '',
  store: (value) => typeof value === 'boolean',
  metadata: (value) => typeof value === 'object',
  parallel_tool_calls: (value) => typeof value === 'boolean',
  service_tier: (value) => value === 'auto' || value === 'default',
};

/** @throws RequestError 400 that names the parameter */
export function parse<Body extends z.ZodObject>(schema: Body, body: unknown): z.infer<Body> {
  if (typeof body !== 'object' || body === null || Array.isArray(body))
    throw new RequestError(400, 'the body is no JSON object; send one with content-type application/json');
  const known: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(body)) {
    if (Object.hasOwn(schema.shape, key)) known[key] = value;
    else if (value !== null && !(Object.hasOwn(neutral, key) && neutral[key]!(value)))
      throw new RequestError(
        400,
        `${key.slice(0, 100)} is not supported here`,
        'invalid_request_error',
        key.slice(0, 100),
        {},
        'unsupported_parameter',
      );
  }
  const parsed = schema.safeParse(known);
  if (parsed.success) return parsed.data;
  const { path, message } = parsed.error.issues[0]!;
  const name = path.map(String).join('.');
  throw new RequestError(400, `${name}: ${message}`, 'invalid_request_error', name);
}

/** Messages whose parts of text are joined. */
export function messagesOf(messages: z.infer<typeof message>[]) {
  return messages.map(({ role, content, ...rest }) => ({
    ...rest,
    role: role === 'developer' ? 'system' : role,
    content: typeof content === 'string' ? content : (content ?? []).map(({ text }) => text).join(''),
  }));
}
