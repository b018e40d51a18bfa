/** The optimizer's options, common to all phases. */
import { type Fields, fillIn, optimizerFields } from '../config/index.js';
import { type ScheduleOptions, schedule } from './schedule.js';

/** AdamW, its learning rate schedule and gradient clipping. A default not given here depends on the phase. */
export interface OptimizerOptions {
  /** The peak learning rate. */
  readonly learningRate?: number | undefined;
  /** How the learning rate changes after the warm-up. */
  readonly schedule?: ScheduleOptions['schedule'] | undefined;
  /** Optimizer steps of linear warm-up from a tenth of the peak. */
  readonly warmupSteps?: number | undefined;
  /** The final learning rate as a fraction of the peak. Default 0.1 for cosine, 0 for linear. */
  readonly finalFraction?: number | undefined;
  /** Default [0.9, 0.95] (Ouyang et al. 2022, app. C). */
  readonly adamBetas?: readonly [number, number] | undefined;
  /** Epsilon of AdamW, in the bias-corrected form. */
  readonly adamEps?: number | undefined;
  /** Decoupled weight decay, on matrices only. */
  readonly weightDecay?: number | undefined;
  /** The gradient is clipped to this L2 norm; 0 disables clipping. Default 1. */
  readonly maxGradNorm?: number | undefined;
}

/** {@link OptimizerOptions} with defaults filled in. */
export interface ResolvedOptimizer {
  readonly learningRate: number;
  readonly schedule: ScheduleOptions['schedule'];
  readonly warmupSteps: number;
  readonly finalFraction: number | undefined;
  readonly adamBetas: readonly [number, number];
  readonly adamEps: number;
  readonly weightDecay: number;
  readonly maxGradNorm: number;
}

/** The optimizer's options of a phase, with defaults from the phase's fields. @throws RangeError naming an invalid value */
export function resolveOptimizer(fields: Fields, given: OptimizerOptions): ResolvedOptimizer {
  const own = Object.keys(optimizerFields).map((key) => [key, fields[key]!]);
  return fillIn(Object.fromEntries(own) as Fields, given) as unknown as ResolvedOptimizer;
}

/** The learning rate of each optimizer step, counted from 0. */
export function learningRates(
  o: ResolvedOptimizer,
  totalSteps: number,
  learningRate = o.learningRate,
): (step: number) => number {
  return schedule({ ...o, learningRate, totalSteps });
}

/** Options of a trainer. */
export function trainerOptions(
  { adamBetas, adamEps, weightDecay }: ResolvedOptimizer,
  { gradientCheckpointing, dropout = 0 }: { gradientCheckpointing?: boolean | undefined; dropout?: number },
) {
  return { adamBetas, adamEps, weightDecay, dropout, gradientCheckpointing };
}
