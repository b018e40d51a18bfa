/**
 * The loop of objectives on given responses: each is a loss of the responses' log-probabilities under the model, and for some under a
 * reference, which is the model before training.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Items } from '../data/index.js';
import { packResponses, type Tree } from '../runtime/batch.js';
import type { LanguageModel } from '../runtime/model.js';
import { DivergenceError, digest, type PhaseOptions, type PhaseSteps, runSteps, takeStep } from './loop.js';
import type { OfflineMetrics, PairAccuracy, StepMetrics } from './metrics.js';
import { learningRates, type ResolvedOptimizer, trainerOptions } from './optimizer.js';
import type { Batches } from './order.js';
import { type Pairs, pairAccuracy } from './pairs.js';

/** A response as a loss sees it. */
export interface Likelihood {
  /** log π(response | prompt) in nats, the sum over its tokens. */
  readonly logprob: number;
  /** The same under the reference; 0 for objectives without one. */
  readonly reference: number;
  readonly tokens: number;
}

/** The loss of a batch. */
export interface BatchLoss {
  /** Mean over the items. */
  readonly loss: number;
  /** d loss / d logprob of each response of each item. */
  readonly gradient: readonly (readonly number[])[];
  /** Means over the items. */
  readonly metrics: Readonly<Record<string, number>>;
  /** Of each item, how many of its comparisons the implicit rewards order as the labels do. */
  readonly ordered: readonly Pairs[];
}

/** An objective on prompts with responses. */
export interface Objective<Item extends Tree> {
  readonly name: string;
  readonly usesReference: boolean;
  /** A prompt with responses whose log-probabilities the loss takes as constants. */
  readonly constantsOf?: (item: Item) => Tree;
  /**
   * @param likelihoods of each item's responses
   * @param constants of each item's further responses
   */
  loss(
    items: readonly Item[],
    likelihoods: readonly (readonly Likelihood[])[],
    constants: readonly (readonly Likelihood[])[],
  ): BatchLoss;
  /** What the items are, besides their tokens, for {@link digest}. */
  labelsOf(item: Item): Int32Array;
}

/** Options that objectives on given responses share. */
export interface OfflineOptions extends PhaseOptions {
  /** Trained in place. */
  readonly model: LanguageModel;
  /** The model whose log-probabilities are the reference. Default: `model` before training. It is used only before the first step. */
  readonly reference?: LanguageModel | undefined;
}

export interface OfflineResult {
  readonly steps: number;
  /** On the held-out items, at the end. */
  readonly validation?: PairAccuracy & { readonly loss: number };
}

export interface OfflinePlan<Item extends Tree> {
  readonly objective: Objective<Item>;
  readonly items: Items<Item>;
  /** Items that have nothing to learn and were left out. */
  readonly skipped: number;
  readonly validation: Items<Item>;
  readonly batches: Batches;
  readonly totalSteps: number;
  readonly optimizer: ResolvedOptimizer;
  readonly gradientCheckpointing: boolean;
  readonly seed: number;
  readonly validateEvery: number;
  /** See RunState.options. */
  readonly options: Readonly<Record<string, unknown>>;
}

/** Items whose reference is computed in one call, so that an abort does not wait for all of them. */
const kItemsOfCall = 128;

export async function* trainOffline<Item extends Tree>(
  plan: OfflinePlan<Item>,
  o: OfflineOptions,
): AsyncGenerator<OfflineMetrics & StepMetrics, OfflineResult, void> {
  const { model, run, signal } = o;
  const { objective, items, validation, batches, totalSteps, optimizer, seed, validateEvery } = plan;
  const { engine } = model;
  const { maxTokens } = engine.info; // determines the passes, and thus rounding
  checkItems(objective.name, items, model);
  checkItems(`held-out ${objective.name}`, validation, model);
  const rate = learningRates(optimizer, totalSteps);
  const data = await digest(signal, contents(objective, items), contents(objective, validation));
  const trainer = await model.trainer(trainerOptions(optimizer, plan));
  let references: References | undefined;
  let held: OfflineResult['validation'];

  /** The references of both sets, measured before the first step. */
  const ready = async (): Promise<References> => {
    if (!references) {
      const measured = async (some: Items<Item>) =>
        objective.usesReference ? await measure(objective, o.reference ?? model, some, o) : [];
      references = { items: await measured(items), validation: await measured(validation) };
    }
    return references;
  };

  const phase: PhaseSteps<OfflineMetrics> = {
    name: objective.name,
    total: totalSteps,
    options: { ...plan.options, seed, optimizer, totalSteps, validateEvery, maxTokens },
    data,
    engine,

    async update(step) {
      const known = (await ready()).items;
      const indices = batches.at(step);
      const picked = indices.map((i) => items.at(i)!);
      const constants = await constantsOf(objective, model, picked, indices, known, signal);
      const batch = packResponses(picked);
      const { loss, metrics } = await trainer.policyGradient(
        batch,
        (logprobs) => {
          const found = objective.loss(
            picked,
            likelihoodsOf(picked, sums(logprobs, batch.cuRows), indices, known),
            constants,
          );
          requireFinite(step, 'loss', found.loss);
          return { ...found, gradient: perRow(found.gradient.flat(), batch.cuRows) };
        },
        { signal },
      );
      const learningRate = rate(step);
      const { gradNorm } = await takeStep(trainer, step, { learningRate, maxGradNorm: optimizer.maxGradNorm });
      return {
        epoch: (step + 1) / batches.steps(1),
        loss,
        ...(metrics as Omit<OfflineMetrics, 'epoch' | 'loss'>),
        prompts: picked.length,
        tokens: batch.rows.length,
        gradNorm,
        learningRate,
      };
    },

    async after(step) {
      const due = step + 1 === totalSteps || (validateEvery > 0 && (step + 1) % validateEvery === 0);
      if (!due || validation.length === 0) return {};
      held = await evaluate(objective, model, validation, (await ready()).validation, o);
      const { loss, accuracy, low, high, pairs } = held;
      return {
        validationLoss: loss,
        validationAccuracy: accuracy,
        validationLow: low,
        validationHigh: high,
        validationPairs: pairs,
      };
    },

    async save(dir) {
      await model.save(join(dir, 'model'));
      await trainer.saveState(join(dir, 'model.optimizer.safetensors'));
      if (references) await writeFile(join(dir, 'reference.json'), JSON.stringify(references), { flush: true });
    },

    async restore({ dir }, progress) {
      await model.restore(join(dir, 'model'));
      await trainer.loadState(join(dir, 'model.optimizer.safetensors'));
      references = JSON.parse(await readFile(join(dir, 'reference.json'), 'utf8')) as References;
      held = (progress.held as OfflineResult['validation'] | null) ?? undefined;
    },

    progress: () => ({ held: held ?? null }),
  };

  try {
    yield* runSteps(phase, o);
    const result: OfflineResult = { steps: totalSteps, ...(held ? { validation: held } : {}) };
    if (run) {
      const tokenizer = run.tokenizerFrom === undefined ? {} : { tokenizerFrom: run.tokenizerFrom };
      await model.save(join(run.dir, 'model'), tokenizer);
      await run.writeJson('result.json', result);
    }
    return result;
  } finally {
    await trainer.dispose();
  }
}

/** log-probabilities under the reference: for each item those of its responses, then those of its constants. */
type Reference = readonly (readonly number[])[];
interface References {
  readonly items: Reference;
  readonly validation: Reference;
}

/** Loss and accuracy of a model on items it is not trained on. */
async function evaluate<Item extends Tree>(
  objective: Objective<Item>,
  model: LanguageModel,
  items: Items<Item>,
  references: Reference,
  { signal, onProgress }: PhaseOptions,
): Promise<PairAccuracy & { loss: number }> {
  const ordered: Pairs[] = [];
  let sum = 0;
  for (let begin = 0; begin < items.length; begin += kItemsOfCall) {
    const indices = range(begin, Math.min(items.length, begin + kItemsOfCall));
    const picked = indices.map((i) => items.at(i)!);
    const constants = await constantsOf(objective, model, picked, indices, references, signal);
    const found = objective.loss(
      picked,
      likelihoodsOf(picked, await logprobsOf(model, picked, signal), indices, references),
      constants,
    );
    sum += found.loss * picked.length;
    ordered.push(...found.ordered);
    onProgress?.({ doing: 'validation', done: begin + picked.length, total: items.length });
  }
  return { loss: sum / items.length, ...pairAccuracy(ordered) };
}

/** The log-probabilities of all items under a reference. */
async function measure<Item extends Tree>(
  { constantsOf }: Objective<Item>,
  reference: LanguageModel,
  items: Items<Item>,
  { signal, onProgress }: PhaseOptions,
): Promise<number[][]> {
  const found: number[][] = [];
  for (let begin = 0; begin < items.length; begin += kItemsOfCall) {
    const picked = range(begin, Math.min(items.length, begin + kItemsOfCall)).map((i) => items.at(i)!);
    const all = picked.map((item): Tree => {
      const constants = constantsOf?.(item).responses ?? [];
      return { prompt: item.prompt, responses: [...item.responses, ...constants] };
    });
    const logprobs = await logprobsOf(reference, all, signal);
    for (const { responses } of all) found.push(logprobs.splice(0, responses.length));
    onProgress?.({ doing: 'scoring', done: found.length, total: items.length });
  }
  return found;
}

async function constantsOf<Item extends Tree>(
  { constantsOf }: Objective<Item>,
  model: LanguageModel,
  picked: readonly Item[],
  indices: readonly number[],
  references: Reference,
  signal: AbortSignal | undefined,
): Promise<Likelihood[][]> {
  if (!constantsOf) return picked.map(() => []);
  const trees = picked.map(constantsOf);
  return likelihoodsOf(
    trees,
    await logprobsOf(model, trees, signal),
    indices,
    references,
    (i) => picked[i]!.responses.length,
  );
}

/** Each response's log-probability. */
async function logprobsOf(
  model: LanguageModel,
  trees: readonly Tree[],
  signal: AbortSignal | undefined,
): Promise<number[]> {
  const batch = packResponses(trees);
  const { logprobs } = await model.logprobs(batch, { signal });
  return sums(logprobs, batch.cuRows);
}

function likelihoodsOf(
  trees: readonly Tree[],
  logprobs: readonly number[],
  indices: readonly number[],
  references: Reference,
  skip: (i: number) => number = () => 0,
): Likelihood[][] {
  let at = 0;
  return trees.map(({ responses }, i) =>
    responses.map(({ length }, k) => ({
      logprob: logprobs[at++]!,
      reference: references[indices[i]!]?.[skip(i) + k] ?? 0,
      tokens: length,
    })),
  );
}

/** The sum over each response's rows. */
function sums(x: ArrayLike<number>, cuRows: Int32Array): number[] {
  return range(0, cuRows.length - 1).map((s) => {
    let sum = 0;
    for (let r = cuRows[s]!; r < cuRows[s + 1]!; r++) sum += x[r]!;
    return sum;
  });
}

/** Each response's value at all of its rows. */
function perRow(x: readonly number[], cuRows: Int32Array): Float64Array {
  const rows = new Float64Array(cuRows.at(-1)!);
  x.forEach((value, s) => {
    rows.fill(value, cuRows[s], cuRows[s + 1]);
  });
  return rows;
}

const range = (begin: number, end: number) => Array.from({ length: end - begin }, (_, i) => begin + i);

function requireFinite(step: number, name: string, value: number): void {
  if (!Number.isFinite(value)) throw new DivergenceError(step + 1, `the ${name} is ${value}`);
}

function* contents<Item extends Tree>({ labelsOf }: Objective<Item>, items: Items<Item>): Iterable<ArrayLike<number>> {
  for (const item of items) {
    yield item.prompt;
    yield* item.responses;
    yield labelsOf(item);
  }
}

/** Checks before the first step that every prompt and its responses fit into a pass. */
function checkItems(what: string, items: Items<Tree>, { config, engine }: LanguageModel): void {
  let i = 0;
  for (const { prompt, responses } of items) {
    const longest = prompt.length + Math.max(...responses.map(({ length }) => length));
    const all = responses.reduce((sum, { length }) => sum + length, prompt.length);
    if (longest > config.maxPositions)
      throw new RangeError(
        `${what} item ${i} ends at token ${longest}, expected at most the model's ${config.maxPositions} positions`,
      );
    if (all > engine.info.maxTokens)
      throw new RangeError(
        `${what} item ${i} has ${all} tokens, expected at most the engine's maxTokens, ${engine.info.maxTokens}`,
      );
    i++;
  }
}
