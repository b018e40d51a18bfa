/** /v1/responses: a response with items, and a stream of events about them. */
import type { RequestError } from '../http/server.js';
import type { Answer, Gain, Place } from './answer.js';
import { CallReader, type Part } from './calls.js';
import { type Answered, type Events, type Format, type Header, placeOf, sent, usageOf } from './format.js';
import type { OutputItem, PlaceShape, ResponseEvent, ResponseShape } from './shapes.js';

/** What a response repeats of its request. */
export type AskedResponse = Pick<
  ResponseShape,
  | 'instructions'
  | 'previous_response_id'
  | 'max_output_tokens'
  | 'temperature'
  | 'top_p'
  | 'top_logprobs'
  | 'tools'
  | 'tool_choice'
  | 'metadata'
  | 'store'
>;

type Numbered<Event> = Event extends unknown ? Omit<Event, 'sequence_number'> : never;
type Unnumbered = Numbered<ResponseEvent>;
type Message = Extract<OutputItem, { type: 'message' }>;

const kPrefix = 'resp_';

/** Names an item of a response. {@link answerOf} finds the response by it. */
const itemIdOf = (kind: string, { id }: Header, index: number) =>
  `${kind}_${id.slice(kPrefix.length)}${index === 0 ? '' : `.${index}`}`;

/** The response and the place in it of an item's id; undefined for other ids. */
export function itemOf(id: string): { readonly response: string; readonly index: number } | undefined {
  const found = id.match(/^(?:msg|fc)_([\w-]+)(?:\.(\d{1,6}))?$/);
  return found ? { response: `${kPrefix}${found[1]}`, index: Number(found[2] ?? 0) } : undefined;
}

/** The items of an answer, as it grows. */
class Output {
  readonly items: OutputItem[] = [];
  readonly #header: Header;
  #open: Message | undefined;

  constructor(header: Header) {
    this.#header = header;
  }

  add(part: Part, logprobs: PlaceShape[] = []): Unnumbered[] {
    if ('call' in part) return [...this.#close('completed'), ...this.#call(part.call)];
    const opened = this.#open ? [] : this.#begin();
    const { id, content } = this.#open!;
    const [whole] = content;
    whole!.text += part.text;
    whole!.logprobs.push(...logprobs);
    const where = { item_id: id, output_index: this.items.length - 1, content_index: 0 };
    return [...opened, { type: 'response.output_text.delta', ...where, delta: part.text, logprobs }];
  }

  end(finish: string): Unnumbered[] {
    const opened = this.items.length === 0 ? this.#begin() : [];
    return [...opened, ...this.#close(finish === 'stop' ? 'completed' : 'incomplete')];
  }

  #begin(): Unnumbered[] {
    const output_index = this.items.length;
    const id = itemIdOf('msg', this.#header, output_index);
    const part = { type: 'output_text' as const, text: '', annotations: [], logprobs: [] };
    const item = { type: 'message' as const, id, status: 'in_progress' as const, role: 'assistant' as const };
    this.#open = { ...item, content: [{ ...part, logprobs: [] }] };
    this.items.push(this.#open);
    return [
      { type: 'response.output_item.added', output_index, item: { ...item, content: [] } },
      { type: 'response.content_part.added', item_id: id, output_index, content_index: 0, part },
    ];
  }

  #close(status: Message['status']): Unnumbered[] {
    const item = this.#open;
    if (!item) return [];
    this.#open = undefined;
    item.status = status;
    const part = item.content[0]!;
    const output_index = this.items.length - 1;
    const where = { item_id: item.id, output_index, content_index: 0 };
    return [
      { type: 'response.output_text.done', ...where, text: part.text, logprobs: part.logprobs },
      { type: 'response.content_part.done', ...where, part },
      { type: 'response.output_item.done', output_index, item },
    ];
  }

  #call(call: { readonly name: string; readonly arguments: string }): Unnumbered[] {
    const output_index = this.items.length;
    const id = itemIdOf('fc', this.#header, output_index);
    const call_id = itemIdOf('call', this.#header, output_index);
    const item = { type: 'function_call' as const, id, call_id, ...call, status: 'completed' as const };
    this.items.push(item);
    const where = { item_id: id, output_index };
    const added = { ...item, status: 'in_progress' as const, arguments: '' };
    return [
      { type: 'response.output_item.added', output_index, item: added },
      { type: 'response.function_call_arguments.delta', ...where, delta: call.arguments },
      { type: 'response.function_call_arguments.done', ...where, ...call },
      { type: 'response.output_item.done', output_index, item },
    ];
  }
}

/** The items of an answer that is complete. @param readsCalls whether its text may have calls of tools */
export function outputOf(
  header: Header,
  { text, finish }: { readonly text: string; readonly finish: string },
  readsCalls: boolean,
  logprobs?: PlaceShape[],
): OutputItem[] {
  const output = new Output(header);
  const reader = readsCalls ? new CallReader() : undefined;
  for (const part of reader ? [...reader.push(text), ...reader.end()] : [{ text }]) output.add(part, logprobs);
  output.end(finish);
  return output.items;
}

export const responses = (asked: AskedResponse, readsCalls: boolean): Format => ({
  prefix: kPrefix,
  whole({ header, answers, tokenizer }, { places }): ResponseShape {
    const answer = answers[0]!;
    const logprobs = places?.[0]?.map((each) => placeOf(tokenizer, each));
    return responseOf(header, asked, outputOf(header, answer, readsCalls, logprobs), answer);
  },
  stream: (answered) => new ResponseEvents(answered, asked, readsCalls),
});

class ResponseEvents implements Events {
  readonly #answered: Answered;
  readonly #asked: AskedResponse;
  readonly #output: Output;
  readonly #reader: CallReader | undefined;
  #count = 0;

  constructor(answered: Answered, asked: AskedResponse, readsCalls: boolean) {
    this.#answered = answered;
    this.#asked = asked;
    this.#output = new Output(answered.header);
    this.#reader = readsCalls ? new CallReader() : undefined;
  }

  opening(): string[] {
    const response = this.#response();
    return this.#sent([
      { type: 'response.created', response },
      { type: 'response.in_progress', response },
    ]);
  }

  gain({ text }: Gain, place: Place | undefined): string[] {
    const parts = this.#reader ? this.#reader.push(text) : text !== '' || place ? [{ text }] : [];
    const logprobs = place ? [placeOf(this.#answered.tokenizer, place)] : [];
    return this.#sent(parts.flatMap((part) => this.#output.add(part, logprobs)));
  }

  closing(choice: number): string[] {
    const rest = (this.#reader?.end() ?? []).flatMap((part) => this.#output.add(part));
    return this.#sent([...rest, ...this.#output.end(this.#answered.answers[choice]!.finish)]);
  }

  complete(): string[] {
    const answer = this.#answered.answers[0]!;
    const response = this.#response(answer);
    return this.#sent([
      { type: response.status === 'completed' ? 'response.completed' : 'response.incomplete', response },
    ]);
  }

  failure({ message, type, code }: RequestError): string[] {
    const response = { ...this.#response(), status: 'failed' as const, error: { code: code ?? type, message } };
    return this.#sent([{ type: 'response.failed', response }]);
  }

  #response(answer?: Answer): ResponseShape {
    return responseOf(this.#answered.header, this.#asked, this.#output.items, answer);
  }

  #sent(events: readonly Unnumbered[]): string[] {
    return events.map(({ type, ...rest }) => sent({ type, sequence_number: this.#count++, ...rest }, type));
  }
}

/** @param answer undefined while it is not complete */
function responseOf(
  { id, created, model }: Header,
  asked: AskedResponse,
  output: OutputItem[],
  answer: Answer | undefined,
): ResponseShape {
  const isCut = answer?.finish === 'length';
  const usage = answer && usageOf([answer]);
  return {
    id,
    object: 'response',
    created_at: created,
    completed_at: answer && !isCut ? Math.floor(Date.now() / 1000) : null,
    status: answer ? (isCut ? 'incomplete' : 'completed') : 'in_progress',
    error: null,
    incomplete_details: isCut ? { reason: 'max_output_tokens' } : null,
    model,
    output,
    usage: usage
      ? {
          input_tokens: usage.prompt_tokens,
          input_tokens_details: { cached_tokens: 0 },
          output_tokens: usage.completion_tokens,
          output_tokens_details: { reasoning_tokens: 0 },
          total_tokens: usage.total_tokens,
        }
      : null,
    ...asked,
    parallel_tool_calls: true,
    background: false,
    reasoning: { effort: null, summary: null },
    text: { format: { type: 'text' } },
    truncation: 'disabled',
    service_tier: 'default',
  };
}
