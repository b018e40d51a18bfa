/** Reports of a run's measurements, as JSON and as a self-contained page. */
import { join } from 'node:path';
import { writeFileAtomic } from '../runs/files.js';
import { alignSections, verdicts, winRatePlot } from './align.js';
import { html, Markup, page, percent } from './html.js';
import { phaseName } from './panels.js';
import { phaseSections } from './phase.js';
import { readReport } from './read.js';
import { COLOUR_STYLE, PAGE_STYLE } from './style.js';
import type { AlignReport, Report } from './types.js';

export { bestOfN, bestOfNKl, fitGao, type ScoredSamples } from './overoptimisation.js';
export { readCurve, readReport } from './read.js';
export type * from './types.js';

/**
 * Writes `report.json` and `report.html` into a run's folder, and for the main job `report.svg`, a plot of its win rates.
 *
 * @param runDir the run folder
 * @param report the report to write; default: {@link readReport} of the folder
 * @returns path of the page
 * @throws DataError that names a file of the run that cannot be read
 */
export async function writeReport(runDir: string, report?: Report): Promise<string> {
  const written = report ?? (await readReport(runDir));
  await writeFileAtomic(join(runDir, 'report.json'), `${JSON.stringify(written, null, 1)}\n`);
  const file = join(runDir, 'report.html');
  await writeFileAtomic(file, renderHtml(written));
  if (written.kind === 'align') await writeFileAtomic(join(runDir, 'report.svg'), summarySvg(written));
  return file;
}

/** The report as HTML with embedded SVG plots, without scripts or external resources. */
export function renderHtml(report: Report): string {
  return report.kind === 'align'
    ? page(`Aligned, seed ${report.setup.seed}`, PAGE_STYLE, alignSections(report))
    : page(`${phaseName(report.phase)}: ${report.about.run}`, PAGE_STYLE, phaseSections(report));
}

/** The win rates as a separate SVG, for a README. */
export function summarySvg(report: AlignReport): string {
  const width = 860;
  const plot = winRatePlot(report, width - 40);
  const height = Number(/height="(\d+)"/.exec(plot.text)![1]) + 112;
  const lead = verdicts(report).map(({ rate, sentence }) => `${sentence} (${percent(rate.rate)})`);
  const font = new Markup('font-family="system-ui,-apple-system,Segoe UI,Roboto,DejaVu Sans,sans-serif"');
  return html`<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" role="img">
<title>Win rates with 95 % intervals</title><style>${new Markup(COLOUR_STYLE)}</style>
<rect width="${width}" height="${height}" rx="12" fill="var(--card)"/>
<g ${font}><text x="24" y="38" font-size="19" font-weight="650" fill="var(--ink)">${lead.join(' · ')}</text>
<text x="24" y="62" font-size="13" fill="var(--soft)">How often a judge prefers the first one’s answer, 95 % intervals. Full: temperature 1; open: greedy.</text></g>
<svg x="20" y="78">${plot}</svg>
<text x="24" y="${height - 14}" font-size="12" fill="var(--soft)" ${font}>${report.setup.command}, seed ${report.setup.seed}</text>
</svg>
`.text;
}
