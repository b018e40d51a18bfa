/** The OpenAPI document, from the same schemas that check requests. */
import { z } from 'zod';
import { chatBody, completionBody, feedbackBody, rollbackBody, scoreBody } from './bodies.js';

const json = (schema: z.ZodObject) => {
  const { $schema, ...rest } = z.toJSONSchema(schema, { io: 'input' }) as Record<string, unknown>;
  return { required: true, content: { 'application/json': { schema: rest } } };
};

const answers = (description: string, ...failures: number[]) => ({
  200: { description },
  ...Object.fromEntries(failures.map((code) => [code, { $ref: '#/components/responses/Error' }])),
});

const post = (operationId: string, summary: string, body: z.ZodObject, description: string) => ({
  post: {
    operationId,
    summary,
    requestBody: json(body),
    responses: answers(description, 400, 401, 403, 404, 413, 429, 503),
  },
});
const get = (operationId: string, summary: string, description: string, isOpen = false) => ({
  get: {
    operationId,
    summary,
    responses: answers(description, ...(isOpen ? [] : [401])),
    ...(isOpen ? { security: [] } : {}),
  },
});

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
    responses: {
      Error: {
        description: 'What is wrong, and where.',
        content: {
          'application/json': {
            schema: {
              type: 'object',
              required: ['error'],
              properties: {
                error: {
                  type: 'object',
                  required: ['message', 'type', 'param', 'code'],
                  properties: {
                    message: { type: 'string' },
                    type: { type: 'string' },
                    param: { type: ['string', 'null'] },
                    code: { type: ['string', 'null'] },
                  },
                },
              },
            },
          },
        },
      },
    },
  },
  paths: {
    '/v1/chat/completions': post(
      'chat',
      'Answers a dialogue.',
      chatBody,
      'A completion, or server-sent events with stream: true.',
    ),
    '/v1/completions': post(
      'complete',
      'Continues texts.',
      completionBody,
      'A completion, or server-sent events with stream: true.',
    ),
    '/v1/models': get('models', 'The served model and its version.', 'A list.'),
    '/v1/models/{model}': {
      get: {
        operationId: 'model',
        summary: 'The model of a name.',
        parameters: [{ name: 'model', in: 'path', required: true, schema: { type: 'string' } }],
        responses: answers('It is served.', 401, 404),
      },
    },
    '/score': post(
      'score',
      'Scores responses to one prompt.',
      scoreBody,
      'A score each: of the reward model, or the log-probability in nats.',
    ),
    '/feedback': post('feedback', 'Keeps what a person thinks of an answer.', feedbackBody, 'It is on the disk.'),
    '/admin/versions': {
      ...get('versions', 'All versions, and which is served.', 'A list.'),
      ...post('serveVersion', 'Serves another version: rolls back, or forward.', rollbackBody, 'It is served.'),
    },
    '/metrics': get('metrics', 'For Prometheus.', 'Text.'),
    '/healthz': get('health', 'Whether the process answers.', 'It does.', true),
    '/readyz': get('ready', 'Whether it takes requests.', 'It does.', true),
  },
});
