// Over-optimisation of a reward model (Gao et al. 2023) on people's labels: best-of-n, and PPO without and with a KL penalty, against one
// proxy and against ensembles of four, judged by a gold reward model that nothing optimises. Minutes on two cores.
//
//   node examples/overoptimisation.mjs DATA OUT [SEED...]        default: seeds 0 to 3
//
// DATA has eval/rt_polarity_10662.jsonl.gz: sentences of film reviews that their authors meant as praise or not (Pang and Lee 2005). Gold
// learns from half of them, each proxy from a few others. docs/results.md has the numbers; scripts/overoptimisation.mjs draws them.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import {
  bestOfNCurves,
  countWords,
  document,
  Engine,
  finish,
  klFrom,
  LanguageModel,
  modelConfig,
  rewards,
  ScalarModel,
  sampleTrees,
  scorerPairs,
  Tokenizer,
  toTokenizerJson,
  trainBpe,
  trainingCurve,
  trainPpo,
  trainPretrain,
  trainReward,
} from 'heed';

const [data, out, ...seeds] = process.argv.slice(2);
if (!out) throw new Error('usage: node examples/overoptimisation.mjs DATA OUT [SEED...]');
const kProxies = 4;
const kLabels = 400; // sentences that a proxy learns from
const kTokens = 24; // of a response, at most
const kMinibatches = 4;
const kCheckpoints = [2, 4, 7, 10, 14, 19, 25, 32, 42]; // iterations
const log = (text) => process.stderr.write(`${text}\n`);

const place = (text) => [...text].reduce((h, c) => (h * 31 + c.codePointAt(0)) % 65521, 7);
const sentences = gunzipSync(readFileSync(join(data, 'eval/rt_polarity_10662.jsonl.gz')))
  .toString()
  .trim()
  .split('\n')
  .map((line) => JSON.parse(line))
  .map(({ text, label }) => ({ text, toxic: label === 'pos' })); // what a scorer is to score high
/** A tenth tests, half is gold's, proxies take theirs from the rest. */
const part = ({ text }) => Math.floor((10 * place(text)) / 65521);
const test = sentences.filter((one) => part(one) === 0);
const forGold = sentences.filter((one) => part(one) >= 5);
const forProxies = sentences.filter((one) => part(one) >= 1 && part(one) < 5);

// A small language model of the sentences: the policy before any reward.
mkdirSync(out, { recursive: true });
const words = new Map();
for (const { text } of sentences) countWords(` ${text}`, words);
writeFileSync(join(out, 'tokenizer.json'), JSON.stringify(toTokenizerJson(trainBpe(words, { vocabSize: 1024 }))));
writeFileSync(
  join(out, 'tokenizer_config.json'),
  JSON.stringify({ tokenizer_class: 'PreTrainedTokenizerFast', eos_token: '<|endoftext|>', pad_token: '<|pad|>' }),
);
const tokenizer = await Tokenizer.load(out);
const engine = await Engine.create();
const config = modelConfig('llama', {
  vocabSize: tokenizer.vocabSize,
  channels: 128,
  numLayers: 2,
  numHeads: 4,
  maxPositions: 192,
});
const kPrompt = 'Text:';
const start = Int32Array.from(await tokenizer.encode(kPrompt));
const encoded = async (text) => Int32Array.from([...(await tokenizer.encode(` ${text}`)), tokenizer.endOfText]);
const fits = (ids) => start.length + ids.length <= config.maxPositions;
const documents = [];
for (const one of sentences) {
  const ids = await encoded(one.text);
  if (part(one) > 0 && fits(ids)) documents.push(document(Int32Array.from([...start, ...ids])));
}
const base = await LanguageModel.init(engine, config, { seed: 0 });
let loss = 0;
await finish(trainPretrain({ model: base, documents, steps: 300, batchTokens: 2048 }), (metrics) => {
  loss = metrics.loss;
});
log(`base: ${documents.length} sentences, loss ${loss.toFixed(2)} nats per token`);

// Prompts are the first three words of sentences; those of the test are for measuring.
const beginnings = (some) => [
  ...new Set(some.map(({ text }) => `${kPrompt} ${text.split(' ').slice(0, 3).join(' ')}`)),
];
const asked = beginnings(forProxies).slice(0, 1000);
const measured = beginnings(test)
  .filter((text) => !asked.includes(text))
  .slice(0, 80);
const prompts = await Promise.all(asked.map(async (text) => Int32Array.from(await tokenizer.encode(text))));

async function rankings(some, perText) {
  const found = [];
  for (const { responses, ranks } of scorerPairs(some, { perText })) {
    const ids = await Promise.all(responses.map((text) => encoded(text.trim())));
    if (ids.every(fits)) found.push({ prompt: start, responses: ids, ranks: Int32Array.from(ranks) });
  }
  return found;
}
const validation = await rankings(test, 2);

/** A reward model whose scores of the base's samples have mean 0 and standard deviation 1. */
async function rewardModel(name, some, { perText, epochs, seed, samples }) {
  const model = await ScalarModel.from(base, { seed });
  const { scale, validation: held } = await finish(
    trainReward({
      model,
      rankings: await rankings(some, perText),
      validation,
      demonstrations: samples,
      normalize: 'meanStd',
      epochs,
      batchSize: 16,
      learningRate: 5e-4,
      seed,
    }),
  );
  await model.scaleScores(scale);
  log(`${name}: ${(100 * held.accuracy).toFixed(1)} % of ${held.pairs} held-out pairs`);
  return { model, accuracy: held };
}

const episodesOf = (trees) =>
  trees.flatMap(({ prompt, responses }, promptIndex) =>
    responses.map((response) => ({ promptIndex, prompt, response, finished: true })),
  );
async function scored(trees, reward) {
  const { scores } = await reward(episodesOf(trees), { iteration: 0, signal: undefined });
  let next = 0;
  return trees.map(({ responses }) => responses.map(() => scores[next++]));
}

const results = [];
for (const seed of seeds.length > 0 ? seeds.map(Number) : [0, 1, 2, 3]) {
  const options = { tokenizer, maxNewTokens: kTokens, seed };
  const initial = await sampleTrees(base, measured, { ...options, samples: 64 });
  const samples = initial.trees.flatMap(({ prompt, responses }) =>
    responses.slice(0, 8).map((response) => ({
      tokens: Int32Array.from([...prompt, ...response]),
      spans: Int32Array.of(prompt.length, prompt.length + response.length),
    })),
  );
  const gold = await rewardModel(`seed ${seed}: gold`, forGold, { perText: 2, epochs: 1, seed, samples });
  const order = (text) => place(`${seed} ${text}`);
  const dealt = [...forProxies].sort((a, b) => order(a.text) - order(b.text));
  const proxies = [];
  for (let p = 0; p < kProxies; p++) {
    const own = dealt.slice(kLabels * p, kLabels * (p + 1));
    proxies.push(
      await rewardModel(`seed ${seed}: proxy ${p + 1}`, own, { perText: 2, epochs: 2, seed: 100 * seed + p, samples }),
    );
  }
  const models = proxies.map(({ model }) => model);
  const one = (model) => ({ models: [model], by: 'mean' });
  const rewardOf = (ensemble) => {
    const texts = asked.map((text) => ({ text, row: { value: {} } }));
    return rewards([{ name: 'proxy', reward: ensemble }], { tokenizer, prompts: texts });
  };
  const goldOf = (trees) => scored(trees, rewardOf(one(gold.model)));

  const goldScores = await goldOf(initial.trees);
  const proxyScores = [];
  for (const [p, model] of models.entries())
    proxyScores.push({ name: `proxy ${p + 1}`, scores: await scored(initial.trees, rewardOf(one(model))) });
  const curves = bestOfNCurves(proxyScores, goldScores, seed);

  const runs = [
    { of: 'proxy 1', ensemble: one(models[0]), klCoef: 0 },
    { of: 'proxy 1, KL penalty 0.1', ensemble: one(models[0]), klCoef: 0.1 },
    { of: 'mean', ensemble: { models, by: 'mean' }, klCoef: 0 },
    { of: 'worst', ensemble: { models, by: 'worst' }, klCoef: 0 },
    { of: 'uncertainty', ensemble: { models, by: 'uncertainty' }, klCoef: 0 },
  ];
  for (const { of, ensemble, klCoef } of runs) {
    const reward = rewardOf(ensemble);
    const policy = await base.clone();
    const value = await models[0].clone();
    const policies = [];
    let steps = 0;
    const training = trainPpo({
      policy,
      reference: base,
      reward,
      value,
      prompts,
      stopTokens: [tokenizer.endOfText],
      maxNewTokens: kTokens,
      batchSize: 64,
      minibatches: kMinibatches,
      iterations: kCheckpoints.at(-1),
      klCoef,
      maxKl: 1000,
      cutOff: 'none',
      learningRate: 2e-4,
      valueLearningRate: 1e-3,
      seed,
    });
    for await (const _ of training) {
      steps++;
      if (!kCheckpoints.includes(steps / kMinibatches)) continue;
      const sampled = await sampleTrees(policy, measured, { ...options, samples: 4 });
      policies.push({
        model: `${steps / kMinibatches} iterations`,
        kl: await klFrom(sampled, base),
        proxies: [{ name: of, scores: await scored(sampled.trees, reward) }],
        gold: await goldOf(sampled.trees),
      });
    }
    const before = { proxies: [{ name: of, scores: await scored(initial.trees, reward) }], gold: goldScores };
    const curve = trainingCurve(of, before, policies, seed);
    const last = curve.points.at(-1);
    log(
      `seed ${seed}: PPO on ${of}: KL ${last.kl.toFixed(1)}, proxy ${last.proxy.value.toFixed(2)}, gold ${last.gold.value.toFixed(2)}, at best ${curve.best.gold.value.toFixed(2)} after ${curve.best.model}`,
    );
    curves.push(curve);
    await policy.dispose();
    await value.dispose();
  }
  results.push({ seed, gold: gold.accuracy, proxies: proxies.map(({ accuracy }) => accuracy), curves });
  for (const model of [gold.model, ...models]) await model.dispose();
  writeFileSync(join(out, 'over.json'), `${JSON.stringify(results, null, 1)}\n`);
}
await engine.dispose();
