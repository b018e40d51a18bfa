/** The page of a run of one phase. */
import { factTable } from './align.js';
import { folded, html, json, type Markup, section } from './html.js';
import { phaseName, phasePlots } from './panels.js';
import { samplesSection } from './samples.js';
import type { PhaseReport } from './types.js';

export function phaseSections({ phase, summary, curves, samples, config }: PhaseReport): (Markup | undefined)[] {
  const { command, version } = config as { command?: unknown; version?: unknown };
  const made =
    typeof command === 'string' && `heed ${command}${typeof version === 'string' ? `, version ${version}` : ''}`;
  return [
    html`<header><h1>${phaseName(phase)}</h1>${made ? html`<p class="byline">${made}</p>` : ''}</header>`,
    summary.length > 0 ? section('Result', undefined, factTable(summary)) : undefined,
    ...curves.map((curve) =>
      section(
        'Curves',
        'One point per optimizer step; bold lines are running means.',
        html`<div class="plots">${phasePlots(curve)}</div>`,
      ),
    ),
    samplesSection('As written by the run.', samples),
    section('Settings', undefined, folded('Configuration', json(config))),
  ];
}
