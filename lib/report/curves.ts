/** Draws the plots of phases. */
import { figure, linePlot, type Series } from './charts.js';
import { html, type Markup, percent } from './html.js';
import { type Panel, panelsOf, phaseName } from './panels.js';
import { eachIteration } from './series.js';
import { COLOURS, modelColour, modelName } from './style.js';
import type { Curve, Metrics } from './types.js';

const METRIC_COLOURS = [COLOURS.sft.light, COLOURS.ppo.light, COLOURS.bestof.light];

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

function plot({ title, note, share, level }: Panel, series: readonly Series[]): Markup[] {
  if (series.length === 0) return [];
  const most = Math.max(...series.flatMap(({ points }) => points.map(([, y]) => y)));
  const format = share
    ? { yFormat: (value: number) => percent(value).replace('.0', ''), ...(most > 0.9 ? { yMax: 1 } : {}) }
    : {};
  return [figure(title, note, linePlot({ series, xName: 'step', ...format, ...(level ? { level } : {}) }))];
}

/** A metric over steps: points if it is measured rarely, else a running mean over the pale raw values. */
function lines(points: readonly Metrics[], metric: string, name: string, colour: string): Series[] {
  const values = eachIteration(points, metric);
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
