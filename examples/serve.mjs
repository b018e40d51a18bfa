// A server of one's own around heed's service: node examples/serve.mjs [MODEL] [PORT] [FEEDBACK.db]
//
//   curl localhost:8080/llm/v1/completions -H 'content-type: application/json' -d '{"prompt": "The dog", "stream": true}'
import Fastify from 'fastify';
import { Engine, LanguageModel, Tokenizer } from 'heed';
import { serving } from 'heed/serve';

const [dir = 'models/base', port = '8080', feedback] = process.argv.slice(2);
const engine = await Engine.create();
const [model, tokenizer] = [await LanguageModel.load(engine, dir), await Tokenizer.load(dir)];

const app = Fastify();
app.get('/', async () => 'my own page');
await app.register(serving({ name: 'mine', model, tokenizer, feedback }), { prefix: '/llm' });
console.log(await app.listen({ port: Number(port), host: '127.0.0.1' }));

process.once('SIGTERM', async () => {
  await app.close();
  await engine.dispose();
});
