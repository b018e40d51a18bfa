/** /v1/responses. */
import type { FastifyInstance } from 'fastify';
import { RequestError } from '../http/server.js';
import { parse } from './bodies.js';
import { messagesIn, type ResponseBody, responseBody } from './input.js';
import { type AskedResponse, responses } from './output.js';
import { answer } from './run.js';
import { encode, type Service } from './service.js';
import { type Tool, toolsFor } from './tools.js';

export function responseRoutes(app: FastifyInstance, service: Service): void {
  app.post('/v1/responses', async (request, reply) => {
    const body = parse(responseBody, request.body);
    if (body.store && !service.store)
      throw new RequestError(400, 'store is true, but this server keeps no answers', undefined, 'store');
    const showsLogprobs = body.include?.includes('message.output_text.logprobs') ?? false;
    if (body.top_logprobs && !showsLogprobs)
      throw new RequestError(
        400,
        'top_logprobs needs include: ["message.output_text.logprobs"]',
        undefined,
        'top_logprobs',
      );
    const tools = toolsFor(service, toolsOf(body), body.tool_choice);
    if (showsLogprobs && tools?.readsCalls)
      throw new RequestError(400, 'include: calls of tools have no log-probabilities', undefined, 'include');
    const messages = messagesIn(body, service.store);
    const keeps = service.store !== undefined && body.store !== false;
    const format = responses(repeated(body, keeps), tools?.readsCalls ?? false);
    const note = {
      ...((body.instructions ?? undefined) === undefined ? {} : { instructions: true }),
      ...(tools?.readsCalls ? { readsCalls: true } : {}),
    };
    return await answer(service, request, reply, body, async (signal, { model }) => ({
      format,
      prompts: [await encode(service, messages, signal, model, { param: 'input', tools: tools?.shown })],
      maxTokens: body.max_output_tokens,
      logprobs: showsLogprobs ? (body.top_logprobs ?? 0) : undefined,
      echo: false,
      usage: true,
      note: keeps ? note : undefined,
    }));
  });
}

/** As chats have them. */
const toolsOf = ({ tools }: ResponseBody): Tool[] | undefined =>
  tools?.map(({ type, strict: _, ...rest }) => ({ type, function: rest }));

const repeated = (body: ResponseBody, store: boolean): AskedResponse => ({
  instructions: body.instructions ?? null,
  previous_response_id: body.previous_response_id ?? null,
  max_output_tokens: body.max_output_tokens ?? null,
  temperature: body.temperature ?? 1,
  top_p: body.top_p ?? 1,
  top_logprobs: body.top_logprobs ?? 0,
  tools: body.tools ?? [],
  tool_choice: body.tool_choice ?? 'auto',
  metadata: body.metadata ?? {},
  store,
});
