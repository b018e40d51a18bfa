// What llama.cpp makes of a GGUF file: `node llama.mjs`, run where node-llama-cpp is installed, with a request on standard input:
// {file, texts, prompts, count} gives {tokens, greedy, logprobs}: the ids of each text, count greedy tokens after each prompt, and the
// log-probability of the first.
import { createRequire } from 'node:module';
import { text } from 'node:stream/consumers';
import { pathToFileURL } from 'node:url';

const require = createRequire(`${process.cwd()}/`);
const { getLlama } = await import(pathToFileURL(require.resolve('node-llama-cpp')).href);
const { file, texts, prompts, count } = JSON.parse(await text(process.stdin));
const llama = await getLlama({ gpu: false, build: 'never', progressLogs: false, logLevel: 'error' });
const model = await llama.loadModel({ modelPath: file, gpuLayers: 0 });
const context = await model.createContext({
  contextSize: 128,
  threads: 2,
  experimentalKvCacheKeyType: 'F32',
  experimentalKvCacheValueType: 'F32',
});
const sequence = context.getSequence();
const greedy = [];
const logprobs = [];
for (const prompt of prompts) {
  await sequence.clearHistory();
  const last = prompt.length - 1;
  const input = prompt.map((id, i) => (i < last ? id : [id, { generateNext: { probabilities: true } }]));
  const { probabilities } = (await sequence.controlledEvaluate(input)).at(-1).next;
  let most = 0;
  for (const probability of probabilities.values()) most = Math.max(most, probability);
  logprobs.push(Math.log(most));
  await sequence.clearHistory();
  const found = [];
  for await (const token of sequence.evaluate(prompt, { temperature: 0, yieldEogToken: true })) {
    found.push(token);
    if (found.length === count) break;
  }
  greedy.push(found);
}
const tokens = texts.map((each) => [...model.tokenize(each, true)]);
process.stdout.write(JSON.stringify({ tokens, greedy, logprobs }), () => process.exit(0));
