/** What came of a run of one phase: one sentence, its key numbers, before and after. */
import { duration, estimate, number, percent } from './html.js';
import { panelsOf } from './panels.js';
import { eachIteration, ends } from './series.js';
import type { Change, Estimate, Fact, Metrics } from './types.js';

/** The result in one sentence; undefined before the first step. */
export function verdictOf(phase: string, points: readonly Metrics[], result?: unknown): string | undefined {
  if (points.length === 0) return undefined;
  const loss = fromTo(points, 'validationLoss') ?? fromTo(points, 'loss');
  if (phase === 'reward' || kOrdering.has(phase)) {
    const accuracy = accuracyOf(points, result);
    if (accuracy !== undefined) {
      const what = `${phase === 'reward' ? 'The reward model' : 'The model'} orders ${shareOf(accuracy)} of the held-out ${phase === 'kto' ? 'responses' : 'pairs'} as the labelers did`;
      if (typeof accuracy === 'number') return `${what}.`;
      return `${what}${accuracy.low > 0.5 ? '' : accuracy.high < 0.5 ? ', worse than chance' : ', no better than chance'}.`;
    }
    return `The model orders ${percent(fromTo(points, 'accuracy')?.[1] ?? Number.NaN)} of its last training pairs as the labelers did; nothing was held out.`;
  }
  const score = fromTo(points, 'score');
  if (score) {
    const kl = fromTo(points, 'kl')?.[1];
    return `The score ${moved(score)}${kl === undefined ? '' : ` at a KL of ${number(kl)} nats per response`}.`;
  }
  if (!loss) return undefined;
  const isHeldOut = fromTo(points, 'validationLoss') !== undefined;
  const [, last] = loss;
  return `The ${isHeldOut ? 'held-out' : 'training'} loss ${moved(loss)} nats per token: a perplexity of ${number(Math.exp(last))}${isHeldOut ? '' : '; nothing was held out'}.`;
}

/** Phases that learn to order responses. */
const kOrdering = new Set(['dpo', 'kto', 'orpo', 'simpo']);

const shareOf = (accuracy: Estimate | number) =>
  typeof accuracy === 'number' ? percent(accuracy) : estimate(accuracy);

function moved([first, last]: readonly [number, number]): string {
  if (number(first) === number(last)) return `stayed at ${number(last)}`;
  return `${last > first ? 'rose' : 'fell'} from ${number(first)} to ${number(last)}`;
}

function fromTo(points: readonly Metrics[], metric: string): readonly [number, number] | undefined {
  const values = eachIteration(points, metric);
  if (values.length === 0) return undefined;
  return ends(values) ?? [values[0]![1], values.at(-1)![1]];
}

/** Of the held-out items, with its interval where it was measured. */
function accuracyOf(points: readonly Metrics[], result: unknown): Estimate | number | undefined {
  const { validation } = (result ?? {}) as { validation?: Partial<Record<string, number>> };
  const last = points.findLast(({ validationAccuracy }) => validationAccuracy !== undefined);
  const value = validation?.accuracy ?? last?.validationAccuracy;
  const low = validation?.low ?? last?.validationLow;
  const high = validation?.high ?? last?.validationHigh;
  const count = validation?.pairs ?? last?.validationPairs ?? 0;
  return value === undefined || low === undefined || high === undefined ? value : { value, low, high, count };
}

/** Every metric of the phase's plots, at the beginning and at the end. */
export function changesOf(phase: string, points: readonly Metrics[]): Change[] {
  return panelsOf(phase)
    .filter(({ title }) => !title.startsWith('Learning rate'))
    .flatMap(({ title, note, metrics, share }) =>
      Object.entries(metrics).flatMap(([metric, name], _i, all) => {
        const both = fromTo(points, metric);
        const isAlone = all.length === 1;
        const unit = note.startsWith('nats') || note === 'tokens' ? `, ${note}` : '';
        return both
          ? [{ name: `${title}${isAlone ? '' : `: ${name}`}${unit}`, first: both[0], last: both[1], share }]
          : [];
      }),
    );
}

/** How long it ran. */
export function keyNumbers(points: readonly Metrics[]): Fact[] {
  const last = points.at(-1);
  if (!last) return [];
  const total = (metric: string) => points.reduce((sum, point) => sum + (point[metric] ?? 0), 0);
  const seconds = total('seconds');
  const tokens = total('tokensComputed');
  const shown: Fact[] = [{ name: 'optimizer steps', value: String(last.step) }];
  if (seconds > 0) shown.push({ name: 'time in steps', value: duration(seconds) });
  if (tokens > 0)
    shown.push({ name: 'tokens computed', value: tokens.toLocaleString('en'), note: 'a shared prompt counts once' });
  return shown;
}

/** What RUN/result.json holds, in words. */
export function resultFacts(result: unknown, prefix = ''): Fact[] {
  if (typeof result !== 'object' || result === null) return [];
  const { accuracy, low, high, pairs } = result as Partial<Record<string, number>>;
  const interval =
    accuracy !== undefined && low !== undefined && high !== undefined
      ? [{ name: `${prefix}accuracy`, value: { value: accuracy, low, high, count: pairs ?? 0 } }]
      : [];
  const shown = interval.length > 0 ? new Set(['accuracy', 'low', 'high']) : undefined;
  return [
    ...interval,
    ...Object.entries(result).flatMap(([key, value]): Fact[] => {
      if (shown?.has(key) || (prefix === '' && key === 'steps')) return [];
      const name = prefix + inWords(key);
      if (typeof value === 'number' || typeof value === 'string') return [{ name, value }];
      if (typeof value === 'boolean') return [{ name, value: value ? 'yes' : 'no' }];
      return resultFacts(value, `${name}: `);
    }),
  ];
}

const kWords: Readonly<Record<string, string>> = {
  validation: 'held out',
  best: 'best weights',
  validationLoss: 'held-out loss',
  validationMetric: 'validation metric',
  offset: 'offset added to scores',
  offsetFrom: 'scores are zero on average for',
  scale: 'reward scale',
  klCoef: 'KL coefficient at the end',
  stopped: 'stopped by the KL limit',
  skipped: 'rows that taught nothing',
  demonstrationStd: 'standard deviation of scores',
};

/** demonstrationStd → demonstration std */
const inWords = (key: string) => kWords[key] ?? key.replace(/([a-z])([A-Z])/g, (_, a, b) => `${a} ${b.toLowerCase()}`);
