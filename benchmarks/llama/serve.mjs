// Generation by node-llama-cpp on the CPU, asked as the baselines in Python are: `node serve.mjs f32|bf16`.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { getLlama } from 'node-llama-cpp';
import { timesOf } from '../measure.mjs';
import { writeModel } from './gguf.mjs';

const dtype = process.argv[2];
const answer = (value) => process.stdout.write(`${JSON.stringify(value)}\n`);
const llama = await getLlama({ gpu: false, build: 'never', progressLogs: false, logLevel: 'error' });
const state = {};

const handlers = {
  async prepare({ folder, threads, slots, length }) {
    const file = join(folder, `model-${dtype}.gguf`);
    await writeModel(folder, file, dtype);
    const type = dtype === 'f32' ? 'F32' : 'BF16';
    const model = await llama.loadModel({ modelPath: file, gpuLayers: 0 });
    state.prompts = JSON.parse(readFileSync(join(folder, 'prompts.json'), 'utf8'));
    state.context = await model.createContext({
      sequences: slots,
      contextSize: length,
      batchSize: 2048,
      threads,
      experimentalKvCacheKeyType: type,
      experimentalKvCacheValueType: type,
    });
    state.sequences = Array.from({ length: slots }, () => state.context.getSequence());
    const greedy = JSON.parse(readFileSync(join(folder, 'greedy.json'), 'utf8'));
    return {
      greedy: await generate(slots, greedy[0].length, 0),
      logprobs: await Promise.all(
        greedy.map((response, i) => logprobs(state.sequences[i], state.prompts[i], response)),
      ),
    };
  },
  async run({ batch, newTokens, seconds }) {
    return { seconds: await timesOf(() => generate(batch, newTokens, 1), seconds) };
  },
};

/** Of a response's tokens, each after those before it. */
async function logprobs(sequence, prompt, response) {
  const found = [];
  await sequence.clearHistory();
  let next = prompt;
  for (const token of response) {
    const input = next.map((id, i) => (i + 1 < next.length ? id : [id, { generateNext: { probabilities: true } }]));
    const answers = await sequence.controlledEvaluate(input);
    found.push(Math.log(answers.at(-1).next.probabilities.get(token)));
    next = [token];
  }
  return found;
}

/** All at once: node-llama-cpp batches what its sequences ask for. */
function generate(batch, count, temperature) {
  return Promise.all(
    state.prompts.slice(0, batch).map(async (prompt, i) => {
      const sequence = state.sequences[i];
      await sequence.clearHistory();
      const tokens = [];
      const options = { temperature, topK: 0, topP: 1, minP: 0, seed: i, yieldEogToken: true };
      for await (const token of sequence.evaluate(prompt, options)) {
        tokens.push(token);
        if (tokens.length === count) break;
      }
      return tokens;
    }),
  );
}

answer({ ready: true, torch: null });
for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line);
  try {
    answer(await handlers[request.do](request));
  } catch (error) {
    answer({ error: String(error?.stack ?? error) });
  }
}
process.exit(0); // not before its own threads have nothing to do
