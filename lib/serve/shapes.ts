/** The shapes of answers: types for the code that makes them, and schemas for the OpenAPI document. */
import { z } from 'zod';

const count = z.int().min(0);
const text = z.string();

const likely = z.object({ token: text, logprob: z.number(), bytes: z.array(count).nullable() });
const place = z.object({ ...likely.shape, top_logprobs: z.array(likely) });

export const errorShape = z.object({
  error: z.object({ message: text, type: text, param: text.nullable(), code: text.nullable() }),
});

const usage = z.object({ prompt_tokens: count, completion_tokens: count, total_tokens: count });
const finish = z.enum(['stop', 'length', 'tool_calls']);

const call = z.object({
  id: text,
  type: z.literal('function'),
  function: z.object({ name: text, arguments: text }),
});

const header = <Name extends string>(object: Name) => ({
  id: text,
  object: z.literal(object),
  created: count,
  model: text,
});

const chatLogprobs = z.object({ content: z.array(place), refusal: z.null() });

export const chatShape = z.object({
  ...header('chat.completion'),
  choices: z.array(
    z.object({
      index: count,
      message: z.object({
        role: z.literal('assistant'),
        content: text.nullable(),
        refusal: z.null(),
        tool_calls: z.array(call).optional(),
      }),
      logprobs: chatLogprobs.nullable(),
      finish_reason: finish,
    }),
  ),
  usage,
});

export const chatChunkShape = z.object({
  ...header('chat.completion.chunk'),
  choices: z.array(
    z.object({
      index: count,
      delta: z.object({
        role: z.literal('assistant').optional(),
        content: text.optional(),
        tool_calls: z.array(z.object({ index: count, ...call.shape })).optional(),
      }),
      logprobs: chatLogprobs.nullable(),
      finish_reason: finish.nullable(),
    }),
  ),
  usage: usage.optional(),
});

const textLogprobs = z.object({
  tokens: z.array(text),
  token_logprobs: z.array(z.number().nullable()),
  top_logprobs: z.array(z.record(text, z.number()).nullable()).nullable(),
  text_offset: z.array(count),
});
const textChoice = { index: count, text, logprobs: textLogprobs.nullable() };

export const completionShape = z.object({
  ...header('text_completion'),
  choices: z.array(z.object({ ...textChoice, finish_reason: finish })),
  usage,
});

export const completionChunkShape = z.object({
  ...header('text_completion'),
  choices: z.array(z.object({ ...textChoice, finish_reason: finish.nullable() })),
  usage: usage.optional(),
});

const itemStatus = z.enum(['in_progress', 'completed', 'incomplete']);
const outputText = z.object({
  type: z.literal('output_text'),
  text,
  annotations: z.array(z.never()),
  logprobs: z.array(place),
});
const outputMessage = z.object({
  type: z.literal('message'),
  id: text,
  status: itemStatus,
  role: z.literal('assistant'),
  content: z.array(outputText),
});
const outputCall = z.object({
  type: z.literal('function_call'),
  id: text,
  call_id: text,
  status: itemStatus,
  name: text,
  arguments: text,
});
const outputItem = z.union([outputMessage, outputCall]);

export const responseShape = z.object({
  id: text,
  object: z.literal('response'),
  created_at: count,
  completed_at: count.nullable(),
  status: z.enum(['in_progress', 'completed', 'incomplete', 'failed']),
  error: z.object({ code: text, message: text }).nullable(),
  incomplete_details: z.object({ reason: z.literal('max_output_tokens') }).nullable(),
  model: text,
  output: z.array(outputItem),
  usage: z
    .object({
      input_tokens: count,
      input_tokens_details: z.object({ cached_tokens: count }),
      output_tokens: count,
      output_tokens_details: z.object({ reasoning_tokens: count }),
      total_tokens: count,
    })
    .nullable(),
  // What was asked for.
  instructions: text.nullable(),
  previous_response_id: text.nullable(),
  max_output_tokens: count.nullable(),
  temperature: z.number(),
  top_p: z.number(),
  top_logprobs: count,
  tools: z.array(z.record(text, z.unknown())),
  tool_choice: z.enum(['auto', 'none']),
  parallel_tool_calls: z.literal(true),
  metadata: z.record(text, text),
  store: z.boolean(),
  background: z.literal(false),
  reasoning: z.object({ effort: z.null(), summary: z.null() }),
  text: z.object({ format: z.object({ type: z.literal('text') }) }),
  truncation: z.literal('disabled'),
  service_tier: z.literal('default'),
});

const event = <Name extends string, Fields extends z.ZodRawShape>(type: Name, fields: Fields) =>
  z.object({ type: z.literal(type), sequence_number: count, ...fields });
const inItem = { item_id: text, output_index: count };
const inPart = { ...inItem, content_index: count };

/** The events of a streamed response. */
export const responseEventShape = z.union([
  event('response.created', { response: responseShape }),
  event('response.in_progress', { response: responseShape }),
  event('response.completed', { response: responseShape }),
  event('response.incomplete', { response: responseShape }),
  event('response.failed', { response: responseShape }),
  event('response.output_item.added', { output_index: count, item: outputItem }),
  event('response.output_item.done', { output_index: count, item: outputItem }),
  event('response.content_part.added', { ...inPart, part: outputText }),
  event('response.content_part.done', { ...inPart, part: outputText }),
  event('response.output_text.delta', { ...inPart, delta: text, logprobs: z.array(place) }),
  event('response.output_text.done', { ...inPart, text, logprobs: z.array(place) }),
  event('response.function_call_arguments.delta', { ...inItem, delta: text }),
  event('response.function_call_arguments.done', { ...inItem, name: text, arguments: text }),
  event('error', { code: text.nullable(), message: text, param: text.nullable() }),
]);

const model = z.object({ id: text, object: z.literal('model'), created: count, owned_by: text });
export const modelShape = model;
export const modelsShape = z.object({ object: z.literal('list'), data: z.array(model) });

export const scoresShape = z.object({
  object: z.literal('scores'),
  model: text,
  kind: z.enum(['reward', 'logprob']),
  scores: z.array(z.number()),
});

export const keptShape = z.object({ object: z.literal('feedback'), kept: z.literal(true) });

const version = z.object({
  version: count,
  created: z.number(),
  folder: text.optional(),
  training: z.record(text, z.unknown()).optional(),
});
export const versionsShape = z.object({ current: count, versions: z.array(version), training: text });
export const servedShape = z.object({ current: count });

export const healthShape = z.object({ status: z.literal('ok') });
export const readyShape = z.object({ status: z.enum(['ok', 'closing', 'full', 'unwritable']), version: count });

export type Chat = z.infer<typeof chatShape>;
export type ChatChunk = z.infer<typeof chatChunkShape>;
export type Completion = z.infer<typeof completionShape>;
export type CompletionChunk = z.infer<typeof completionChunkShape>;
export type ResponseShape = z.infer<typeof responseShape>;
export type ResponseEvent = z.infer<typeof responseEventShape>;
export type OutputItem = z.infer<typeof outputItem>;
export type Usage = z.infer<typeof usage>;
export type PlaceShape = z.infer<typeof place>;
export type Model = z.infer<typeof modelShape>;
export type Models = z.infer<typeof modelsShape>;
export type Scores = z.infer<typeof scoresShape>;
export type Kept = z.infer<typeof keptShape>;
export type KnownVersions = z.infer<typeof versionsShape>;
export type Served = z.infer<typeof servedShape>;
export type Health = z.infer<typeof healthShape>;
export type Ready = z.infer<typeof readyShape>;
