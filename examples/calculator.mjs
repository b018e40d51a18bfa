// A policy learns to call a tool: a calculator that an environment offers. Minutes on two cores.
//
//   node examples/calculator.mjs [MODEL]        default: the embedded base model
//
// Fine-tuning shows the model both ways to answer a sum: guessing, mostly wrong, and calling the calculator. GRPO finds out which one pays.
import { Engine, finish, LanguageModel, Tokenizer, trainGrpo, trainSft } from 'heed';

const folder = process.argv[2] ?? new URL('../models/base', import.meta.url).pathname;
const engine = await Engine.create();
const model = await LanguageModel.load(engine, folder);
const tokenizer = await Tokenizer.load(folder);
const end = tokenizer.endOfText;

let state = 1;
const random = (below) => {
  state = (state * 48271) % 2147483647;
  return state % below;
};
const sums = Array.from({ length: 2200 }, () => [1 + random(9), 1 + random(9)]);
const ask = ([a, b]) => `User: What is ${a} + ${b}?\nAssistant:`;
const call = (a, b) => ` calc ${a} + ${b}`;
const reply = (result) => `\nResult: ${result}\nAssistant:`;

// Both ways, half of the time each: what the model writes is learnt, what it reads is not.
const demonstrations = await Promise.all(
  sums.slice(0, 2000).map(async ([a, b], i) => {
    const turns = i % 2 === 0 ? [call(a, b), reply(a + b), ` ${a + b}`] : [` ${a + b + random(9) - 4}`];
    const tokens = [...(await tokenizer.encode(ask([a, b])))];
    const spans = [];
    for (const [t, text] of turns.entries()) {
      const ids = await tokenizer.encode(text);
      if (t % 2 === 0) spans.push(tokens.length, tokens.length + ids.length + 1);
      tokens.push(...ids, ...(t % 2 === 0 ? [end] : []));
    }
    return { tokens: Int32Array.from(tokens), spans: Int32Array.from(spans) };
  }),
);
await finish(
  trainSft({ model, sequences: demonstrations, epochs: 8, batchSize: 32, learningRate: 2e-3, dropout: 0 }),
  ({ step, loss }) => step % 100 === 0 && console.log(`sft ${step}: loss ${loss.toFixed(3)}`),
);

const asked = sums.slice(2000);
let calls = 0;
const environment = {
  tokenizer,
  async *play({ promptIndex }) {
    const [a, b] = asked[promptIndex];
    let said = yield '';
    const called = said.match(/calc (\d+) \+ (\d+)/);
    if (called) {
      calls++;
      said = yield reply(Number(called[1]) + Number(called[2]));
    }
    return Number(said.match(/\d+/)?.[0]) === a + b ? 1 : 0;
  },
};
await finish(
  trainGrpo({
    policy: model,
    environment,
    prompts: await Promise.all(asked.map((sum) => tokenizer.encode(ask(sum)))),
    stopTokens: [end],
    maxNewTokens: 48, // of an episode: both turns and the result
    batchSize: 32,
    samplesPerPrompt: 8,
    iterations: 15,
    learningRate: 3e-4,
    klCoef: 0,
    cutOff: 'none',
  }),
  ({ step, score, episodes, turns, kl }) => {
    const share = Math.round((100 * calls) / episodes);
    console.log(
      `grpo ${step}: right ${Math.round(100 * score)} %, called ${share} %, turns ${turns.toFixed(2)}, KL ${kl.toFixed(2)}`,
    );
    calls = 0;
  },
);
await model.save('calculator', { tokenizerFrom: folder });
