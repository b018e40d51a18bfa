/** How a version learns: KTO from thumbs, DPO from rankings and edits, or PPO against the reward model. */
import type { Frame } from '../../data/index.js';
import type { Database } from '../../feedback/database.js';
import { trainDpo } from '../../phases/dpo.js';
import { trainKto } from '../../phases/kto.js';
import { finish } from '../../phases/loop.js';
import { trainPpo } from '../../phases/ppo/index.js';
import type { LanguageModel, ScalarModel } from '../../runtime/model.js';
import { stopTokensOf } from '../../text/stop.js';
import { type Learnable, readPrompts } from './learnable.js';

export interface LearnOptions {
  readonly objective: 'auto' | 'dpo' | 'kto' | 'ppo';
  readonly learningRate: number;
  readonly epochs: number;
  readonly batchSize: number;
  /** Of an answer that PPO samples. */
  readonly maxNewTokens: number;
  readonly seed: number;
  readonly signal: AbortSignal;
}

/**
 * Trains `policy` in place.
 *
 * @returns the objective that was chosen; undefined if there is too little for it
 */
export async function learn(
  policy: LanguageModel,
  { thumbs, rankings }: Learnable,
  { objective: wanted, maxNewTokens, ...common }: LearnOptions,
  sources: { readonly database: Database; readonly frame: Frame; readonly rewardModel: ScalarModel | undefined },
): Promise<'dpo' | 'kto' | 'ppo' | undefined> {
  const isRanked = rankings.length > thumbs.length || thumbs.length < 2;
  const objective = wanted === 'auto' ? (isRanked ? 'dpo' : 'kto') : wanted;
  if (objective === 'ppo') return (await playOut(policy, { ...common, maxNewTokens }, sources)) ? 'ppo' : undefined;
  if ((objective === 'dpo' ? rankings : thumbs).length < 2) return undefined;
  if (objective === 'dpo')
    await finish(trainDpo({ ...common, model: policy, rankings: rankings.map(({ item }) => item) }));
  else await finish(trainKto({ ...common, model: policy, feedback: thumbs.map(({ item }) => item) }));
  return objective;
}

async function playOut(
  policy: LanguageModel,
  { epochs, batchSize, maxNewTokens, ...common }: Omit<LearnOptions, 'objective'>,
  { database, frame, rewardModel }: Parameters<typeof learn>[3],
): Promise<boolean> {
  const { config, specialTokens, engine } = policy;
  const { tokenizer } = frame;
  // Half of the room is the prompt's: that of the model, and of the engine's passes.
  const most = Math.floor(Math.min(config.maxPositions, engine.info.maxTokens) / 2);
  const prompts = await readPrompts(database, frame, most, common.signal);
  if (prompts.length === 0) return false;
  await finish(
    trainPpo({
      ...common,
      policy,
      reward: rewardModel!,
      prompts,
      iterations: Math.ceil(epochs),
      batchSize: Math.min(batchSize, prompts.length),
      minibatches: 1,
      maxNewTokens: Math.min(maxNewTokens, most),
      stopTokens: stopTokensOf({ tokenizer, specialTokens, config }),
    }),
  );
  return true;
}
