/** The optimizer's options, as every phase takes them. */
import { type ScheduleOptions, schedule } from './schedule.js';

/** AdamW, its schedule and gradient clipping. Each phase states its own defaults. */
export interface OptimizerOptions {
  /** The peak of the schedule. */
  readonly learningRate?: number | undefined;
  readonly schedule?: ScheduleOptions['kind'] | undefined;
  /** Optimizer steps of linear warm-up from a tenth of the peak. */
  readonly warmupSteps?: number | undefined;
  /** Where the schedule ends, as a fraction of the peak. Default 0.1 for cosine, 0 for linear. */
  readonly finalFraction?: number | undefined;
  /** Default [0.9, 0.95] (Ouyang et al. 2022, app. C). */
  readonly adamBetas?: readonly [number, number] | undefined;
  readonly adamEps?: number | undefined;
  /** Decoupled, on matrices only. Default 0. */
  readonly weightDecay?: number | undefined;
  /** The whole gradient's norm is clipped to this; 0 is off. Default 1. */
  readonly maxGradNorm?: number | undefined;
}

/** {@link OptimizerOptions} with every default in its place. */
export interface ResolvedOptimizer {
  readonly learningRate: number;
  readonly schedule: ScheduleOptions['kind'];
  readonly warmupSteps: number;
  readonly finalFraction: number | undefined;
  readonly adamBetas: readonly [number, number];
  readonly adamEps: number;
  readonly weightDecay: number;
  readonly maxGradNorm: number;
}

type Defaults = Pick<ResolvedOptimizer, 'learningRate' | 'schedule' | 'adamEps'> & { readonly warmupSteps?: number };

/** @throws RangeError when the norm to clip to cannot be; the schedule and the trainer check the rest before the first step */
export function resolveOptimizer(o: OptimizerOptions, defaults: Defaults): ResolvedOptimizer {
  const { maxGradNorm = 1 } = o;
  if (!(maxGradNorm >= 0)) throw new RangeError(`maxGradNorm is ${maxGradNorm}, expected 0 (off) or more`);
  return {
    learningRate: o.learningRate ?? defaults.learningRate,
    schedule: o.schedule ?? defaults.schedule,
    warmupSteps: o.warmupSteps ?? defaults.warmupSteps ?? 0,
    finalFraction: o.finalFraction,
    adamBetas: o.adamBetas ?? [0.9, 0.95],
    adamEps: o.adamEps ?? defaults.adamEps,
    weightDecay: o.weightDecay ?? 0,
    maxGradNorm,
  };
}

/** The learning rate of each optimizer step, counted from 0. */
export function learningRates(
  o: ResolvedOptimizer,
  totalSteps: number,
  peak = o.learningRate,
): (step: number) => number {
  return schedule({ ...o, kind: o.schedule, peak, totalSteps });
}

/** What a trainer is made with. */
export function trainerOptions(o: ResolvedOptimizer, dropout = 0) {
  const { adamBetas, adamEps, weightDecay } = o;
  return { adamBetas, adamEps, weightDecay, dropout };
}
