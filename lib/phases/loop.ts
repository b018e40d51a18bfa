/**
 * What the phases have in common: optimizer steps one after the other, their metrics, checkpoints, abort and resume.
 */
import { createHash } from 'node:crypto';
import { fillIn, sftOptions } from '../config/index.js';
import { HeedError } from '../core/errors.js';
import { Pace } from '../core/pace.js';
import { type Checkpoint, differences, type RunFolder, type RunState } from '../runs/runfolder.js';
import { type StepOptions, type StepResult, stepTogether, type TrainerStep } from '../runtime/trainer.js';
import type { StepMetrics } from './metrics.js';

/** How far a long part of one step has come: rollouts, validation. */
export interface PhaseProgress {
  readonly doing: 'rollout' | 'scoring' | 'validation';
  readonly done: number;
  readonly total: number;
}

/** Options of every phase. */
export interface PhaseOptions {
  /** Everything random is a function of this and of the step. Default 0. */
  readonly seed?: number | undefined;
  /** Where metrics, checkpoints and the final model go. Without one nothing is written. */
  readonly run?: RunFolder | undefined;
  /**
   * Optimizer steps between checkpoints. Default: once a minute, or less often where saving would take more than a twentieth of the time.
   * 0 saves only at the end, on abort and when a function of the caller's fails. Needs `run`.
   */
  readonly saveEvery?: number | undefined;
  /** Ends the phase with `signal.reason`, after saving a checkpoint of the last whole step. */
  readonly signal?: AbortSignal | undefined;
  /** Called often; the latest call counts. */
  readonly onProgress?: ((progress: PhaseProgress) => void) | undefined;
}

/** Training went wrong: a number that is not finite, or a policy that ran away. The last good checkpoint is kept. */
export class DivergenceError extends HeedError {
  override readonly name = 'DivergenceError';
  /** @param step the optimizer step that was not taken, counted from 1 */
  constructor(
    readonly step: number,
    message: string,
    options?: ErrorOptions,
  ) {
    super('ERR_DIVERGED', `step ${step}: ${message}`, options);
  }
}

/** {@link stepTogether} as a step of a phase. @throws DivergenceError when a gradient is not finite */
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

/** One phase, as {@link runSteps} drives it. */
export interface PhaseSteps<Metrics> {
  readonly name: string;
  /** Optimizer steps of the whole run. */
  readonly total: number;
  /** See {@link RunState.options}. */
  readonly options: Readonly<Record<string, unknown>>;
  /** See {@link digest}. */
  readonly data: string;
  readonly device: string;
  /** Tokens computed so far by the engine: the difference over a step is its metric. */
  tokensComputed(): number;
  /**
   * Takes optimizer step `step`, counted from 0; undefined ends the run before it, and a resumed run comes to the same end. When it
   * throws, nothing has changed that a checkpoint holds.
   */
  update(step: number): Promise<Metrics | undefined>;
  /** What follows an update and may be aborted without undoing it: validation. Returns metrics to add. */
  after?(step: number): Promise<Partial<Metrics>>;
  /** Writes models and moments into a folder. */
  save(dir: string): Promise<void>;
  /** Reads them back; `progress` is what `progress()` returned then. */
  restore(checkpoint: Checkpoint, progress: RunState['progress']): Promise<void>;
  progress(): RunState['progress'];
}

/** What {@link runSteps} keeps of itself in a checkpoint, beside the phase's progress. */
interface LoopProgress<Metrics> {
  readonly phase: RunState['progress'];
  /** A step whose update was taken and whose `after` was not, by an abort. */
  readonly pending: (Metrics & StepMetrics) | null;
}

/** When a checkpoint is due. */
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

/** What a kill takes from a run, at most, unless `saveEvery` says otherwise. */
export const kMillisecondsBetweenSaves = 60_000;

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
    const { name, options, data, device } = phase;
    const logged = pending ? taken - 1 : taken;
    const state = {
      phase: name,
      step: taken,
      logged,
      options,
      data,
      progress: progress as unknown as RunState['progress'],
    };
    await clock.saving(() => run.save(state, device, (dir) => phase.save(dir)));
    saved = taken;
  };

  let failed = false;
  try {
    while (pending || taken < phase.total) {
      signal?.throwIfAborted();
      const began = performance.now();
      if (!pending) {
        const before = phase.tokensComputed();
        const metrics = await phase.update(taken);
        if (!metrics) break;
        const tokensComputed = phase.tokensComputed() - before;
        pending = { step: taken + 1, ...metrics, tokensComputed, seconds: 0 };
        taken++;
      }
      const after = await phase.after?.(taken - 1);
      const metrics = { ...pending, ...after, seconds: (performance.now() - began) / 1000 };
      if (warnings.length > 0) metrics.warnings = [...warnings, ...(metrics.warnings ?? [])];
      await run?.append(metrics);
      pending = undefined;
      warnings = [];
      if (clock.isDue(taken)) await save();
      yield metrics;
    }
  } catch (error) {
    failed = !(signal?.aborted && error === signal.reason);
    if (!(error instanceof DivergenceError)) {
      // A reward function that failed, say: the work up to here is good. Where this fails too, the first error says more.
      if (failed) await save().catch(() => {});
    } else if (run) {
      error.message +=
        saved > 0 ? `; the last good checkpoint in ${run.dir} is kept` : `; there is no checkpoint in ${run.dir} yet`;
    }
    throw error;
  } finally {
    // The end, an abort, and a consumer that stopped reading: the last whole step is kept.
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
      `${dir} is a checkpoint of ${state.phase}, expected one of ${phase.name}`,
    );
  }
  if (state.data !== phase.data) {
    throw new HeedError(
      'ERR_INVALID_ARGUMENT',
      `${dir} was saved with other data: resume with the same data in the same order, or start another run`,
    );
  }
  const progress = state.progress as unknown as LoopProgress<Metrics>;
  await phase.restore(checkpoint, progress.phase);
  return {
    taken: step,
    pending: progress.pending ?? undefined,
    warnings: differences(state, phase),
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

/** Reads a phase to its end: its result, which `for await` does not give. */
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
