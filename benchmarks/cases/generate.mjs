// Generation through the public API, random weights of GPT-2's shape; against transformers.
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { alternate, compare, hasPython, measureLimits, Peer, threads, timesOf } from '../measure.mjs';
import { gpt2Config } from './shapes.mjs';

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

export async function generate({ rounds, seconds, quick, heed }) {
  const shape = quick ? QUICK : FULL;
  const { prompt, newTokens, batches, vocab } = shape;
  const dir = await mkdtemp(join(tmpdir(), 'heed-bench-'));
  const engine = await heed.Engine.create({ threads, maxTokens: 2048 });
  const peers = hasPython('torch', 'transformers') ? Peer.both('transformers', 'generate.py') : [];
  try {
    const model = await heed.LanguageModel.init(engine, gpt2Config(shape), { seed: 1 });
    await model.save(dir);
    const prompts = Array.from({ length: Math.max(...batches) }, (_, i) =>
      Array.from({ length: prompt }, (_, t) => (i * 7919 + t * 104729 + 1) % vocab),
    );
    await writeFile(join(dir, 'prompts.json'), JSON.stringify(prompts));
    const ask = (batch, maxNewTokens, temperature) =>
      model.generate(
        prompts.slice(0, batch).map((ids, seed) => ({ prompt: Int32Array.from(ids), seed })),
        { maxNewTokens, temperature, stopTokens: [], slots: batch },
      );
    const greedy = (await ask(prompts.length, 16, 0)).map(({ tokens }) => [...tokens]);

    const [torch] = await Promise.all(peers.map((peer) => peer.start()));
    for (const peer of peers) {
      const theirs = (await peer.ask({ do: 'prepare', folder: dir, threads })).greedy;
      const same = greedy.filter((tokens, i) => tokens.join() === theirs[i].join()).length;
      // Two likeliest tokens may be closer than rounding; a wrong cache would spoil every response.
      if (same < 0.8 * greedy.length)
        throw new Error(`${peer.name}: ${same} of ${greedy.length} greedy responses are heed's`);
    }
    const cases = [];
    for (const batch of batches) {
      const others = peers.map((peer) => ({
        run: async () => (await peer.ask({ do: 'run', batch, newTokens, folder: dir, seconds })).seconds,
      }));
      const ours = { run: () => timesOf(() => ask(batch, newTokens, 1), seconds) };
      const [heeds, ...theirs] = await alternate([ours, ...others], rounds);
      const { read } = measureLimits();
      const { layers, channels } = shape;
      // Every step reads every weight of a matrix product once, however many sequences there are.
      const weightBytes = 4 * (12 * layers * channels * channels + vocab * channels);
      cases.push({
        name: `batch ${batch}: ${prompt} + ${newTokens} tokens, L${layers} C${channels} V${vocab}`,
        level: engine.info.device,
        ms: 1e3 * heeds.median,
        bestMs: 1e3 * heeds.best,
        rate: (batch * newTokens) / heeds.median,
        rateUnit: 'tokens/s',
        percentOfBound: (100 * weightBytes * newTokens) / (read * 1e9) / heeds.median,
        bound: 'reading the weights once per step',
        peers: compare(heeds, peers, theirs),
      });
    }
    await model.dispose();
    return { torch, cases };
  } finally {
    for (const peer of peers) peer.end();
    engine.dispose();
    await rm(dir, { recursive: true });
  }
}
