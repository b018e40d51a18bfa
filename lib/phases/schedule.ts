/** Learning rates over a run: a linear warm-up, then constant, or falling in a line or a cosine. */

/** How the learning rate moves over a run. */
export interface ScheduleOptions {
  /** `'constant'`, `'linear'` (falls to 0 unless `finalFraction` says otherwise) or `'cosine'` (falls to 10 % of the peak). */
  readonly kind: 'constant' | 'linear' | 'cosine';
  /** The highest learning rate. */
  readonly peak: number;
  /** Optimizer steps of the whole run. */
  readonly totalSteps: number;
  /** Steps of linear warm-up at the start. Default 0. */
  readonly warmupSteps?: number | undefined;
  /** Where the warm-up starts, as a fraction of the peak. Default 0.1 (Ouyang et al. 2022, app. C.4). */
  readonly warmupFrom?: number | undefined;
  /** Where the fall ends, as a fraction of the peak. Default 0.1 for `'cosine'` (app. C.1, C.2), 0 for `'linear'`. */
  readonly finalFraction?: number | undefined;
}

/**
 * The learning rate of each optimizer step.
 *
 * @returns a function of the step, counted from 0; steps past the end keep the last rate
 * @throws RangeError naming the option that cannot be
 */
export function schedule(options: ScheduleOptions): (step: number) => number {
  const { kind, peak, totalSteps, warmupSteps = 0, warmupFrom = 0.1 } = options;
  const { finalFraction = kind === 'cosine' ? 0.1 : 0 } = options;
  if (!['constant', 'linear', 'cosine'].includes(kind)) {
    throw new RangeError(`the schedule is '${kind}', expected 'constant', 'linear' or 'cosine'`);
  }
  check('learningRate', peak, peak >= 0 && Number.isFinite(peak), 'a finite number of at least 0');
  check('totalSteps', totalSteps, Number.isInteger(totalSteps) && totalSteps >= 0, 'an integer of at least 0');
  check('warmupSteps', warmupSteps, Number.isInteger(warmupSteps) && warmupSteps >= 0, 'an integer of at least 0');
  check('warmupFrom', warmupFrom, warmupFrom >= 0 && warmupFrom <= 1, 'between 0 and 1');
  check('finalFraction', finalFraction, finalFraction >= 0 && finalFraction <= 1, 'between 0 and 1');

  return (step) => {
    if (step < warmupSteps) return peak * (warmupFrom + ((1 - warmupFrom) * step) / warmupSteps);
    if (kind === 'constant') return peak;
    const progress = Math.min(1, (step - warmupSteps) / Math.max(1, totalSteps - warmupSteps));
    const height = kind === 'linear' ? 1 - progress : 0.5 * (1 + Math.cos(Math.PI * progress));
    return peak * (finalFraction + (1 - finalFraction) * height);
  };
}

function check(name: string, value: number, ok: boolean, expected: string): void {
  if (!ok) throw new RangeError(`${name} is ${value}, expected ${expected}`);
}
