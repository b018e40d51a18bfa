// Generation through the public API, random weights of GPT-2's shape; against transformers and node-llama-cpp.
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Bound } from '../limits.mjs';
import { contest, inFolder, threads } from '../measure.mjs';
import { hasPython, llamaCpp, startPeers } from '../peer.mjs';
import { bytesPer, causalPairs, forwardFlops, gpt2Config } from './shapes.mjs';

const FULL = {
  layers: 12,
  heads: 12,
  channels: 768,
  vocab: 50257,
  positions: 1024,
  prompt: 64,
  newTokens: 128,
  batches: [1, 16],
};
const QUICK = { layers: 2, heads: 2, channels: 32, vocab: 97, positions: 64, prompt: 8, newTokens: 8, batches: [1, 4] };
const CHECKED_TOKENS = 16;

export async function generate({ quick, ...options }) {
  const shape = quick ? QUICK : FULL;
  const cases = [];
  let torch;
  for (const dtype of ['f32', 'bf16']) {
    const measured = await inFolder((dir) => measure({ ...shape, dtype }, dir, options));
    torch ??= measured.torch;
    cases.push(...measured.cases);
  }
  return {
    torch,
    cases,
    bound: 'for the prompts and for each step, the multiply-adds, or the weights once and the cache',
  };
}

async function measure(shape, dir, { rounds, seconds, heed }) {
  const { layers, channels, vocab, prompt, newTokens, batches, dtype } = shape;
  const prompts = Array.from({ length: Math.max(...batches) }, (_, i) =>
    Array.from({ length: prompt }, (_, t) => (i * 7919 + t * 104729 + 1) % vocab),
  );
  const engines = [];
  let peers = [];
  try {
    const start = async (type, make) => {
      const engine = await heed.Engine.create({ threads, maxTokens: 2048, dtype: type });
      engines.push(engine);
      const model = await make(engine);
      const requests = prompts.map((ids, seed) => ({ prompt: Int32Array.from(ids), seed }));
      const optionsOf = (slots, maxNewTokens, temperature) => ({ maxNewTokens, temperature, stopTokens: [], slots });
      const ask = (batch, ...rest) => model.generate(requests.slice(0, batch), optionsOf(batch, ...rest));
      const askApart = (batch, ...rest) =>
        Promise.all(requests.slice(0, batch).map((request) => model.generate([request], optionsOf(batch, ...rest))));
      return { engine, model, ask, askApart };
    };
    const ours = await start(dtype, (engine) => heed.LanguageModel.init(engine, gpt2Config(shape), { seed: 1 }));
    await ours.model.save(dir, { dtype: 'f32' });
    await writeFile(join(dir, 'prompts.json'), JSON.stringify(prompts));
    const greedy = await ours.ask(prompts.length, CHECKED_TOKENS, 0);
    requireSame(greedy, (await ours.askApart(prompts.length, CHECKED_TOKENS, 0)).flat());
    await writeFile(join(dir, 'greedy.json'), JSON.stringify(greedy.map(({ tokens }) => [...tokens])));
    const other = dtype === 'f32' ? undefined : await start('f32', (engine) => heed.LanguageModel.load(engine, dir));

    const named = (name) => (dtype === 'f32' ? name : `${name} bf16`);
    const specs = [
      ...(hasPython('torch', 'transformers')
        ? [{ name: named('transformers'), script: 'generate.py', args: [dtype] }]
        : []),
      ...llamaCpp(named('node-llama-cpp'), [dtype]),
    ];
    const slots = prompts.length;
    const length = slots * (prompt + newTokens);
    const started = await startPeers(specs, false, async (peer) => {
      requireAlike(peer.name, greedy, await peer.ask({ do: 'prepare', folder: dir, threads, slots, length }), dtype);
    });
    peers = started.peers;
    const cases = [];
    for (const batch of batches) {
      const others = [];
      if (other !== undefined) others.push({ name: 'heed f32', run: () => other.ask(batch, newTokens, 1) });
      if (batch > 1)
        others.push({ name: `heed, ${batch} calls at once`, run: () => ours.askApart(batch, newTokens, 1) });
      cases.push(
        await contest({
          name: `batch ${batch} ${dtype}: ${prompt} + ${newTokens} tokens, L${layers} C${channels} V${vocab}`,
          level: ours.engine.info.device,
          run: () => ours.ask(batch, newTokens, 1),
          peers,
          others,
          request: { batch, newTokens, folder: dir },
          bound: new Bound(phases(shape, batch), { dtype }),
          work: batch * newTokens,
          unit: 'tokens',
          rounds,
          seconds,
        }),
      );
    }
    return { torch: started.torch, cases };
  } finally {
    for (const peer of peers) await peer.end();
    for (const engine of engines) await engine.dispose();
  }
}

// The prompts in one pass, then one token of each sequence a step: every step reads every weight of a matrix product once,
// however many sequences there are, and the keys and values so far.
function phases(shape, batch) {
  const { layers, channels, vocab, prompt, newTokens, dtype } = shape;
  const size = bytesPer[dtype];
  const weights = size * (12 * layers * channels ** 2 + vocab * channels);
  const steps = newTokens - 1;
  const keys = batch * causalPairs(steps, prompt); // that the steps attend to, all together
  const count = (tokens, pairs, rows) => forwardFlops(shape, { tokens, pairs, rows, outputs: vocab });
  return [
    { flops: count(batch * prompt, batch * causalPairs(prompt), batch), bytes: weights },
    {
      flops: count(batch * steps, keys, batch * steps),
      bytes: steps * weights + size * 2 * layers * channels * keys,
      set: weights,
    },
  ];
}

// In float32 the greedy responses agree, but for a few: two likeliest tokens may be closer than rounding, while a wrong cache
// would spoil every response. In bf16 ties are common, and the peer is asked for the log-probabilities of heed's responses.
function requireAlike(name, greedy, { greedy: theirs, logprobs }, dtype) {
  if (dtype === 'f32') {
    const same = greedy.filter(({ tokens }, i) => tokens.join() === theirs[i].join()).length;
    if (same < 0.8 * greedy.length) throw new Error(`${name}: ${same} of ${greedy.length} greedy responses are heed's`);
  }
  const differences = greedy.flatMap((response, i) =>
    [...response.logprobs].map((x, t) => Math.abs(x - logprobs[i][t])),
  );
  const mean = differences.reduce((a, b) => a + b) / differences.length;
  if (!(mean < (dtype === 'f32' ? 5e-4 : 5e-2)))
    // llama.cpp's GELU is a table of half floats
    throw new Error(`${name}: log-probabilities differ by ${mean} on average`);
}

function requireSame(one, apart) {
  const bits = (all) => all.map(({ tokens, logprobs }) => `${tokens} ${logprobs}`).join('\n');
  if (bits(one) !== bits(apart))
    throw new Error('calls at once: other tokens or log-probabilities than those of one call');
}
