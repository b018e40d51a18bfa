// A server that streams responses: node examples/serve.mjs [MODEL] [PORT]
//
//   curl -N localhost:8080 -d '{"prompt": "User: What does the dog say?\nAssistant:"}'
import { createServer } from 'node:http';
import { text } from 'node:stream/consumers';
import { Engine, LanguageModel, streamText, Tokenizer } from 'heed';

const [dir = 'models/base', port = '8080'] = process.argv.slice(2);
const engine = await Engine.create();
const [model, tokenizer] = [await LanguageModel.load(engine, dir), await Tokenizer.load(dir)];

const server = createServer(async (request, response) => {
  const abort = new AbortController();
  response.on('close', () => abort.abort()); // the client disconnected: stop generating
  try {
    const { prompt, maxNewTokens } = JSON.parse(await text(request)); // prompt: a string, or chat messages
    const parts = streamText({ model, tokenizer, prompt, maxNewTokens, signal: abort.signal });
    for await (const part of parts) response.write(part);
    console.log('answered');
  } catch (error) {
    if (abort.signal.aborted) return void console.log('client disconnected');
    response.statusCode = 400;
    response.write(error.message);
  }
  response.end();
});
server.listen(Number(port), () => console.log(`http://localhost:${server.address().port}`));
