/** The OpenAPI document, from the same schemas that check requests and type answers. */
import { z } from 'zod';
import { chatBody, completionBody, feedbackBody, rollbackBody, scoreBody } from './bodies.js';
import { responseBody } from './input.js';
import {
  chatChunkShape,
  chatShape,
  completionChunkShape,
  completionShape,
  errorShape,
  healthShape,
  keptShape,
  modelShape,
  modelsShape,
  readyShape,
  responseEventShape,
  responseShape,
  scoresShape,
  servedShape,
  versionsShape,
} from './shapes.js';

const schema = (shape: z.ZodType, io: 'input' | 'output' = 'output') => {
  const { $schema, ...rest } = z.toJSONSchema(shape, { io }) as Record<string, unknown>;
  return rest;
};

const json = (shape: z.ZodType, io?: 'input') => ({ 'application/json': { schema: schema(shape, io) } });

interface Answer {
  readonly description: string;
  readonly content: Readonly<Record<string, object>>;
}

const shows = (description: string, shape: z.ZodType): Answer => ({ description, content: json(shape) });

/** Whole, or with `stream: true` as server-sent events of the other shape. */
const streams = (shape: z.ZodType, event: z.ZodType): Answer => ({
  description: 'The answer; with stream: true server-sent events.',
  content: { ...json(shape), 'text/event-stream': { schema: schema(event) } },
});

const answers = (answer: Answer, ...failures: number[]) => ({
  200: answer,
  ...Object.fromEntries(failures.map((status) => [status, { $ref: '#/components/responses/Error' }])),
});

const kAny = [400, 401, 403, 413, 415, 431, 500]; // of any route

const post = (operationId: string, summary: string, body: z.ZodObject, answer: Answer, ...failures: number[]) => ({
  post: {
    operationId,
    summary,
    requestBody: { required: true, content: json(body, 'input') },
    responses: answers(answer, ...kAny, ...failures),
  },
});
const get = (operationId: string, summary: string, answer: Answer, ...failures: number[]) => ({
  get: { operationId, summary, responses: answers(answer, ...kAny, ...failures) },
});

/** Routes that need no key. */
const open = (operationId: string, summary: string, answer: Answer, others: Readonly<Record<number, Answer>> = {}) => ({
  get: {
    operationId,
    summary,
    responses: { 200: answer, ...others, 431: { $ref: '#/components/responses/Error' } },
    security: [],
  },
});

const kOfAnswers = [404, 429, 503, 507];

/** OpenAPI 3.1. */
export const openApi = () => ({
  openapi: '3.1.0',
  info: {
    title: 'heed serve',
    version: '1',
    description: "OpenAI's completions, scores, and feedback that is kept and learnt from.",
  },
  security: [{ key: [] }, {}],
  components: {
    securitySchemes: { key: { type: 'http', scheme: 'bearer' } },
    responses: { Error: shows('What is wrong, and where.', errorShape) },
  },
  paths: {
    '/v1/chat/completions': post(
      'chat',
      'Answers a dialogue.',
      chatBody,
      streams(chatShape, chatChunkShape),
      ...kOfAnswers,
    ),
    '/v1/completions': post(
      'complete',
      'Continues texts.',
      completionBody,
      streams(completionShape, completionChunkShape),
      ...kOfAnswers,
    ),
    '/v1/responses': post(
      'respond',
      'Answers a text or a dialogue.',
      responseBody,
      streams(responseShape, responseEventShape),
      ...kOfAnswers,
    ),
    '/v1/models': get('models', 'The served model and its version.', shows('All names.', modelsShape)),
    '/v1/models/{model}': {
      get: {
        ...get('model', 'The model of a name.', shows('It is served.', modelShape), 404).get,
        parameters: [{ name: 'model', in: 'path', required: true, schema: { type: 'string' } }],
      },
    },
    '/score': post(
      'score',
      'Scores responses to one prompt.',
      scoreBody,
      shows('A score each: of the reward model, or the log-probability in nats.', scoresShape),
      ...kOfAnswers,
    ),
    '/feedback': post(
      'feedback',
      'Keeps what a person thinks of an answer.',
      feedbackBody,
      shows('It is on the disk.', keptShape),
      404,
      429,
      507,
    ),
    '/admin/versions': {
      ...get('versions', 'All versions, and which is served.', shows('A list.', versionsShape)),
      ...post(
        'serveVersion',
        'Serves another version: rolls back, or forward.',
        rollbackBody,
        shows('It is served.', servedShape),
        404,
      ),
    },
    '/metrics': get('metrics', 'For Prometheus.', {
      description: 'Its text format.',
      content: { 'text/plain': { schema: { type: 'string' } } },
    }),
    '/healthz': open('health', 'Whether the process answers.', shows('It does.', healthShape)),
    '/health': open('healthToo', 'The same.', shows('It does.', healthShape)),
    '/readyz': open('ready', 'Whether it takes requests.', shows('It does.', readyShape), {
      503: shows('It does not, and why.', readyShape),
    }),
    '/openapi.json': open('describe', 'This document.', {
      description: 'OpenAPI 3.1.',
      content: { 'application/json': { schema: { type: 'object' } } },
    }),
  },
});
