// Sixteen sequences under four adapters of one base, in one pass or one batch, against a pass or a batch for each adapter.
import { computeTogether } from '../../dist/lib/runtime/together.js';
import { Bound } from '../limits.mjs';
import { contest, threads } from '../measure.mjs';
import { bytesPer, causalPairs, forwardFlops, gpt2Config } from './shapes.mjs';

const FULL = { layers: 12, heads: 12, channels: 768, vocab: 50257, positions: 1024 };
const QUICK = { layers: 2, heads: 2, channels: 32, vocab: 97, positions: 64 };
const ADAPTERS = 4;
const SEQUENCES = 16;
const RANK = 16;

export async function adapters({ quick, rounds, seconds, heed }) {
  const shape = quick ? QUICK : FULL;
  const cases = [];
  for (const dtype of ['f32', 'bf16']) {
    const engine = await heed.Engine.create({ threads, maxTokens: 4096, dtype });
    try {
      const base = await heed.LanguageModel.init(engine, gpt2Config(shape), { seed: 1 });
      const models = [];
      for (let a = 0; a < ADAPTERS; a++) models.push(await trained(heed, base, a, shape.vocab));
      const contestants = { heed, engine, models, shape, dtype, rounds, seconds };
      for (const length of quick ? [4] : [8, 32, 128]) cases.push(await logprobs(contestants, length));
      cases.push(await generation(contestants, quick ? [8, 8] : [32, 64]));
    } finally {
      await engine.dispose();
    }
  }
  return {
    cases,
    bound: 'of the base alone: the multiply-adds, or the weights once a pass',
  };
}

/** An adapter that does something. */
async function trained(heed, base, seed, vocab) {
  const model = await base.adapter({ rank: RANK, alpha: 2 * RANK, seed });
  const trainer = await model.trainer();
  const batch = heed.packDocuments([sequence(seed, 16, vocab)]);
  await trainer.sft(batch, { scale: 1 / batch.rows.length });
  await trainer.step({ learningRate: 1e-2 });
  await trainer.dispose();
  return model;
}

const sequence = (i, length, vocab) => Int32Array.from({ length }, (_, t) => (i * 7919 + t * 104729 + 1) % vocab);

async function logprobs({ heed, engine, models, shape, dtype, rounds, seconds }, length) {
  const { layers, channels, vocab } = shape;
  const all = Array.from({ length: SEQUENCES }, (_, i) => sequence(i, length + 1, vocab));
  const requests = all.map((ids, i) => ({ model: models[i % ADAPTERS], batch: heed.packDocuments([ids]) }));
  const batches = models.map((_, a) => heed.packDocuments(all.filter((_, i) => i % ADAPTERS === a)));
  const together = () => computeTogether(requests);
  const apart = async () => {
    for (const [a, model] of models.entries()) await model.logprobs(batches[a]);
  };
  const results = await together();
  for (const [i, { model, batch }] of requests.entries())
    requireSame((await model.logprobs(batch)).logprobs, results[i].logprobs);
  const tokens = SEQUENCES * (length + 1);
  const flops = forwardFlops(shape, {
    tokens,
    pairs: SEQUENCES * causalPairs(length + 1),
    rows: SEQUENCES * length,
    outputs: vocab,
  });
  return await contest({
    name: `log-probabilities ${dtype}: 16 sequences of ${length + 1}, L${layers} C${channels} V${vocab}`,
    level: engine.info.device,
    run: together,
    peers: [],
    others: [{ name: 'a pass for each adapter', run: apart }],
    bound: new Bound([{ flops, bytes: bytesPer[dtype] * (12 * layers * channels ** 2 + vocab * channels) }], { dtype }),
    work: tokens,
    unit: 'tokens',
    rounds,
    seconds,
  });
}

async function generation({ engine, models, shape, dtype, rounds, seconds }, [prompt, newTokens]) {
  const { layers, channels, vocab } = shape;
  const requests = Array.from({ length: SEQUENCES }, (_, i) => ({ prompt: sequence(i, prompt, vocab), seed: i }));
  const options = { maxNewTokens: newTokens, stopTokens: [] };
  const ask = (a) =>
    models[a].generate(
      requests.filter((_, i) => i % ADAPTERS === a),
      options,
    );
  const together = () => Promise.all(models.map((_, a) => ask(a)));
  const apart = async () => {
    const all = [];
    for (const a of models.keys()) all.push(await ask(a));
    return all;
  };
  const [mixed, alone] = [await together(), await apart()];
  mixed.flat().forEach(({ logprobs: mine }, i) => {
    requireSame(alone.flat()[i].logprobs, mine);
  });
  const size = bytesPer[dtype];
  const weights = size * (12 * layers * channels ** 2 + vocab * channels);
  const steps = newTokens - 1;
  const keys = SEQUENCES * causalPairs(steps, prompt);
  const flops = (tokens, pairs, rows) => forwardFlops(shape, { tokens, pairs, rows, outputs: vocab });
  const phases = [
    { flops: flops(SEQUENCES * prompt, SEQUENCES * causalPairs(prompt), SEQUENCES), bytes: weights },
    {
      flops: flops(SEQUENCES * steps, keys, SEQUENCES * steps),
      bytes: steps * weights + size * 2 * layers * channels * keys,
      set: weights,
    },
  ];
  return await contest({
    name: `generation ${dtype}: 16 responses, ${prompt} + ${newTokens} tokens, L${layers} C${channels} V${vocab}`,
    level: engine.info.device,
    run: together,
    peers: [],
    others: [{ name: 'a pass for each adapter', run: apart }],
    bound: new Bound(phases, { dtype }),
    work: SEQUENCES * newTokens,
    unit: 'tokens',
    rounds,
    seconds,
  });
}

function requireSame(expected, actual) {
  if (expected.length !== actual.length || expected.some((x, i) => x !== actual[i]))
    throw new Error('a sequence under its adapter alone has other bits than in the mix');
}
