/** The plots of each phase: which metrics they show. */
import { figure, linePlot, type Series } from './charts.js';
import { html, type Markup, percent } from './html.js';
import { COLOURS, modelColour, modelName } from './style.js';
import type { Curve, Metrics } from './types.js';

interface Panel {
  readonly title: string;
  readonly note: string;
  /** Metrics and their names in the legend. */
  readonly metrics: Readonly<Record<string, string>>;
  readonly share?: boolean;
  readonly level?: { readonly y: number; readonly name: string };
  /** Also shown when several phases are compared. */
  readonly headline?: boolean;
}

const GRADIENT: Panel = { title: 'Gradient norm', note: 'before clipping', metrics: { gradNorm: 'gradient' } };
const RATE: Panel = { title: 'Learning rate', note: '', metrics: { learningRate: 'learning rate' } };
const LOSS: Panel = {
  title: 'Loss',
  note: 'nats per token',
  metrics: { loss: 'training', validationLoss: 'held out', ptxLoss: 'prose mixed in' },
  headline: true,
};

const GROUPED: readonly Panel[] = [
  { title: 'Score', note: 'mean, as optimised', metrics: { score: 'score' }, headline: true },
  { title: 'KL from the reference', note: 'nats per response', metrics: { kl: 'k1', klK3: 'k3' }, headline: true },
  { title: 'Response length', note: 'tokens', metrics: { length: 'length' } },
  { title: 'Finished', note: 'fraction that ends by itself', metrics: { finished: 'finished' }, share: true },
  { title: 'Entropy', note: 'nats per token', metrics: { entropy: 'entropy' }, headline: true },
  {
    title: 'Nothing to learn',
    note: 'fraction of prompts whose responses all have the same score',
    metrics: { tiedGroups: 'tied' },
    share: true,
  },
  { title: 'Clipped', note: 'fraction', metrics: { clipFraction: 'policy' }, share: true },
  GRADIENT,
  RATE,
];

const COMPARED: readonly Panel[] = [
  {
    title: 'In order',
    note: 'fraction of comparisons that the implicit rewards order as the labels do',
    metrics: { accuracy: 'training', validationAccuracy: 'held out' },
    share: true,
    level: { y: 0.5, name: 'chance' },
    headline: true,
  },
  { title: 'Loss', note: '', metrics: { loss: 'training', validationLoss: 'held out' }, headline: true },
  {
    title: 'Implicit rewards',
    note: 'of better and worse responses',
    metrics: { chosenReward: 'better', rejectedReward: 'worse' },
  },
  {
    title: 'Log-probability',
    note: 'nats per response: it may fall for both',
    metrics: { chosenLogprob: 'better', rejectedLogprob: 'worse' },
  },
  { title: 'KL from the reference', note: 'nats per response, as the loss estimates it', metrics: { kl: 'KL' } },
  GRADIENT,
  RATE,
];

const PANELS: Readonly<Record<string, readonly Panel[]>> = {
  sft: [
    LOSS,
    { title: 'Validation', note: 'selects the checkpoint', metrics: { validationMetric: 'validation' } },
    GRADIENT,
    RATE,
  ],
  pretrain: [LOSS, GRADIENT, RATE],
  grpo: GROUPED,
  rloo: GROUPED,
  dpo: COMPARED,
  kto: COMPARED,
  orpo: COMPARED,
  simpo: COMPARED,
  reward: [
    {
      title: 'Pairs ordered correctly',
      note: 'as the labelers ranked them',
      metrics: { accuracy: 'training', validationAccuracy: 'held out' },
      share: true,
      level: { y: 0.5, name: 'chance' },
      headline: true,
    },
    { title: 'Loss', note: 'nats per pair', metrics: { loss: 'training', validationLoss: 'held out' }, headline: true },
    { title: 'Standard deviation of scores', note: 'of a batch', metrics: { scoreStd: 'scores' } },
    GRADIENT,
    RATE,
  ],
  ppo: [
    {
      title: 'Score',
      note: 'of the reward model',
      metrics: { score: 'score', reward: 'minus the KL penalty' },
      headline: true,
    },
    { title: 'KL from SFT', note: 'nats per response', metrics: { kl: 'k1', klK3: 'k3' }, headline: true },
    { title: 'Response length', note: 'tokens', metrics: { length: 'length' } },
    { title: 'Finished', note: 'fraction that ends by itself', metrics: { finished: 'finished' }, share: true },
    { title: 'Entropy', note: 'nats per token', metrics: { entropy: 'entropy' }, headline: true },
    {
      title: 'Clipped',
      note: 'fraction of tokens',
      metrics: { clipFraction: 'policy', valueClipFraction: 'value' },
      share: true,
    },
    { title: 'Explained variance', note: 'of the returns', metrics: { explainedVariance: 'explained variance' } },
    { title: 'Value loss', note: '', metrics: { valueLoss: 'value loss' } },
    { title: 'Prose loss', note: 'of the pretraining mix, nats per token', metrics: { ptxLoss: 'prose' } },
    {
      title: 'Gradient norms',
      note: 'before clipping',
      metrics: { policyGradNorm: 'PPO', ptxGradNorm: 'pretraining mix', valueGradNorm: 'value' },
    },
    { title: 'Largest ratio', note: 'of a token, new to old policy', metrics: { ratioMax: 'largest' } },
    { title: 'Learning rates', note: '', metrics: { learningRate: 'policy', valueLearningRate: 'value' } },
  ],
};

const METRIC_COLOURS = [COLOURS.sft.light, COLOURS.ppo.light, COLOURS.bestof.light];

const panelsOf = (phase: string): readonly Panel[] =>
  PANELS[phase.startsWith('ppo') ? 'ppo' : phase] ?? [LOSS, GRADIENT, RATE];

/** All plots of one phase. */
export function phasePlots({ phase, points }: Curve): Markup[] {
  return panelsOf(phase).flatMap((panel) => {
    const series = Object.entries(panel.metrics).flatMap(([metric, name], i) =>
      lines(points, metric, name, METRIC_COLOURS[i % METRIC_COLOURS.length]!),
    );
    return plot(panel, series);
  });
}

/** The headline plots of all phases; runs of PPO share their plots. */
export function curvePlots(curves: readonly Curve[]): Markup {
  const phases = [...new Set(curves.map(({ phase }) => (phase.startsWith('ppo') ? 'ppo' : phase)))];
  return html`<div class="plots">${phases.flatMap((phase) =>
    panelsOf(phase)
      .filter(({ headline }) => headline)
      .flatMap((panel) => {
        const runs = curves.filter(
          (curve) => curve.phase === phase || (phase === 'ppo' && curve.phase.startsWith('ppo')),
        );
        const alone = runs.length === 1 && phase !== 'ppo';
        const series = runs.flatMap((run) =>
          Object.entries(panel.metrics)
            .slice(0, alone ? undefined : 1)
            .flatMap(([metric, name], i) =>
              lines(
                run.points,
                metric,
                alone ? name : modelName(run.phase),
                alone ? METRIC_COLOURS[i]! : modelColour(run.phase),
              ),
            ),
        );
        return plot(
          {
            ...panel,
            title: `${phaseName(phase)}: ${panel.title
              .toLowerCase()
              .replace(/\bkl\b/, 'KL')
              .replace(/\bsft\b/, 'SFT')}`,
          },
          series,
        );
      }),
  )}</div>`;
}

export function phaseName(phase: string): string {
  const names: Record<string, string> = {
    sft: 'SFT',
    reward: 'Reward model',
    ppo: 'PPO',
    pretrain: 'Pretraining',
    dpo: 'DPO',
    kto: 'KTO',
    orpo: 'ORPO',
    simpo: 'SimPO',
    grpo: 'GRPO',
    rloo: 'RLOO',
  };
  return names[phase] ?? modelName(phase);
}

function plot({ title, note, share, level }: Panel, series: readonly Series[]): Markup[] {
  if (series.length === 0) return [];
  const most = Math.max(...series.flatMap(({ points }) => points.map(([, y]) => y)));
  const format = share
    ? { yFormat: (value: number) => percent(value).replace('.0', ''), ...(most > 0.9 ? { yMax: 1 } : {}) }
    : {};
  return [figure(title, note, linePlot({ series, xName: 'step', ...format, ...(level ? { level } : {}) }))];
}

// Measured once per iteration of PPO, and repeated in each of its steps.
const ROLLOUT = new Set(['reward', 'score', 'kl', 'klK3', 'length', 'finished', 'explainedVariance']);

/** A metric over steps: points if it is measured rarely, else a running mean over the pale raw values. */
function lines(points: readonly Metrics[], metric: string, name: string, colour: string): Series[] {
  const values = points
    .filter((point) => Number.isFinite(point[metric]))
    .filter((point, i, all) => !ROLLOUT.has(metric) || !point.iteration || point.iteration !== all[i - 1]?.iteration)
    .map((point) => [point.step, point[metric]!] as const);
  if (values.length === 0) return [];
  if (values.length < 40) return [{ name, colour, points: values, mark: values.length < 25 ? 'both' : 'line' }];
  return [
    { name: `${name} (each step)`, colour, points: thin(values), faint: true },
    { name, colour, points: thin(runningMean(values)) },
  ];
}

function runningMean(values: readonly (readonly [number, number])[]): (readonly [number, number])[] {
  const half = Math.max(1, Math.round(values.length / 50));
  return values.map(([step], i) => {
    const window = values.slice(Math.max(0, i - half), i + half + 1);
    return [step, window.reduce((sum, [, value]) => sum + value, 0) / window.length] as const;
  });
}

// More points than the plot has pixels would only make the page larger.
function thin<T>(values: readonly T[]): readonly T[] {
  const every = Math.ceil(values.length / 300);
  return values.filter((_, i) => i % every === 0 || i === values.length - 1);
}
