// Two steps of each phase with the installed package, which main.mjs imports and main.cjs requires.

/** @param heed the package's exports @param root where it is installed */
export async function phases(heed, root) {
  const base = `${root}/models/base`;
  const data = (name) => [`${root}/examples/data/${name}.jsonl`];
  const take = async (phase) => {
    const steps = [];
    for (let next = await phase.next(); !next.done && steps.length < 2; next = await phase.next()) steps.push(next.value);
    await phase.return?.();
    if (steps.length !== 2) throw new Error(`${steps.length} steps, expected 2`);
    return steps;
  };
  const finite = (value, what) => {
    if (!Number.isFinite(value)) throw new Error(`${what} is ${value}`);
  };
  const engine = await heed.Engine.create({ threads: 1 });
  try {
    const tokenizer = await heed.Tokenizer.load(base);
    const policy = await heed.LanguageModel.load(engine, base);
    const read = { tokenizer, maxLength: policy.config.maxPositions };
    const options = { epochs: 1, batchSize: 4, learningRate: 1e-4 };

    const { items: documents } = await heed.readDocuments(data('prose'), read);
    const pretrain = heed.trainPretrain({ model: policy, documents: documents.slice(0, 8), epochs: 1, batchTokens: 256, learningRate: 1e-4 });
    for (const { loss } of await take(pretrain)) finite(loss, 'the loss of pretraining');
    const { items: sequences } = await heed.readDemonstrations(data('demos'), read);
    for (const { loss } of await take(heed.trainSft({ ...options, model: policy, sequences: sequences.slice(0, 8) }))) finite(loss, 'the loss of SFT');
    const { items: rankings } = await heed.readRankings(data('rankings'), read);
    const reward = await heed.ScalarModel.from(policy, { seed: 1 });
    for (const { accuracy } of await take(heed.trainReward({ ...options, model: reward, rankings: rankings.slice(0, 8) }))) finite(accuracy, 'the accuracy of the reward model');
    const { items: prompts } = await heed.readPrompts(data('prompts'), { ...read, maxNewTokens: 8 });
    const ppo = heed.trainPpo({
      policy, reward, prompts: prompts.slice(0, 8).map(({ tokens }) => tokens), stopTokens: [tokenizer.endOfText], maxNewTokens: 8,
      iterations: 2, batchSize: 8, minibatches: 1, learningRate: 1e-4, valueLearningRate: 1e-4,
    });
    for (const { score } of await take(ppo)) finite(score, 'the score of PPO');
    const text = await heed.generateText({ model: policy, tokenizer, prompt: 'The', maxNewTokens: 4 });
    return `${process.version} ${engine.info.device}: ${JSON.stringify(text)}`;
  } finally {
    await engine.dispose();
  }
}
