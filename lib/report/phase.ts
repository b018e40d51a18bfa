/** The page of a run of one phase. */
import { factTable } from './align.js';
import { phasePlots } from './curves.js';
import { folded, html, json, type Markup, number, percent, section, table } from './html.js';
import { phaseName } from './panels.js';
import { samplesSection } from './samples.js';
import type { Change, PhaseReport, RunAbout } from './types.js';

export function phaseSections(report: PhaseReport): (Markup | undefined)[] {
  const { phase, about, verdict, warnings, summary, changes, curves, samples, config } = report;
  return [
    html`<header><h1>${phaseName(phase)}: ${about.run}</h1><p class="byline">${byline(about)}</p>${
      verdict ? html`<p class="lead">${verdict}</p>` : ''
    }</header>`,
    warnings.length > 0
      ? section(
          'Warnings',
          undefined,
          html`<ul class="warnings">${warnings.map((text) => html`<li>${capitalised(text)}.</li>`)}</ul>`,
        )
      : undefined,
    summary.length > 0 ? section('Result', undefined, factTable(summary)) : undefined,
    changes.length > 0
      ? section(
          'Before and after',
          'Means of the first and of the last values, a tenth of them, at most five.',
          changeTable(changes),
        )
      : undefined,
    ...curves.map((curve) =>
      section(
        'Curves',
        'One point per optimizer step; bold lines are running means.',
        html`<div class="plots">${phasePlots(curve)}</div>`,
      ),
    ),
    samplesSection(sampleNote(report), samples),
    section('Settings', undefined, folded('Configuration', json(config))),
  ];
}

/** Model, date and version. */
export function byline({ model, command, version, date }: RunAbout): string {
  return [
    model && `from ${model}`,
    date && new Date(date).toUTCString().replace(/^\w+, (.*) (\d\d:\d\d):\d\d GMT$/, '$1, $2 UTC'),
    command && `heed ${command}${version ? `, version ${version}` : ''}`,
  ]
    .filter(Boolean)
    .join(' · ');
}

const capitalised = (text: string) => text.charAt(0).toUpperCase() + text.slice(1);

function sampleNote({ samples }: PhaseReport): string {
  const isHeldOut = samples.length > 0 && samples.every(({ split }) => split !== undefined && split !== 'train');
  const isTrained = samples.some(({ split }) => split === 'train');
  return isHeldOut
    ? 'Greedy answers to prompts that were not trained on.'
    : isTrained
      ? 'Greedy answers to prompts of the training data.'
      : 'As written by the run.';
}

function changeTable(changes: readonly Change[]): Markup {
  return table(
    ['', 'first', 'last', 'change'],
    changes.map(({ name, first, last, share }) => {
      const show = share ? percent : number;
      const change = last - first;
      return [
        name,
        show(first),
        show(last),
        `${change > 0 ? '+' : ''}${share ? `${(100 * change).toFixed(1)} %` : number(change)}`,
      ];
    }),
  );
}
