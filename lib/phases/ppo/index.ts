/**
 * Phase 3 of InstructGPT: PPO against the reward model, with a per-token KL penalty to the SFT model and, as PPO-ptx, a loss on
 * pretraining documents (Ouyang et al. 2022, §3.5 eq. 2 and app. C.4).
 *
 * An iteration rolls out one batch of prompts (rollout.ts), then takes `innerEpochs` passes over it in `minibatches`
 * optimizer steps each. The value network is a separate model, initialised from the reward model; it and the policy have their own
 * optimizers.
 */
import { existsSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Random } from '../../core/random.js';
import { type Items, type Prompt, packSequences, type TrainSequence } from '../../data/index.js';
import { type PackedBatch, packResponses, packScores, packValues } from '../../runtime/batch.js';
import { type LanguageModel, ScalarModel } from '../../runtime/model.js';
import type { StepResult } from '../../runtime/trainer.js';
import type { RewardFunction } from '../episodes.js';
import { DivergenceError, digest, type PhaseSteps, runSteps, takeSteps } from '../loop.js';
import type { PpoMetrics, StepMetrics } from '../metrics.js';
import { learningRates, trainerOptions } from '../optimizer.js';
import { type Batches, batchesOfTokens, minibatchOf, promptsOf } from '../order.js';
import { checkLengths, contents, lengthsOf } from '../supervised.js';
import { takeRows } from './advantages.js';
import { nextKlCoef } from './kl.js';
import { checkModels, checkPrompts, type PpoOptions, planPpo } from './options.js';
import { type Rollout, rollOut, rolloutFromJson, rolloutToJson } from './rollout.js';

export { type PpoOptions, planPpo } from './options.js';

/** The result of PPO. */
export interface PpoResult {
  readonly steps: number;
  /** Whether `stopAtKl` ended the run. */
  readonly stopped: boolean;
  readonly klCoef: number;
}

/**
 * Trains `policy` and `value` in place, one optimizer step of each per metrics object. With `run`, it continues from the newest
 * checkpoint, writes metrics and checkpoints, and saves the final policy as RUN/model and its average as RUN/ema.
 *
 * @throws DivergenceError when a value is not finite, a ratio leaves e^±20 or the KL exceeds `maxKl`; HeedError for a reward that is
 *   not finite (it names the prompt); RangeError for invalid options
 */
export async function* trainPpo(o: PpoOptions): AsyncGenerator<PpoMetrics & StepMetrics, PpoResult, void> {
  const { policy, reward, prompts, run, signal, pretrain } = o;
  const { resolved, stepsPerIteration, totalSteps, optimizer } = planPpo(o);
  const { engine } = policy;
  const { maxTokens } = engine.info; // determines the passes, and thus rounding
  const { minibatches, temperature, seed } = resolved;
  checkModels(o);
  checkPrompts(o, resolved);
  checkLengths('pretraining document', pretrain ?? [], policy);
  const order = promptsOf({
    count: prompts.length,
    batchSize: resolved.batchSize,
    seed,
    shuffle: resolved.shuffle,
    stream: 'prompts',
  });
  const documents = pretrain && documentsOf(pretrain, resolved.ptxTokens, seed);
  const rate = learningRates(optimizer, totalSteps);
  const valueRate = learningRates(optimizer, totalSteps, resolved.valueLearningRate);

  const own: { dispose(): Promise<void> | void }[] = []; // models and trainers created here, disposed at the end
  const owned = <T extends { dispose(): Promise<void> | void }>(object: T): T => {
    own.push(object);
    return object;
  };
  try {
    const reference = o.reference ?? owned(await policy.clone());
    const value = o.value ?? owned(await initialValue(policy, reward, resolved.rewardScale, seed));
    const ema = resolved.ema > 0 ? owned(await policy.clone()) : undefined;
    const trainer = owned(await policy.trainer(trainerOptions(optimizer, resolved)));
    const valueTrainer = owned(await value.trainer(trainerOptions(optimizer, resolved)));
    let klCoef = resolved.klCoef;
    let rollout: Rollout | undefined;
    let stopped = false;

    const phase: PhaseSteps<PpoMetrics> = {
      name: 'ppo',
      total: totalSteps,
      options: { ...settingsOf(resolved), optimizer, totalSteps, stopTokens: o.stopTokens, maxTokens },
      data: await digest(signal, prompts, contents(pretrain ?? [])),
      models: await answersOf(reference, reward, prompts[0]!, signal),
      engine,

      async update(step) {
        const iteration = Math.floor(step / stepsPerIteration);
        const update = step % stepsPerIteration;

        // 1. Roll out and measure, before the policy is updated.
        if (rollout?.iteration !== iteration) {
          rollout = await rollOut(
            {
              ...resolved,
              policy,
              reference,
              value,
              reward,
              signal,
              stopTokens: o.stopTokens,
              describe: o.describe,
              onEpisodes: o.onEpisodes,
              onProgress: o.onProgress,
            },
            prompts,
            order.at(iteration),
            { iteration, step, klCoef },
          );
          stopped = resolved.stopAtKl !== undefined && rollout.metrics.kl > resolved.stopAtKl;
          if (stopped) return undefined;
        }

        // 2. This step's minibatch: whole prompts, reshuffled for each pass.
        const pass = Math.floor(update / minibatches);
        const shuffled = new Random(`${seed}/minibatches/${iteration}/${pass}`).shuffle([...rollout.trees.keys()]);
        const picked = minibatchOf(shuffled, minibatches, update % minibatches);
        const k = resolved.samplesPerPrompt;
        const responses = picked.flatMap((p) => Array.from({ length: k }, (_, sample) => p * k + sample));
        const take = (x: Float32Array) => takeRows(x, rollout!.cuRows, responses);
        const trees = picked.map((p) => rollout!.trees[p]!);
        const batch = packResponses(trees);
        const tokens = batch.rows.length;
        const scale = 1 / tokens;

        // 3. Losses.
        const oldLogprobs = take(rollout.oldLogprobs);
        const { clipRange, dualClip, entropyCoef } = resolved;
        const losses = await trainer.ppo(batch, {
          oldLogprobs,
          advantages: take(rollout.advantages),
          clipRange,
          dualClip,
          entropyCoef,
          temperature,
          scale,
          signal,
        });
        const ratios = ratioStats(
          step,
          losses.logprobs,
          oldLogprobs,
          batch,
          picked.map((p) => rollout!.prompts[p]!),
          k,
        );
        const values = await valueTrainer.value(packValues(trees), {
          oldValues: take(rollout.oldValues),
          returns: take(rollout.returns),
          clipRange: resolved.valueClipRange || Number.POSITIVE_INFINITY,
          scale,
          signal,
        });
        requireFinite(step, 'policy loss', losses.loss);
        requireFinite(step, 'value loss', values.loss);
        let policyGradNorm: number | undefined;
        let ptxLoss: number | undefined;
        if (pretrain && documents) {
          policyGradNorm = await trainer.setAside();
          const packed = packSequences(documents.at(step).map((i) => pretrain.at(i)!));
          const rows = packed.rows.length;
          const added = await trainer.sft(packed, { scale: resolved.ptxCoef / rows, signal });
          ptxLoss = added.loss / rows;
          requireFinite(step, 'loss on pretraining documents', ptxLoss);
        }

        // 4. One step of both models and of the average: all or none.
        const learningRate = rate(step);
        const valueLearningRate = valueRate(step);
        const { maxGradNorm } = optimizer;
        const frozen = iteration < resolved.valueWarmup;
        const average = ema && { model: ema, weight: 1 - resolved.ema };
        const [stepped, valueStepped] = (await takeSteps(step, [
          { trainer, learningRate: frozen ? 0 : learningRate, maxGradNorm, average },
          { trainer: valueTrainer, learningRate: valueLearningRate, maxGradNorm },
        ])) as [StepResult, StepResult];

        const { metrics, warnings } = rollout;
        if (update === stepsPerIteration - 1) {
          klCoef = nextKlCoef(resolved, klCoef, metrics.kl, metrics.episodes);
        }
        return {
          ...metrics,
          loss: losses.loss / tokens,
          valueLoss: values.loss / tokens,
          ...(ptxLoss === undefined ? {} : { ptxLoss }),
          entropy: losses.entropy / tokens,
          ...ratios,
          clipFraction: losses.clipped / tokens,
          valueClipFraction: values.clipped / tokens,
          gradNorm: stepped.gradNorm,
          policyGradNorm: policyGradNorm ?? stepped.gradNorm,
          ...(policyGradNorm === undefined ? {} : { ptxGradNorm: stepped.lastNorm }),
          valueGradNorm: valueStepped.gradNorm,
          learningRate: frozen ? 0 : learningRate,
          valueLearningRate,
          tokens,
          ...(update === 0 && warnings.length > 0 ? { warnings } : {}),
        };
      },

      async save(dir) {
        await policy.save(join(dir, 'policy'));
        await trainer.saveState(join(dir, 'policy.optimizer.safetensors'));
        await value.save(join(dir, 'value'));
        await valueTrainer.saveState(join(dir, 'value.optimizer.safetensors'));
        await ema?.save(join(dir, 'ema'));
        const unfinished = trainer.steps % stepsPerIteration !== 0;
        if (rollout && unfinished) await writeFile(join(dir, 'rollout.json'), rolloutToJson(rollout), { flush: true });
      },

      async restore({ dir, step }, progress) {
        await policy.restore(join(dir, 'policy'));
        await trainer.loadState(join(dir, 'policy.optimizer.safetensors'));
        await value.restore(join(dir, 'value'));
        await valueTrainer.loadState(join(dir, 'value.optimizer.safetensors'));
        // If the checkpoint has no average, it starts as a copy of the present policy.
        if (ema && existsSync(join(dir, 'ema'))) await ema.restore(join(dir, 'ema'));
        else await ema?.copyFrom(policy);
        klCoef = progress.klCoef as number;
        const unfinished = step % stepsPerIteration !== 0;
        const file = join(dir, 'rollout.json'); // none where an iteration had other steps when it was saved
        if (unfinished && existsSync(file)) rollout = rolloutFromJson(await readFile(file, 'utf8'));
      },

      progress: () => ({ klCoef }),
    };

    let steps = 0;
    for await (const metrics of runSteps(phase, o)) {
      steps = metrics.step;
      yield metrics;
    }
    steps ||= trainer.steps;
    const result = { steps, stopped, klCoef };
    if (run) {
      const tokenizer = run.tokenizerFrom === undefined ? {} : { tokenizerFrom: run.tokenizerFrom };
      await policy.save(join(run.dir, 'model'), tokenizer);
      await ema?.save(join(run.dir, 'ema'), tokenizer);
      await run.writeJson('result.json', result);
    }
    return result;
  } finally {
    for (const object of own.reverse()) await object.dispose();
  }
}

/** The initial value network: the reward model with its head (app. C.4), scaled like the rewards it will predict. */
async function initialValue(
  policy: LanguageModel,
  reward: ScalarModel | RewardFunction,
  rewardScale: number,
  seed: number,
): Promise<ScalarModel> {
  if (typeof reward === 'function') return ScalarModel.from(policy, { seed });
  const value = await reward.clone();
  if (rewardScale !== 1) await value.scaleScores(rewardScale);
  return value;
}

/** Ratios of the policy to the sampling policy. @throws DivergenceError for ratios beyond e^±20 */
function ratioStats(
  step: number,
  logprobs: Float32Array,
  oldLogprobs: Float32Array,
  { cuRows }: PackedBatch,
  prompts: readonly number[],
  samplesPerPrompt: number,
): Pick<PpoMetrics, 'approxKl' | 'ratioMean' | 'ratioMax'> {
  const wrong: string[] = [];
  let approxKl = 0;
  let sum = 0;
  let max = 0;
  for (let s = 0; s + 1 < cuRows.length; s++) {
    for (let r = cuRows[s]!; r < cuRows[s + 1]!; r++) {
      const logRatio = logprobs[r]! - oldLogprobs[r]!;
      if (!(Math.abs(logRatio) <= 20)) {
        const prompt = prompts[Math.floor(s / samplesPerPrompt)];
        wrong.push(`row ${r} (prompt ${prompt}, token ${r - cuRows[s]!}): ${logRatio}`);
      }
      const ratio = Math.exp(logRatio);
      approxKl += Math.expm1(logRatio) - logRatio;
      sum += ratio;
      max = Math.max(max, ratio);
    }
  }
  if (wrong.length > 0) {
    const shown = wrong.slice(0, 5).join('; ');
    const more = wrong.length > 5 ? ` and ${wrong.length - 5} more` : '';
    throw new DivergenceError(step + 1, `the log ratio of new to old policy left [-20, 20] at ${shown}${more}`);
  }
  return { approxKl: approxKl / logprobs.length, ratioMean: sum / logprobs.length, ratioMax: max };
}

function documentsOf(documents: Items<TrainSequence>, tokens: number, seed: number): Batches {
  return batchesOfTokens({ ...lengthsOf(documents), tokens, seed, shuffle: true, stream: 'pretraining' });
}

function requireFinite(step: number, name: string, value: number): void {
  if (!Number.isFinite(value)) throw new DivergenceError(step + 1, `the ${name} is ${value}`);
}

/**
 * A digest of what the reference and a reward model answer to a prompt, bit for bit: a checkpoint has neither of them, and going on
 * with others would train towards something else.
 */
export async function answersOf(
  reference: LanguageModel,
  reward: PpoOptions['reward'] | undefined,
  prompt: Prompt,
  signal: AbortSignal | undefined,
): Promise<string> {
  const tree = { prompt, responses: [[prompt[0]!]] };
  const { logprobs } = await reference.logprobs(packResponses([tree]), { signal });
  const scores =
    reward instanceof ScalarModel ? await reward.scores(packScores([tree]), { signal }) : new Float32Array();
  return digest(signal, [
    new Int32Array(logprobs.buffer, 0, logprobs.length),
    new Int32Array(scores.buffer, 0, scores.length),
  ]);
}

/** The options that a checkpoint records: those that the results depend on. */
function settingsOf({ slots, saveEvery, gradientCheckpointing, ...settings }: ReturnType<typeof planPpo>['resolved']) {
  return { ...settings, klTarget: settings.klTarget ?? null, stopAtKl: settings.stopAtKl ?? null };
}
