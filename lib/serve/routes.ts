/** The other routes: models, scores, feedback, versions, health, metrics, and the description of all. */
import type { FastifyInstance } from 'fastify';
import { RequestError } from '../http/server.js';
import { scoreText, scoreTree } from '../text/index.js';
import { feedbackBody, messagesOf, parse, rollbackBody, scoreBody } from './bodies.js';
import { openApi } from './openapi.js';
import { countRequest, lifeOf, requireModel, type Service } from './service.js';
import type { Health, Kept, KnownVersions, Model, Models, Ready, Scores, Served } from './shapes.js';

declare module 'fastify' {
  interface FastifyContextConfig {
    needsNoKey?: boolean;
  }
}

/** Of routes that say nothing of anybody's texts. */
const open = { config: { needsNoKey: true } };

export function otherRoutes(app: FastifyInstance, service: Service, isClosing: () => boolean): void {
  const { versions, metrics } = service;
  for (const path of ['/healthz', '/health']) app.get(path, open, async (): Promise<Health> => ({ status: 'ok' }));
  app.get('/readyz', open, async (_request, reply) => {
    const isWritable = await (service.store?.isWritable() ?? true);
    const reason = isClosing() ? 'closing' : service.admission.isFull ? 'full' : isWritable ? undefined : 'unwritable';
    const ready: Ready = { status: reason ?? 'ok', version: versions.current.info.version };
    return reply.code(reason ? 503 : 200).send(ready);
  });
  app.get('/openapi.json', open, async () => openApi());
  app.get('/metrics', async (_request, reply) =>
    reply.type(metrics.registry.contentType).send(await metrics.registry.metrics()),
  );

  const modelOf = (id: string, created: number): Model => ({
    id,
    object: 'model',
    created: Math.floor(created / 1000),
    owned_by: 'heed',
  });
  app.get('/v1/models', async (): Promise<Models> => {
    const own = [versions, ...service.adapters.values()].flatMap(({ name, current }) =>
      [...new Set([name, current.name])].map((each) => modelOf(each, current.info.created)),
    );
    return { object: 'list', data: own };
  });
  // A name may have slashes.
  app.get<{ Params: { '*': string } }>('/v1/models/*', async ({ params }) => {
    const { current } = requireModel(service, params['*']);
    return modelOf(params['*'], current.info.created);
  });

  app.post('/score', async (request, reply): Promise<Scores> => {
    const body = parse(scoreBody, request.body);
    const asked = requireModel(service, body.model);
    countRequest(service, request, reply);
    const life = lifeOf(service, reply);
    const { version, done } = asked.use();
    let leave: (() => void) | undefined;
    try {
      leave = await service.admission.enter(1, life.signal);
      const model = service.rewardModel ?? version.model;
      const { tokenizer } = service;
      const { responses } = body;
      const { signal } = life;
      const scores =
        typeof body.prompt === 'string'
          ? await scoreText({ model, tokenizer, prompt: body.prompt, responses, signal })
          : await scoreTree(model, await turnsOf(service, messagesOf(body.prompt), responses, signal), signal);
      return {
        object: 'scores',
        model: service.rewardModel ? 'reward' : version.name,
        kind: service.rewardModel ? 'reward' : 'logprob',
        scores,
      };
    } finally {
      leave?.();
      done();
      life.end();
    }
  });

  app.post('/feedback', async (request, reply): Promise<Kept> => {
    const body = parse(feedbackBody, request.body);
    const { store } = service;
    if (!store) throw new RequestError(404, 'this server keeps no feedback: start it with a file for it', 'not_found');
    // Whoever has a key would otherwise speak for anybody.
    if (body.labeler !== undefined) service.keys.checkAdmin(request, 'a labeler is named');
    countRequest(service, request, reply);
    await store.say(body);
    for (const kind of ['thumb', 'reward', 'edit', 'ranking'] as const)
      if (body[kind] !== undefined) metrics.feedback.inc({ kind });
    service.trainer?.wake();
    return { object: 'feedback', kept: true };
  });

  app.get('/admin/versions', async (request): Promise<KnownVersions> => {
    service.keys.checkAdmin(request, 'versions are seen');
    return {
      current: versions.current.info.version,
      versions: [...(service.trainer?.versions ?? [versions.current.info])],
      training: service.trainer?.state ?? 'off',
    };
  });
  app.post('/admin/versions', async (request): Promise<Served> => {
    service.keys.checkAdmin(request, 'versions are changed');
    const { version } = parse(rollbackBody, request.body);
    const known = service.trainer;
    if (!known) throw new RequestError(404, 'there is one version only: training is off', 'not_found');
    await known.serve(version);
    return { current: versions.current.info.version };
  });
}

/** Answers to messages are turns, which the template writes: as `heed score` reads them. @throws RequestError 400 */
async function turnsOf({ frame }: Service, messages: object[], responses: string[], signal: AbortSignal) {
  const blank = responses.findIndex((each) => each.trim() === '');
  if (blank >= 0)
    throw new RequestError(400, `responses.${blank} is empty, expected at least one word`, undefined, 'responses');
  const compared = frame.compared({ file: 'the request', line: 1, value: { prompt: messages, responses } });
  if (compared) return await frame.comparedIds(compared, { signal });
  throw new RequestError(400, 'the chat template does not let an answer follow these messages', undefined, 'prompt');
}
