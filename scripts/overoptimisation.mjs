// node scripts/overoptimisation.mjs OVER.JSON... [--picture FILE.svg]: the tables of docs/results.md, over all seeds of the files that
// examples/overoptimisation.mjs wrote, and the picture. Intervals over seeds are Student's.
import { readFileSync, writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { linePlot } from '../dist/lib/report/charts.js';
import { COLOUR_STYLE, COLOURS } from '../dist/lib/report/style.js';

const { values, positionals } = parseArgs({ allowPositionals: true, options: { picture: { type: 'string' } } });
if (positionals.length === 0) {
  console.error('usage: node scripts/overoptimisation.mjs OVER.JSON... [--picture FILE.svg]');
  process.exit(2);
}
const seeds = new Map(
  positionals.flatMap((file) => JSON.parse(readFileSync(file, 'utf8'))).map((one) => [one.seed, one]),
);
const all = [...seeds.values()].sort((a, b) => a.seed - b.seed);

/** 97.5 % points of Student's t, by degrees of freedom from 1. */
const kT = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262];
function over(some) {
  const n = some.length;
  const mean = some.reduce((sum, x) => sum + x, 0) / n;
  const error = Math.sqrt(some.reduce((sum, x) => sum + (x - mean) ** 2, 0) / (n - 1) / n);
  return { mean, low: mean - kT[n - 2] * error, high: mean + kT[n - 2] * error };
}
const shown = ({ mean, low, high }) => `${mean.toFixed(2)} [${low.toFixed(2)}, ${high.toFixed(2)}]`;
const d = ({ kl }) => Math.sqrt(Math.max(0, kl));

console.log(
  `${all.length} seeds. Gold orders ${shown(over(all.map(({ gold }) => 100 * gold.accuracy)))} % of held-out pairs, proxies ${shown(
    over(all.map(({ proxies }) => proxies.reduce((sum, one) => sum + (100 * one.accuracy) / proxies.length, 0))),
  )} %.\n`,
);
const names = all[0].curves.map(({ of }, i) => [of, i]);
const rows = names.map(([of, i]) => {
  const curves = all.map(({ curves: some }) => some[i]);
  const steps = curves[0].points.map((_, k) => k);
  const gold = steps.map((k) => over(curves.map(({ points }) => points[k].gold.value)));
  const best = steps.reduce((most, k) => (gold[k].mean > gold[most].mean ? k : most));
  const last = steps.at(-1);
  const fall = over(curves.map(({ points }) => points[last].gold.value - points[best].gold.value));
  const fits = curves.map(({ fit }) => fit);
  const turns = curves.filter(({ points }) => {
    const highest = points.reduce((most, one) => (one.gold.value > most.gold.value ? one : most));
    return highest.gold.low > points[last].gold.high;
  }).length;
  const at = curves[0].points[best];
  return {
    of,
    form: fits[0].form,
    end: over(curves.map(({ points }) => d(points[last]))),
    proxy: over(curves.map(({ points }) => points[last].proxy.value)),
    best: `${shown(gold[best])}, ${at.model ?? `n = ${at.n}`}`,
    gold: gold[last],
    fall: best === last ? undefined : fall,
    alpha: over(fits.map(({ alpha }) => alpha)),
    beta: over(fits.map(({ beta }) => beta)),
    r2: over(fits.map(({ r2 }) => r2)),
    turns,
    points: steps.map((k) => [over(curves.map(({ points }) => d(points[k]))).mean, gold[k].mean]),
    proxies: steps.map((k) => [
      over(curves.map(({ points }) => d(points[k]))).mean,
      over(curves.map(({ points }) => points[k].proxy.value)).mean,
    ]),
    seeds: curves.map(({ points }) => points.map((one) => [d(one), one.gold.value])),
  };
});
const table = (header, lines) =>
  [header, header.map(() => '---'), ...lines].map((line) => `| ${line.join(' | ')} |`).join('\n');
for (const [form, title] of [
  ['rl', 'PPO: gold = d (α − β ln d)'],
  ['best-of-n', 'Best-of-n: gold = d (α − β d)'],
])
  console.log(
    `${title}\n\n${table(
      [
        'optimised',
        '√KL at the end',
        'proxy at the end',
        'gold at the end',
        'highest mean gold',
        'end less highest',
        'α',
        'β',
        'R²',
        'turned',
      ],
      rows
        .filter((row) => row.form === form)
        .map((row) => [
          row.of,
          shown(row.end),
          shown(row.proxy),
          shown(row.gold),
          row.best,
          row.fall ? shown(row.fall) : 'the end is highest',
          shown(row.alpha),
          shown(row.beta),
          row.r2.mean.toFixed(2),
          `${row.turns} of ${all.length}`,
        ]),
    )}\n`,
  );

if (values.picture) {
  const shades = [COLOURS.sft, COLOURS.base, COLOURS.ppo, COLOURS.ppoptx, COLOURS.bestof].map(({ light }) => light);
  const runs = rows.filter(({ form }) => form === 'rl');
  const series = (points) =>
    runs.map((row, i) => ({
      name: row.of.replace('KL penalty 0.1', 'penalised'),
      colour: shades[i],
      points: points(row),
      mark: 'both',
    }));
  const faint = runs.flatMap((row, i) =>
    row.seeds.map((points) => ({ name: row.of, colour: shades[i], points, faint: true })),
  );
  const plot = (some) => linePlot({ series: some, xName: '√KL', xMin: 0, width: 440, height: 300 }).text;
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="940" height="392" viewBox="0 0 940 392" role="img">
<title>Gold and proxy reward of PPO over the square root of the KL divergence</title><style>${COLOUR_STYLE}</style>
<rect width="940" height="392" rx="12" fill="var(--card)"/>
<g font-family="system-ui,-apple-system,Segoe UI,Roboto,DejaVu Sans,sans-serif" fill="var(--ink)"><text x="20" y="32" font-size="15" font-weight="650">Gold, which nothing optimises</text><text x="480" y="32" font-size="15" font-weight="650">What is optimised</text>
<text x="20" y="52" font-size="12" fill="var(--soft)">over √KL from the initial policy; mean of ${all.length} seeds, each seed pale</text><text x="480" y="52" font-size="12" fill="var(--soft)">in standard deviations of single samples</text></g>
<svg x="16" y="66">${plot([...series(({ points }) => points), ...faint])}</svg>
<svg x="476" y="66">${plot(series(({ proxies }) => proxies))}</svg>
</svg>
`;
  writeFileSync(values.picture, svg);
}
