/** /v1/chat/completions and /v1/completions. */
import type { FastifyInstance } from 'fastify';
import { RequestError } from '../http/server.js';
import { type CompletionBody, chatBody, completionBody, messagesOf, parse } from './bodies.js';
import { chat, text } from './chunks.js';
import type { Version } from './learning/versions.js';
import { answer } from './run.js';
import { checked, encode, type Service } from './service.js';
import { type Tool, toolsFor } from './tools.js';

export function completionRoutes(app: FastifyInstance, service: Service): void {
  app.post('/v1/chat/completions', async (request, reply) => {
    const body = parse(chatBody, request.body);
    if (body.top_logprobs && !body.logprobs)
      throw new RequestError(400, 'top_logprobs needs logprobs: true', undefined, 'top_logprobs');
    const tools = toolsFor(service, body.tools as Tool[] | null | undefined, body.tool_choice);
    const messages = messagesOf(body.messages);
    return await answer(service, request, reply, body, async (signal, { model }) => ({
      format: chat(tools?.readsCalls ?? false),
      prompts: [await encode(service, messages, signal, model, { param: 'messages', tools: tools?.shown })],
      maxTokens: body.max_completion_tokens ?? body.max_tokens,
      logprobs: body.logprobs ? (body.top_logprobs ?? 0) : undefined,
      echo: false,
      usage: body.stream_options?.include_usage ?? false,
      note: {},
    }));
  });
  app.post('/v1/completions', async (request, reply) => {
    const body = parse(completionBody, request.body);
    return await answer(service, request, reply, body, async (signal, version) => ({
      format: text,
      prompts: await promptsOf(service, body.prompt, signal, version),
      maxTokens: body.max_tokens,
      logprobs: body.logprobs ?? undefined,
      echo: body.echo ?? false,
      usage: body.stream_options?.include_usage ?? false,
      note: {},
    }));
  });
}

async function promptsOf(service: Service, prompt: CompletionBody['prompt'], signal: AbortSignal, { model }: Version) {
  const several: (string | number[])[] =
    typeof prompt === 'string'
      ? [prompt]
      : typeof prompt[0] === 'number'
        ? [prompt as number[]]
        : (prompt as string[] | number[][]);
  return await Promise.all(
    several.map(async (each) => {
      if (typeof each === 'string') return await encode(service, each, signal, model);
      const wrong = each.find((id) => id >= model.config.vocabSize);
      if (wrong !== undefined)
        throw new RequestError(
          400,
          `the prompt has the token ${wrong}, expected ids below ${model.config.vocabSize}`,
          undefined,
          'prompt',
        );
      const ids = Int32Array.from(each);
      return checked({ ids, prompt: service.tokenizer.decode(ids, false) }, model);
    }),
  );
}
