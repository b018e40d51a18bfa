/** Learning rate schedules: linear warm-up, then constant, linear or cosine decay. */
import { count, fillIn, number, optimizerFields } from '../config/index.js';

/** How the learning rate changes over a run. */
export interface ScheduleOptions {
  /** `'constant'`, `'linear'` (falls to `finalFraction`, by default 0) or `'cosine'` (falls to 10 % of the peak). */
  readonly schedule: 'constant' | 'linear' | 'cosine';
  /** The highest learning rate. */
  readonly learningRate: number;
  /** Optimizer steps of the whole run. */
  readonly totalSteps: number;
  /** Steps of linear warm-up at the start. Default 0. */
  readonly warmupSteps?: number | undefined;
  /** Learning rate at which the warm-up starts, as a fraction of the peak. Default 0.1 (Ouyang et al. 2022, app. C.4). */
  readonly warmupFrom?: number | undefined;
  /** Learning rate at which the decay ends, as a fraction of the peak. Default 0.1 for `'cosine'` (app. C.1, C.2), 0 for `'linear'`. */
  readonly finalFraction?: number | undefined;
}

const { schedule: kinds, learningRate, warmupSteps, finalFraction } = optimizerFields;
const scheduleFields = {
  schedule: kinds,
  learningRate,
  totalSteps: count('optimizer steps of the whole run', { min: 0, default: 0 }),
  warmupSteps,
  warmupFrom: number('start of the warm-up, as a fraction of the peak', { min: 0, max: 1, default: 0.1 }),
  finalFraction,
};

/**
 * The learning rate of each optimizer step.
 *
 * @returns a function of the step, counted from 0; steps past the end have the last rate
 * @throws RangeError naming an invalid value
 */
export function schedule(options: ScheduleOptions): (step: number) => number {
  const o = fillIn(scheduleFields, options);
  const { totalSteps, warmupSteps, warmupFrom } = o;
  const peak = options.learningRate;
  const finalFraction = o.finalFraction ?? (o.schedule === 'cosine' ? 0.1 : 0);
  return (step) => {
    if (step < warmupSteps) return peak * (warmupFrom + ((1 - warmupFrom) * step) / warmupSteps);
    if (o.schedule === 'constant') return peak;
    const progress = Math.min(1, (step - warmupSteps) / Math.max(1, totalSteps - warmupSteps));
    const height = o.schedule === 'linear' ? 1 - progress : 0.5 * (1 + Math.cos(Math.PI * progress));
    return peak * (finalFraction + (1 - finalFraction) * height);
  };
}
