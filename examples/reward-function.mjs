// PPO against a user-defined reward, a function of the text. Here short answers that end get a high reward.
//
//   node examples/reward-function.mjs MODEL PROMPTS.jsonl OUT
import { Engine, LanguageModel, readPrompts, Tokenizer, trainPpo } from 'heed';

const [modelDir, promptsFile, out] = process.argv.slice(2);
const tokenizer = await Tokenizer.load(modelDir);
const engine = await Engine.create();
const policy = await LanguageModel.load(engine, modelDir);
const maxNewTokens = 16;
const { items } = await readPrompts([promptsFile], { tokenizer, maxLength: policy.config.maxPositions, maxNewTokens });

const phase = trainPpo({
  policy,
  // May be asynchronous; called once per iteration with all its episodes.
  reward: (episodes) =>
    episodes.map(({ response, finished }) => (finished ? 1 : -1) - tokenizer.decode(response).split(/\s+/).length / 10),
  prompts: items.map(({ tokens }) => tokens),
  stopTokens: [tokenizer.endOfText],
  maxNewTokens,
  batchSize: 32,
  minibatches: 2,
  iterations: 8,
  learningRate: 1e-3,
  valueLearningRate: 3e-3,
  klCoef: 0.05,
});
for await (const { step, score, kl, length } of phase) {
  console.log(`step ${step}: score ${score.toFixed(2)}, KL ${kl.toFixed(2)} nats, ${length.toFixed(1)} tokens`);
}
await policy.save(out, { tokenizerFrom: modelDir });
await engine.dispose();
