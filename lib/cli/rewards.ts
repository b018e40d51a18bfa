/** The rewards of a command: a reward model, and what `--reward` names. */
import { UsageError } from '../config/index.js';
import type { PromptRow } from '../data/index.js';
import type { RewardFunction } from '../phases/episodes.js';
import { type RewardSource, rewards } from '../rewards/index.js';
import { type NamedReward, namedReward } from '../rewards/spec.js';
import type { ScalarModel } from '../runtime/model.js';
import type { Loader } from './load.js';
import { type ModelFolder, readModelFolder, requireSameTokens } from './models.js';

interface RewardValues {
  readonly seed: number;
  readonly rewardModel: string | undefined;
  readonly reward: readonly string[] | undefined;
  readonly rewardFailure: 'skip' | 'stop';
  readonly rewardTimeout: number;
  readonly rewardRetries: number;
  readonly rewardConcurrency: number;
}

/** Rewards whose models have not been read yet. */
export interface RewardPlan {
  /** That of `--reward-model`. */
  readonly folder: ModelFolder | undefined;
  readonly named: readonly (NamedReward & { readonly folders: readonly ModelFolder[] })[];
}

/** @throws UsageError if there is no reward, or a reward model has another tokenizer than the policy */
export async function planRewards(
  command: string,
  { rewardModel, reward = [] }: Pick<RewardValues, 'rewardModel' | 'reward'>,
  policy: ModelFolder,
): Promise<RewardPlan> {
  if (rewardModel === undefined && reward.length === 0)
    throw new UsageError(`heed ${command} needs --reward-model DIR or --reward REWARD`);
  const scalar = async (dir: string) => {
    const folder = await readModelFolder(dir, 'scalar');
    requireSameTokens(policy, folder);
    return folder;
  };
  const named = [];
  const names = new Set(rewardModel === undefined ? [] : ['model']);
  for (const text of reward) {
    const found = await namedReward(text);
    if (names.has(found.name))
      throw new UsageError(`two rewards have the name ${found.name}: give one of them with the sum of the weights`);
    names.add(found.name);
    const folders = [];
    if (typeof found.reward !== 'function') for (const dir of found.reward.folders) folders.push(await scalar(dir));
    named.push({ ...found, folders });
  }
  return { folder: rewardModel === undefined ? undefined : await scalar(rewardModel), named };
}

/** The longest sequence that all reward models take. */
export const positionsOf = ({ folder, named }: RewardPlan): number =>
  Math.min(...[folder, ...named.flatMap((each) => each.folders)].map((each) => each?.config.maxPositions ?? Infinity));

/**
 * The reward of a phase: the reward model alone, or the sum of all.
 * @param isFrozen no copy of the reward model is trained, as a value network is
 */
export async function rewardOf(
  { folder, named }: RewardPlan,
  values: RewardValues,
  policy: ModelFolder,
  prompts: readonly PromptRow[],
  loader: Loader,
  isFrozen: boolean,
): Promise<{ model: ScalarModel | undefined; reward: ScalarModel | RewardFunction }> {
  const model = folder && (await loader.scalar(folder, values.seed, undefined, isFrozen));
  if (model && named.length === 0) return { model, reward: model };
  const limits = {
    timeout: 1000 * values.rewardTimeout,
    retries: values.rewardRetries,
    concurrency: values.rewardConcurrency,
    onFailure: values.rewardFailure,
  };
  const sources: RewardSource[] = model ? [{ name: 'model', reward: model }] : [];
  for (const { name, weight, reward, folders } of named) {
    const models = [];
    for (const each of folders) models.push(await loader.scalar(each, values.seed, undefined, true));
    sources.push({
      name,
      weight,
      reward: typeof reward === 'function' ? reward : { models, by: reward.by },
      ...limits,
    });
  }
  return { model, reward: rewards(sources, { tokenizer: policy.tokenizer, prompts }) };
}
