/** Scores of reward model and judge over the KL from SFT. */
import { figure, linePlot, type Series } from './charts.js';
import { html, type Markup, number, section, table } from './html.js';
import { gaoValue } from './overoptimisation.js';
import { COLOURS, modelColour, modelName } from './style.js';
import type { GaoFit, Overoptimisation } from './types.js';

const PROXY = COLOURS.soft.light;
const SFT = { kl: 0, proxy: 0, gold: 0 }; // the start of every run

export function overoptimisationSection({ policies, bestOfN, fits }: Overoptimisation): Markup | undefined {
  if (policies.length === 0 && bestOfN.length === 0) return undefined;
  const runs = [...new Set(policies.map(({ run }) => run))];
  const plots = runs.map((run) => {
    const points = [SFT, ...policies.filter((point) => point.run === run)];
    const root = (of: 'proxy' | 'gold') =>
      points.map((point) => [Math.sqrt(Math.max(0, point.kl)), point[of]] as const);
    return figure(
      modelName(run),
      'one point per checkpoint',
      plot(
        [
          { name: 'reward model', colour: PROXY, points: root('proxy'), mark: 'both', dashed: true },
          { name: 'judge', colour: modelColour(run), points: root('gold'), mark: 'both' },
        ],
        fits.find(({ of }) => of === run),
        modelColour(run),
      ),
    );
  });
  if (bestOfN.length > 0) {
    const root = (of: 'proxy' | 'gold') => bestOfN.map((point) => [Math.sqrt(point.kl), point[of]] as const);
    plots.push(
      figure(
        'Best of n from SFT',
        'chosen by the reward model',
        plot(
          [
            { name: 'reward model', colour: PROXY, points: root('proxy'), mark: 'both', dashed: true },
            {
              name: 'judge',
              colour: COLOURS.bestof.light,
              points: root('gold'),
              mark: 'both',
              labels: bestOfN.map(({ n }) => String(n)),
            },
          ],
          fits.find(({ of }) => of === 'best-of-n'),
          COLOURS.bestof.light,
        ),
      ),
    );
  }
  return section(
    'Is the reward model being gamed?',
    'Scores over the square root of the KL, both relative to SFT. If the reward model’s score keeps rising and the judge’s does not, the policy exploits the reward model (Gao et al. 2023).',
    html`<div class="plots">${plots}</div>`,
    fits.length > 0 &&
      table(
        ['fit', 'form, d = √KL', 'α', 'β', 'R²', 'points'],
        fits.map(({ of, form, alpha, beta, r2, points }) => [
          of === 'best-of-n' ? 'best of n' : modelName(of),
          form === 'rl' ? 'd (α − β ln d)' : 'd (α − β d)',
          number(alpha),
          number(beta),
          number(r2),
          points,
        ]),
      ),
  );
}

function plot(series: readonly Series[], fit: GaoFit | undefined, colour: string): Markup {
  const last = Math.max(...series.flatMap(({ points }) => points.map(([d]) => d)));
  const fitted: Series[] =
    fit && last > 0
      ? [
          {
            name: 'fit',
            colour,
            faint: true,
            points: Array.from({ length: 41 }, (_, i) => {
              const d = (last * (i + 1)) / 41;
              return [d, gaoValue(fit, d)] as const;
            }),
          },
        ]
      : [];
  return linePlot({ series: [...series, ...fitted], xName: '√KL (√nats)', xMin: 0 });
}
