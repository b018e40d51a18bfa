/** The page of an evaluation: one file without scripts or external resources. */
import { figure, intervalCell, intervalPlot } from '../report/charts.js';
import { counted, estimate, folded, html, type Markup, number, page, section, table } from '../report/html.js';
import { COLOURS, PAGE_STYLE } from '../report/style.js';
import type { Figure } from './figure.js';
import type { EvalReport } from './report.js';
import { overSection, valuesSection } from './valuespage.js';
import type { JudgeAgreement, JudgedWinRate, WinReport } from './wins.js';

const BLUE = COLOURS.sft.light;

/** The report as HTML. */
export function evalPage(report: EvalReport): string {
  const { models, prompts, wins, figures, notes, samples, command, version, date } = report;
  const names = models.map(({ model }) => model);
  return page(`Evaluation of ${names.join(', ')}`, PAGE_STYLE, [
    html`<header><h1>Evaluation of ${names.join(', ')}</h1><p class="byline">${command} · heed ${version} · ${date.slice(0, 10)}</p></header>`,
    wins && headline(wins),
    notes.length > 0 && html`<ul>${notes.map((note) => html`<li>${note}</li>`)}</ul>`,
    wins && winSections(wins),
    report.values && valuesSection(report.values),
    report.overoptimisation && overSection(report.overoptimisation),
    figures.length > 0 && figureSection(figures, names),
    samples.length > 0 &&
      section(
        'Outputs',
        'The first prompts of the file; none chosen.',
        samples.map(
          ({ prompt, category, answers }) =>
            html`<div class="sample"><div class="prompt"><span class="text">${prompt}</span>${category ? html`<span class="chip">${category}</span>` : ''}</div><div class="answers">${answers.map(({ model, text }) => html`<div><div class="model">${model}</div><div class="text">${text.trim()}</div></div>`)}</div></div>\n`,
        ),
      ),
    section(
      'Models',
      `${counted(prompts, 'prompt')}. The same numbers are in eval.json.`,
      table(
        ['model', 'from', 'outputs'],
        models.map(({ model, from, outputs }) => [model, from, outputs]),
      ),
    ),
  ]);
}

function headline({ rates }: WinReport): Markup {
  const first = rates[0]!;
  const sure =
    first.low > 0.5 ? 'is preferred to' : first.high < 0.5 ? 'is less preferred than' : 'cannot be told from';
  return html`<p class="lead">By ${first.judge}, ${first.model} ${sure} ${first.against}: preferred in ${rateText(first)} of ${counted(first.prompts, 'prompt')}, ties counted half.</p>`;
}

const rateText = ({ rate: value, low, high, prompts: count }: JudgedWinRate) => estimate({ value, low, high, count });

/** Agreement in words: `people 66.1 % [60.0, 72.0] of 240; without ties 72.3 %`. */
export function agreementText({ judge, other, withTies, withoutTies }: JudgeAgreement, beside?: string): string {
  const whom =
    beside === undefined
      ? `${judge} and ${other}`
      : judge === other
        ? 'among themselves'
        : judge === beside
          ? other
          : judge;
  const strict = withoutTies ? `; without ties ${estimate(withoutTies)} of ${withoutTies.count}` : '';
  return `${whom} ${estimate(withTies)} of ${withTies.count}${strict}`;
}

function winSections({ rates, byCategory, tables, agreement, apart, judges }: WinReport): Markup[] {
  const many = rates.length > 12;
  const judgeNames = judges.map(({ judge }) => judge);
  return [
    section(
      'Win rates',
      'How often the first model’s output is preferred to the second’s on the same prompt; ties count half. 95 % intervals by bootstrap over prompts, and over labelers where several judged. Beside each: how often other judges have the same verdict on these outputs, where a tie agrees with a tie only.',
      many
        ? ''
        : figure(
            'Preferred',
            'the line is at one half',
            intervalPlot({
              rows: [...new Set(rates.map(({ model, against }) => `${model} to ${against}`))],
              intervals: rates.map(({ model, against, judge, rate: value, low, high }) => ({
                row: `${model} to ${against}`,
                name: judge,
                colour: SHADES[judgeNames.indexOf(judge) % SHADES.length]!,
                value,
                low,
                high,
              })),
              middle: 0.5,
            }),
          ),
      winTable(rates),
    ),
    ...tables.map(({ judge, models, tie, intervals }) =>
      section(
        `Strengths by ${judge}`,
        `Davidson’s model (1970), which is Bradley-Terry’s with ties: a tie is a third outcome, which says that two are near each other, and not half a win as in win rates${tie === undefined ? '' : `; log-odds of a tie between equals ${number(tie)}`}. Log-odds of being preferred, 0 is the mean of all models. Intervals by ${intervals === 'profile' ? 'profile likelihood: some models never lose to the others, or prompts do not differ, and resampling would show no uncertainty' : 'bootstrap'}.`,
        table(
          ['model', 'log-odds', 'preferred to the average model', '', 'comparisons'],
          models.map(({ model, strength, low, high, count }) => {
            const share = { value: logistic(strength), low: logistic(low), high: logistic(high), count };
            return [
              model,
              estimate({ value: strength, low, high, count }, 'number'),
              estimate(share),
              intervalCell(share, BLUE),
              count,
            ];
          }),
        ),
      ),
    ),
    section(
      'Agreement of judges',
      'Over all pairs of outputs that both judged; people among themselves over all pairs of labelers.',
      apart.map(
        ([judge, other]) =>
          html`<p>${judge} and ${other} judged no outputs in common: whether they agree is not known.</p>`,
      ),
      agreement.length === 0 && apart.length > 0
        ? ''
        : agreement.length === 0
          ? html`<p>There is one judge, and nobody to agree with.</p>`
          : table(
              ['', 'ties are a class', 'comparisons', 'without ties', 'comparisons'],
              agreement.map(({ judge, other, withTies, withoutTies }) => [
                judge === other ? `${judge}, among themselves` : `${judge} and ${other}`,
                estimate(withTies),
                withTies.count,
                withoutTies ? estimate(withoutTies) : '',
                withoutTies?.count ?? '',
              ]),
            ),
      table(
        ['judge', 'comparisons', 'labelers', 'failed', 'last failure'],
        judges.map(({ judge, comparisons, labelers, failed, lastError }) => [
          judge,
          comparisons,
          labelers ?? '',
          failed,
          lastError ?? '',
        ]),
      ),
    ),
    ...(byCategory.length > 0
      ? [section('Win rates by category', undefined, folded('By category', winTable(byCategory)))]
      : []),
  ];
}

const SHADES = [COLOURS.sft, COLOURS.ppo, COLOURS.ppoptx, COLOURS.bestof, COLOURS.fewshot].map(({ light }) => light);
const logistic = (x: number) => 1 / (1 + Math.exp(-x));

function winTable(rates: readonly JudgedWinRate[]): Markup {
  const hasCategory = rates.some(({ category }) => category !== undefined);
  return table(
    [
      ...(hasCategory ? ['category'] : []),
      'judge',
      'model',
      'against',
      'preferred',
      '',
      'wins',
      'ties',
      'losses',
      'prompts',
      'labelers',
      'agreement with',
    ],
    rates.map((one) => [
      ...(hasCategory ? [one.category ?? ''] : []),
      one.judge,
      one.model,
      one.against,
      rateText(one),
      intervalCell({ value: one.rate, low: one.low, high: one.high }, BLUE),
      one.wins,
      one.ties,
      one.losses,
      one.prompts,
      one.labelers ?? '',
      one.agreement.map((each) => html`<div style="min-width:17em">${agreementText(each, one.judge)}</div>`),
    ]),
  );
}

/** What was counted: `1 document`, `12 documents`. */
export const countOf = ({ count, of }: Figure): string => counted(count, of.replace(/s$/, ''), of);

export function figureText(one: Figure): string {
  return estimate(one, one.unit);
}

function figureSection(figures: readonly Figure[], models: readonly string[]): Markup {
  const rows = figureRows(figures);
  const whole = rows.filter(({ category }) => category === undefined);
  const parts = rows.filter(({ category }) => category !== undefined);
  const present = models.filter((model) => figures.some((one) => one.model === model));
  const tableOf = (some: typeof rows) =>
    table(
      ['measure', 'data', ...present, 'count', ''],
      some.map(({ name, data, category, of }) => {
        const each = present.map((model) => of.find((one) => one.model === model));
        return [
          category === undefined ? name : `${name}: ${category}`,
          data,
          ...each.map((one) => (one ? figureText(one) : '')),
          html`${new Set(of.map(({ count }) => count)).size === 1 ? countOf(of[0]!) : `${[...new Set(of.map(({ count }) => count))].join(', ')} ${of[0]!.of}`}`,
          html`<span class="soft">${[...new Set(of.map(({ note, model }) => note && (of.length > 1 && new Set(of.map((o) => o.note)).size > 1 ? `${model}: ${note}` : note)).filter(Boolean))].join('; ')}</span>`,
        ];
      }),
    );
  return section(
    'Measures',
    'Each with its 95 % interval by bootstrap over what is counted.',
    tableOf(whole),
    parts.length > 0 ? folded('By category', tableOf(parts)) : '',
  );
}

/** Figures of the same measure, data and category, which are one row of a table. */
export function figureRows(figures: readonly Figure[]) {
  const rows = new Map<string, { name: string; data: string; category: string | undefined; of: Figure[] }>();
  for (const one of figures) {
    const key = JSON.stringify([one.name, one.data, one.category]);
    const row = rows.get(key) ?? { name: one.name, data: one.data, category: one.category, of: [] };
    row.of.push(one);
    rows.set(key, row);
  }
  return [...rows.values()];
}
