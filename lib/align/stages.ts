/** The phases of the main job on the world's data: each has its own run folder and can be resumed. */
import { join } from 'node:path';
import { makeFolder } from '../core/files.js';
import { demonstration, type Prompt, type RankedResponses, type TrainSequence } from '../data/index.js';
import { ppoConcerns, rewardConcerns, supervisedConcerns } from '../phases/concerns.js';
import type { PpoMetrics } from '../phases/metrics.js';
import { keyedSeed } from '../phases/order.js';
import { trainPpo } from '../phases/ppo/index.js';
import { type RewardResult, trainReward } from '../phases/reward.js';
import { trainSft } from '../phases/sft.js';
import type { Timing } from '../report/types.js';
import { writeFileAtomic } from '../runs/files.js';
import { RunFolder } from '../runs/runfolder.js';
import type { Engine } from '../runtime/engine.js';
import { LanguageModel, ScalarModel } from '../runtime/model.js';
import type { Tokenizer } from '../tokenizer/tokenizer.js';
import {
  demonstrations,
  makeRanking,
  pretrainDocuments,
  Random,
  trainPrompts,
  type WorldPrompt,
} from '../world/index.js';
import { ask } from './answers.js';
import { proseSequences } from './base.js';
import type { HeldOutRanking } from './check.js';
import type { AlignConfig } from './config.js';
import type { AlignLog } from './log.js';

/** What every stage needs. */
export interface Job {
  readonly engine: Engine;
  readonly config: AlignConfig;
  readonly tokenizer: Tokenizer;
  /** The base's folder: its tokenizer is copied beside every model. */
  readonly baseDir: string;
  readonly out: string;
  readonly resume: boolean;
  readonly signal: AbortSignal | undefined;
  readonly log: AlignLog;
  readonly timing: Timing[];
}

/** Runs one stage and records its time. */
export async function timed<T>(job: Job, phase: string, work: () => Promise<T>): Promise<T> {
  const began = performance.now();
  const before = job.engine.usage().tokensComputed;
  const result = await work();
  const seconds = (performance.now() - began) / 1000;
  job.timing.push({ phase, seconds, tokens: job.engine.usage().tokensComputed - before });
  return result;
}

function sayConcerns(log: AlignLog, of: string, concerns: readonly string[]): void {
  for (const concern of concerns) log.line(`${of}: ${concern}`);
}

const openRun = (job: Job, name: string) =>
  RunFolder.open(join(job.out, name), {
    resume: job.resume,
    keep: 1,
    tokenizerFrom: job.baseDir,
    config: job.config as unknown as Record<string, unknown>,
  });

/** Saves data as JSON Lines, which the other commands accept. */
async function keepRows(job: Job, name: string, rows: readonly object[]): Promise<void> {
  await makeFolder(join(job.out, 'data'));
  const text = rows.map((row) => `${JSON.stringify(row)}\n`).join('');
  await writeFileAtomic(join(job.out, 'data', `${name}.jsonl`), text);
}

/** Texts as ids, each followed by end-of-text. */
const ended = async (tokenizer: Tokenizer, texts: readonly string[]) =>
  (await tokenizer.encodeBatch(texts)).map((ids) => Int32Array.of(...ids, tokenizer.endOfText));

/** Prose of the world, for the pretraining terms of SFT and PPO-ptx; the base may have been trained on it. */
export function trainingProse({ tokenizer, config }: Job): Promise<TrainSequence[]> {
  return proseSequences(tokenizer, pretrainDocuments({ seed: `mix/${config.seed}`, absence: 'often', count: 3_000 }));
}

export interface SftStage {
  readonly model: LanguageModel;
  readonly demonstrations: readonly TrainSequence[];
}

export async function sftStage(job: Job, base: LanguageModel, prose: readonly TrainSequence[]): Promise<SftStage> {
  const { config, tokenizer, log, signal } = job;
  const o = config.sft;
  const rows = demonstrations({ seed: config.seed, count: o.demonstrations + o.validation });
  await keepRows(job, 'demonstrations', rows);
  const prompts = await tokenizer.encodeBatch(rows.map(({ prompt }) => prompt));
  const responses = await ended(
    tokenizer,
    rows.map(({ response }) => response),
  );
  const all = prompts.map((prompt, i) => demonstration(prompt, responses[i]!));
  const sequences = all.slice(0, o.demonstrations);
  const model = await base.clone();
  const run = await openRun(job, 'sft');
  try {
    const bar = log.stage('SFT', Math.ceil((o.epochs * sequences.length) / o.batchSize));
    const phase = trainSft({
      model,
      sequences,
      validation: all.slice(o.demonstrations),
      batchSize: o.batchSize,
      epochs: o.epochs,
      learningRate: o.learningRate,
      dropout: o.dropout,
      ...(o.ptxCoef > 0 ? { pretrain: prose, ptxCoef: o.ptxCoef, ptxTokens: o.ptxTokens } : {}),
      validateEvery: Math.max(1, Math.ceil((o.epochs * sequences.length) / o.batchSize / 4)),
      seed: config.seed,
      run,
      saveEvery: 200,
      signal,
    });
    const losses: { loss: number }[] = [];
    for await (const { step, loss, validationLoss } of phase) {
      losses.push({ loss });
      bar.update(step, `loss ${loss.toFixed(3)}`);
      if (validationLoss !== undefined)
        log.line(`SFT step ${step}: loss on held-out demonstrations ${validationLoss.toFixed(3)}`);
    }
    bar.end();
    if (losses.length > 0) sayConcerns(log, 'SFT', supervisedConcerns(losses, model.config.vocabSize));
  } finally {
    await run.close();
  }
  return { model, demonstrations: all.slice(o.demonstrations) };
}

export interface RankingsStage {
  readonly train: readonly RankedResponses[];
  readonly heldOut: readonly HeldOutRanking[];
  /** Samples of the SFT model: prompt and response. */
  readonly samples: readonly TrainSequence[];
}

export async function rankingsStage(job: Job, sft: LanguageModel): Promise<RankingsStage> {
  const { config, tokenizer, log, signal } = job;
  const o = config.rankings;
  const prompts = trainPrompts({ seed: `rankings/${config.seed}`, count: o.prompts + o.heldOut });
  const bar = log.stage('answers to rank', prompts.length);
  const samples: TrainSequence[] = [];
  const random = new Random(`rankings/${config.seed}`);
  const all: HeldOutRanking[] = [];
  const kPrompts = 512;
  for (let begin = 0; begin < prompts.length; begin += kPrompts) {
    const some = prompts.slice(begin, begin + kPrompts);
    const answers = await ask(sft, tokenizer, some, {
      temperature: o.temperature,
      samples: o.samples,
      maxNewTokens: config.ppo.maxNewTokens,
      seed: keyedSeed(config.seed, 'rankings', begin),
      signal,
    });
    const encoded = await tokenizer.encodeBatch(some.map(({ prompt }) => prompt));
    for (const [i, prompt] of some.entries()) {
      const given = answers[i]!;
      const texts = given.map(({ text }) => text);
      samples.push(demonstration(encoded[i]!, given[0]!.tokens));
      all.push(await ranked(tokenizer, prompt, encoded[i]!, makeRanking(prompt, texts, random, { k: o.k })));
    }
    bar.update(all.length);
  }
  bar.end();
  await keepRows(
    job,
    'rankings',
    all.map(({ prompt, responses, tokens }) => ({ prompt: prompt.prompt, responses, ranks: [...tokens.ranks] })),
  );
  return {
    train: all.slice(0, o.prompts).map(({ tokens }) => tokens),
    heldOut: all.slice(o.prompts),
    samples: samples.slice(0, 1_000),
  };
}

async function ranked(
  tokenizer: Tokenizer,
  prompt: WorldPrompt,
  ids: Prompt,
  ranking: ReturnType<typeof makeRanking>,
): Promise<HeldOutRanking> {
  return {
    prompt,
    responses: ranking.responses,
    tokens: {
      prompt: ids,
      responses: await ended(tokenizer, ranking.responses),
      ranks: Int32Array.from(ranking.ranks),
    },
  };
}

export async function rewardStage(
  job: Job,
  sft: SftStage,
  rankings: RankingsStage,
): Promise<{ model: ScalarModel; result: RewardResult }> {
  const { config, log, signal } = job;
  const o = config.reward;
  const model = await ScalarModel.from(sft.model, { seed: keyedSeed(config.seed, 'reward head') });
  const run = await openRun(job, 'reward');
  try {
    const bar = log.stage('reward model', Math.ceil((o.epochs * rankings.train.length) / o.batchSize));
    const phase = trainReward({
      model,
      rankings: rankings.train,
      validation: rankings.heldOut.map(({ tokens }) => tokens),
      demonstrations: sft.demonstrations,
      samples: rankings.samples,
      normalize: o.normalize,
      shuffleLabels: o.shuffleLabels,
      batchSize: o.batchSize,
      epochs: o.epochs,
      learningRate: o.learningRate,
      seed: config.seed,
      run,
      signal,
    });
    let next = await phase.next();
    for (; !next.done; next = await phase.next()) {
      const { step, loss, accuracy } = next.value;
      bar.update(step, `loss ${loss.toFixed(3)}, pairs ranked correctly ${(100 * accuracy).toFixed(0)} %`);
    }
    bar.end();
    sayConcerns(log, 'reward model', rewardConcerns(next.value));
    return { model, result: next.value };
  } finally {
    await run.close();
  }
}

export interface PpoStage {
  readonly name: 'ppo' | 'ppo-ptx';
  readonly sft: LanguageModel;
  readonly reward: ScalarModel;
  readonly rewardScale: number;
  readonly prose: readonly TrainSequence[];
  /** Called with the policy after every `evaluation.every` iterations and after the last. */
  measure(policy: LanguageModel, iteration: number): Promise<void>;
}

export async function ppoStage(
  job: Job,
  { name, sft, reward, rewardScale, prose, measure }: PpoStage,
): Promise<LanguageModel> {
  const { engine, config, tokenizer, log, signal } = job;
  const o = config.ppo;
  const texts = trainPrompts({ seed: `ppo/${config.seed}`, count: o.prompts });
  const prompts = await tokenizer.encodeBatch(texts.map(({ prompt }) => prompt));
  const policy = await sft.clone();
  const run = await openRun(job, name);
  try {
    const bar = log.stage(name === 'ppo' ? 'PPO' : 'PPO-ptx', o.iterations);
    const phase = trainPpo({
      policy,
      reference: sft,
      reward,
      rewardScale,
      prompts,
      describe: (i) => texts[i]!.instruction,
      batchSize: o.batchSize,
      minibatches: o.minibatches,
      innerEpochs: o.innerEpochs,
      iterations: o.iterations,
      maxNewTokens: o.maxNewTokens,
      stopTokens: [tokenizer.endOfText],
      slots: 128,
      klCoef: o.klCoef,
      lambda: o.lambda,
      clipRange: o.clipRange,
      valueClipRange: o.valueClipRange,
      learningRate: o.learningRate,
      valueLearningRate: o.valueLearningRate,
      valueWarmup: o.valueWarmup,
      ema: o.ema,
      ...(name === 'ppo-ptx' ? { pretrain: prose, ptxCoef: o.ptxCoef, ptxTokens: o.ptxTokens } : {}),
      // Before the next iteration changes the policy; repeated when a resumed run repeats that iteration.
      onEpisodes: async (_episodes, _scores, iteration) => {
        if (iteration > 0 && iteration % config.evaluation.every === 0) await measure(policy, iteration);
      },
      seed: config.seed,
      run,
      saveEvery: 10 * o.minibatches * o.innerEpochs,
      signal,
    });
    let last: PpoMetrics | undefined;
    for await (const metrics of phase) {
      last = metrics;
      const { step, iteration, score, kl, entropy, finished } = metrics;
      for (const warning of metrics.warnings ?? []) log.line(`${name}: ${warning}`);
      if (step % (o.minibatches * o.innerEpochs) !== 0) continue;
      bar.update(
        iteration,
        `reward ${score.toFixed(2)}, KL ${kl.toFixed(2)}, entropy ${entropy.toFixed(2)}, ended ${(100 * finished).toFixed(0)} %`,
      );
    }
    const final = o.ema > 0 ? await LanguageModel.load(engine, join(job.out, name, 'ema')) : policy;
    await measure(final, o.iterations);
    bar.end();
    if (last) sayConcerns(log, name, ppoConcerns(last));
    return final;
  } finally {
    await run.close();
  }
}
