// Compiled, not run: code that must not type-check. tsc reports a missing expected error.
import {
  type Engine,
  HeedError,
  LanguageModel,
  type LanguageTrainer,
  type ModelConfig,
  type PackedBatch,
  packScores,
  ScalarModel,
  type ScalarTrainer,
} from '../lib/index.js';

declare const engine: Engine;
declare const config: ModelConfig;
declare const batch: PackedBatch;
declare const language: LanguageModel;
declare const scalar: ScalarModel;
declare const policyTrainer: LanguageTrainer;
declare const rewardTrainer: ScalarTrainer;

export async function kinds(): Promise<void> {
  // @ts-expect-error a language model has no scores
  await language.scores(batch);
  // @ts-expect-error nor an offset
  await language.shiftScores(1);
  // @ts-expect-error a scalar model does not generate
  await scalar.generate([], { maxNewTokens: 1, stopTokens: [] });
  // @ts-expect-error nor has it log-probabilities
  await scalar.logprobs(batch);
  // @ts-expect-error a language model's trainer has no ranking loss
  await policyTrainer.reward(batch, { ranks: new Int32Array(), cuGroups: new Int32Array(), scale: 1 });
  // @ts-expect-error a scalar model's no policy loss
  await rewardTrainer.ppo(batch, { oldLogprobs: new Float32Array(), advantages: new Float32Array(), scale: 1 });
  // @ts-expect-error models must be of the same kind
  await language.copyFrom(scalar);
  // @ts-expect-error a trunk is taken from a language model
  await ScalarModel.from(scalar, { seed: 1 });
}

export async function objects(): Promise<void> {
  // @ts-expect-error objects come from methods
  new LanguageModel(engine, { config, specialTokens: {} }, 'language');
  // @ts-expect-error an engine is an Engine
  await LanguageModel.init({}, config, { seed: 1 });
  // @ts-expect-error a random model needs a seed
  await LanguageModel.init(engine, config);
  // @ts-expect-error the kind must be implemented
  await LanguageModel.init(engine, { ...config, family: 'bert' }, { seed: 1 });
  // @ts-expect-error the device of an engine is read-only
  engine.info.threads = 3;
  // @ts-expect-error nor a model's configuration
  language.config.numLayers = 3;
}

export async function options(): Promise<void> {
  // @ts-expect-error a loss has a scale
  await policyTrainer.sft(batch, {});
  // @ts-expect-error old log-probabilities are float32
  await policyTrainer.ppo(batch, { oldLogprobs: [1], advantages: new Float32Array(), scale: 1 });
  // @ts-expect-error a step has a learning rate
  await policyTrainer.step({ maxGradNorm: 1 });
  // @ts-expect-error stopTokens are required
  await language.generate([{ prompt: new Int32Array(1), seed: 1 }], { maxNewTokens: 5 });
  // @ts-expect-error prompts are ids
  await language.generate([{ prompt: 'text', seed: 1 }], { maxNewTokens: 5, stopTokens: [] });
  // @ts-expect-error misspelt
  await language.generate([], { maxNewTokens: 5, stopTokens: [], temprature: 1 });
  // @ts-expect-error one of two formats
  await language.save('dir', { dtype: 'F16' });
  // @ts-expect-error a tree has responses
  packScores([{ prompt: [1] }]);
  // @ts-expect-error a code from the list
  new HeedError('ERR_WHATEVER', 'message');
}

// Code that must type-check: undefined stands for a default, signals for all calls, async disposal.
export async function good(signal: AbortSignal | undefined): Promise<void> {
  const trainer = await language.trainer({ weightDecay: undefined });
  const { loss } = await trainer.sft(batch, { scale: 1, dropoutSeed: undefined, signal });
  for await (const { token } of language.stream([{ prompt: new Int32Array(1), seed: 1 }], {
    maxNewTokens: 5,
    stopTokens: [loss],
    signal,
  })) {
    if (token > 0) break;
  }
  await using copy = await language.clone({ signal });
  await copy.lerp(language, 0.1, { signal });
}
