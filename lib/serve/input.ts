/** The body of /v1/responses, and its items as the messages of a chat. */
import { z } from 'zod';
import type { Message } from '../data/fields.js';
import { RequestError } from '../http/server.js';
import { argumentsOf, functionTool, sampling } from './bodies.js';
import { itemOf, outputOf } from './output.js';
import type { OutputItem } from './shapes.js';
import type { Store } from './store.js';

const texts = z.union(
  [z.string(), z.array(z.object({ type: z.enum(['input_text', 'output_text', 'text']), text: z.string() }))],
  {
    error:
      'expected a text, or a list of {"type": "input_text", "text": TEXT}; images and other parts are not supported',
  },
);

const item = z.discriminatedUnion(
  'type',
  [
    z.object({
      type: z.literal('message').optional(),
      role: z.enum(['system', 'developer', 'user', 'assistant']),
      content: texts,
    }),
    z.object({
      type: z.literal('function_call'),
      call_id: z.string(),
      name: z.string(),
      arguments: z.string(),
    }),
    z.object({ type: z.literal('function_call_output'), call_id: z.string(), output: texts }),
    z.object({ type: z.literal('item_reference'), id: z.string() }),
  ],
  {
    error: (issue) =>
      issue.code === 'invalid_union'
        ? 'other types of items are not supported, expected message, function_call, function_call_output or item_reference'
        : undefined,
  },
);

const { model, temperature, top_p, top_k, seed, stream, user } = sampling;

export const responseBody = z.object({
  input: z.union([z.string(), z.array(item).min(1)]),
  instructions: z.string().nullish(),
  model,
  max_output_tokens: z.number().int().min(1).nullish(),
  temperature,
  top_p,
  top_k,
  seed,
  stream,
  stream_options: z.object({ include_obfuscation: z.boolean().optional() }).nullish(),
  user,
  metadata: z.record(z.string(), z.string()).nullish(),
  /** false: the answer is not kept. */
  store: z.boolean().nullish(),
  previous_response_id: z.string().nullish(),
  include: z.array(z.enum(['message.output_text.logprobs', 'reasoning.encrypted_content'])).nullish(),
  top_logprobs: z.number().int().min(0).max(20).nullish(),
  tools: z.array(z.object({ type: z.literal('function'), ...functionTool.shape })).nullish(),
  tool_choice: z.enum(['auto', 'none']).nullish(),
});

export type ResponseBody = z.infer<typeof responseBody>;
type Item = z.infer<typeof item>;

const textOf = (content: z.infer<typeof texts>) =>
  typeof content === 'string' ? content : content.map(({ text }) => text).join('');

/**
 * The messages that a request asks to continue: the instructions, the messages of the response before it, and the input.
 *
 * @throws RequestError 400 for a response or an item that is not kept
 */
export function messagesIn(body: ResponseBody, store: Store | undefined): Message[] {
  const { instructions, previous_response_id: previous } = body;
  const items: Item[] = typeof body.input === 'string' ? [{ role: 'user', content: body.input }] : body.input;
  const messages: Message[] = [];
  if ((instructions ?? undefined) !== undefined) messages.push({ role: 'system', content: instructions! });
  if ((previous ?? undefined) !== undefined) messages.push(...turnsOf(previous!, store));
  items.forEach((each, i) => {
    for (const said of each.type === 'item_reference' ? referred(each.id, `input.${i}.id`, store) : [each])
      add(messages, said as Exclude<Item, { type: 'item_reference' }>);
  });
  return messages;
}

/** The messages up to a kept response, and its text; without its instructions, which are those of one request. */
function turnsOf(id: string, store: Store | undefined): Message[] {
  const found = kept(id, 'previous_response_id', store);
  const messages = found.prompt as Message[];
  return [...messages.slice(found.sampling.instructions ? 1 : 0), { role: 'assistant', content: found.text }];
}

/** An item of a kept response. */
function referred(id: string, param: string, store: Store | undefined): OutputItem[] {
  const place = itemOf(id);
  if (!place) throw new RequestError(400, `${param}: there is no item ${shown(id)}`, undefined, param);
  const { text, finish, sampling } = kept(place.response, param, store);
  const header = { id: place.response, created: 0, model: '' };
  const found = outputOf(header, { text, finish }, sampling.readsCalls === true)[place.index];
  if (!found) throw new RequestError(400, `${param}: there is no item ${shown(id)}`, undefined, param);
  return [found];
}

function kept(id: string, param: string, store: Store | undefined) {
  const refuse = (message: string) => {
    throw new RequestError(400, message, undefined, param, {}, 'previous_response_not_found');
  };
  if (!store) return refuse(`${param}: this server keeps no answers, send the messages instead`);
  return store.answer(id) ?? refuse(`${param}: there is no response ${shown(id)}`);
}

function add(messages: Message[], said: Exclude<Item, { type: 'item_reference' }> | OutputItem): void {
  if (said.type === 'function_call_output') {
    messages.push({ role: 'tool', content: textOf(said.output), tool_call_id: said.call_id });
    return;
  }
  if (said.type !== 'function_call') {
    messages.push({ role: said.role === 'developer' ? 'system' : said.role, content: textOf(said.content) });
    return;
  }
  const call = {
    id: said.call_id,
    type: 'function',
    function: { name: said.name, arguments: argumentsOf(said.arguments) },
  };
  const last = messages.at(-1);
  // Texts and calls of one turn are one message.
  if (last?.role !== 'assistant') messages.push({ role: 'assistant', content: '', tool_calls: [call] });
  else messages[messages.length - 1] = { ...last, tool_calls: [...((last.tool_calls as object[]) ?? []), call] };
}

const shown = (id: string) => JSON.stringify(id.slice(0, 100));
