/**
 * The training loop of all phases: optimizer steps, metrics, checkpoints, abort and resume.
 */
import { createHash } from 'node:crypto';
import { channel } from 'node:diagnostics_channel';
import { fillIn, sftOptions } from '../config/index.js';
import { HeedError } from '../core/errors.js';
import { Pace } from '../core/pace.js';
import { StopRequested } from '../runs/requests.js';
import { type Checkpoint, differences, type RunFolder, type RunState } from '../runs/runfolder.js';
import type { Engine } from '../runtime/engine.js';
import { type StepOptions, type StepResult, stepTogether, type TrainerStep } from '../runtime/trainer.js';
import type { StepMetrics } from './metrics.js';
import { Speed } from './speed.js';

/** Progress within one step: rollouts, validation. */
export interface PhaseProgress {
  readonly doing: 'rollout' | 'scoring' | 'validation';
  readonly done: number;
  readonly total: number;
}

/** Options of every phase. */
export interface PhaseOptions {
  /**
   * Keeps only the inputs of blocks for the backward pass, which computes the rest again: less memory, about a third more time, the
   * same result bit for bit. Default false.
   */
  readonly gradientCheckpointing?: boolean | undefined;
  /** Everything random depends on this and on the step. Default 0. */
  readonly seed?: number | undefined;
  /** The folder for metrics, checkpoints and the final model. Default: nothing is written. */
  readonly run?: RunFolder | undefined;
  /**
   * Optimizer steps between checkpoints. Default: once a minute, or less often if saving would take more than 5 % of the time.
   * 0 saves only at the end, on abort and when a callback fails. Needs `run`.
   */
  readonly saveEvery?: number | undefined;
  /** Aborting it makes the phase reject with `signal.reason`, after saving a checkpoint of the last complete step. */
  readonly signal?: AbortSignal | undefined;
  /** Called often with the current progress. */
  readonly onProgress?: ((progress: PhaseProgress) => void) | undefined;
}

/** Training diverged: a number is not finite, or the KL is out of bounds. The last good checkpoint is kept. */
export class DivergenceError extends HeedError {
  override readonly name = 'DivergenceError';
  /** @param step the optimizer step that failed, counted from 1 */
  constructor(
    readonly step: number,
    message: string,
    options?: ErrorOptions,
  ) {
    super('ERR_DIVERGED', `step ${step}: ${message}`, options);
  }
}

/** {@link stepTogether} within a phase. @throws DivergenceError when a gradient is not finite */
export async function takeSteps(step: number, steps: readonly TrainerStep[]): Promise<StepResult[]> {
  try {
    return await stepTogether(steps);
  } catch (error) {
    if (error instanceof HeedError && error.code === 'ERR_NOT_FINITE') {
      throw new DivergenceError(step + 1, error.message, { cause: error });
    }
    throw error;
  }
}

/** The step of a phase with one trainer; see {@link takeSteps}. */
export async function takeStep(
  trainer: TrainerStep['trainer'],
  step: number,
  options: StepOptions,
): Promise<StepResult> {
  const [result] = await takeSteps(step, [{ trainer, ...options }]);
  return result!;
}

/** One phase, driven by {@link runSteps}. */
export interface PhaseSteps<Metrics> {
  readonly name: string;
  /** Optimizer steps of the whole run. */
  readonly total: number;
  /** See {@link RunState.options}. */
  readonly options: Readonly<Record<string, unknown>>;
  /** See {@link digest}. */
  readonly data: string;
  /** See {@link RunState.models}. */
  readonly models?: string;
  /** Its work over a step is a metric. */
  readonly engine: Engine;
  /**
   * Takes optimizer step `step`, counted from 0; undefined ends the run before this step, also when it is resumed. If it throws, the
   * state that a checkpoint holds is unchanged.
   */
  update(step: number): Promise<Metrics | undefined>;
  /** Runs after an update, and may be aborted without undoing it: validation. Returns metrics to add. */
  after?(step: number): Promise<Partial<Metrics>>;
  /** Writes models and moments into a folder. */
  save(dir: string): Promise<void>;
  /** Reads them back; `progress` is the result of `progress()` at that time. */
  restore(checkpoint: Checkpoint, progress: RunState['progress']): Promise<void>;
  progress(): RunState['progress'];
}

/** State of {@link runSteps} in a checkpoint, besides the phase's progress. */
interface LoopProgress<Metrics> {
  readonly phase: RunState['progress'];
  /** A step whose update was done but whose `after` was aborted. */
  readonly pending: (Metrics & StepMetrics) | null;
}

/** Decides when a checkpoint is due. */
class SaveClock {
  readonly #every: number | undefined;
  #last = performance.now();
  #took = 0;

  constructor(every: number | undefined) {
    this.#every = every;
  }

  isDue(taken: number): boolean {
    if (this.#every !== undefined) return this.#every > 0 && taken % this.#every === 0;
    return performance.now() - this.#last >= Math.max(kMillisecondsBetweenSaves, 20 * this.#took);
  }

  async saving(save: () => Promise<void>): Promise<void> {
    const began = performance.now();
    await save();
    this.#last = performance.now();
    this.#took = this.#last - began;
  }
}

/** The most work that a kill loses, unless `saveEvery` is given. */
export const kMillisecondsBetweenSaves = 60_000;

/** Every step of every phase, once its metrics are on disk: see docs/cli.md. */
const steps = channel('heed:step');

/** Runs a phase from its start or its checkpoint to its end, yielding the metrics of each step once they are on disk. */
export async function* runSteps<Metrics extends object>(
  phase: PhaseSteps<Metrics>,
  { run, saveEvery: every, signal }: PhaseOptions,
): AsyncGenerator<Metrics & StepMetrics, void, void> {
  const { saveEvery } = fillIn({ saveEvery: sftOptions.saveEvery }, { saveEvery: every });
  const clock = new SaveClock(saveEvery);
  let { taken, pending, warnings } = await resume(phase, run);
  let saved = taken;
  const save = async () => {
    if (!run || saved === taken) return;
    const progress: LoopProgress<Metrics> = { phase: phase.progress(), pending: pending ?? null };
    const { name, options, data, models, engine } = phase;
    const logged = pending ? taken - 1 : taken;
    const state = {
      phase: name,
      step: taken,
      logged,
      options,
      data,
      models,
      progress: progress as unknown as RunState['progress'],
    };
    await clock.saving(() => run.save(state, engine.info.device, (dir) => phase.save(dir)));
    saved = taken;
  };

  const speed = new Speed(phase.engine);
  const tokensComputed = () => phase.engine.usage().tokensComputed;
  let failed = false;
  try {
    while (pending || taken < phase.total) {
      signal?.throwIfAborted();
      await run?.obey({ phase: phase.name, total: phase.total }, signal, save);
      const began = performance.now();
      if (!pending) {
        const before = tokensComputed();
        const { result: metrics, percentOfPeak } = await speed.of(() => phase.update(taken));
        if (!metrics) break;
        const work = { tokensComputed: tokensComputed() - before, percentOfPeak };
        pending = { step: taken + 1, ...metrics, ...work, seconds: 0 };
        taken++;
      }
      const after = await phase.after?.(taken - 1);
      const metrics = { ...pending, ...after, seconds: (performance.now() - began) / 1000 };
      if (warnings.length > 0) metrics.warnings = [...warnings, ...(metrics.warnings ?? [])];
      await run?.append(metrics);
      if (steps.hasSubscribers) steps.publish({ phase: phase.name, run: run?.dir, metrics });
      pending = undefined;
      warnings = [];
      if (clock.isDue(taken)) await save();
      yield metrics;
    }
  } catch (error) {
    failed = !((signal?.aborted && error === signal.reason) || error instanceof StopRequested);
    if (!(error instanceof DivergenceError)) {
      // For example, a reward function failed: the work so far is good. If saving fails too, the first error is the useful one.
      if (failed) await save().catch(() => {});
    } else if (run) {
      error.message +=
        saved > 0 ? `; the last good checkpoint in ${run.dir} is kept` : `; there is no checkpoint in ${run.dir} yet`;
    }
    throw error;
  } finally {
    // The end, an abort, a request to stop, or a consumer that stopped reading: the last complete step is saved.
    if (!failed) await save();
  }
}

async function resume<Metrics>(phase: PhaseSteps<Metrics>, run: RunFolder | undefined) {
  const start = {
    taken: 0,
    pending: undefined as (Metrics & StepMetrics) | undefined,
    warnings: [] as string[],
  };
  const checkpoint = run?.checkpoint;
  if (!checkpoint) return start;
  const { state, dir, step } = checkpoint;
  if (state.phase !== phase.name) {
    throw new HeedError(
      'ERR_INVALID_ARGUMENT',
      `${dir} is a checkpoint of ${state.phase}, expected a checkpoint of ${phase.name}`,
    );
  }
  if (state.data !== phase.data) {
    throw new HeedError(
      'ERR_INVALID_ARGUMENT',
      `${dir} was saved with other data: resume with the same data in the same order (the seed that holds out a part, and the tokenizer, count too), or start a new run`,
    );
  }
  const isSameDevice = state.device === phase.engine.info.device; // others may round differently
  if (isSameDevice && state.models !== undefined && state.models !== phase.models) {
    throw new HeedError(
      'ERR_INVALID_ARGUMENT',
      `${dir} was saved with another initial policy or reward model: resume with the same ones, or start a new run`,
    );
  }
  const progress = state.progress as unknown as LoopProgress<Metrics>;
  await phase.restore(checkpoint, progress.phase);
  return {
    taken: step,
    pending: progress.pending ?? undefined,
    warnings: differences(state, { options: phase.options, device: phase.engine.info.device }),
  };
}

/** A digest of everything a run trains on, in order. @throws the signal's reason */
export async function digest(
  signal: AbortSignal | undefined,
  ...data: readonly Iterable<ArrayLike<number>>[]
): Promise<string> {
  const hash = createHash('sha256');
  const pace = new Pace(signal, 1 << 20);
  for (const arrays of data) {
    let count = 0;
    for (const array of arrays) {
      const ids = array instanceof Int32Array ? array : Int32Array.from(array);
      hash.update(`${ids.length},`);
      hash.update(new Uint8Array(ids.buffer, ids.byteOffset, ids.byteLength));
      count++;
      await pace.add(ids.length);
    }
    hash.update(`${count};`);
  }
  return hash.digest('hex').slice(0, 32);
}

/** Runs a phase to its end and returns its result, which `for await` cannot. */
export async function finish<Metrics, Result>(
  phase: AsyncGenerator<Metrics, Result, void>,
  onMetrics?: (metrics: Metrics) => void | Promise<void>,
): Promise<Result> {
  for (;;) {
    const next = await phase.next();
    if (next.done) return next.value;
    await onMetrics?.(next.value);
  }
}
