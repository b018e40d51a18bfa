/** The figures of an evaluation as text, for a terminal. */
import { agreementText, countOf, figureRows, figureText } from '../evaluate/page.js';
import type { EvalReport, OverReport } from '../evaluate/report.js';
import { counted, estimate, percent } from '../report/html.js';
import type { Estimate } from '../statistics/index.js';

const kRates = 24; // of more there is the page

export function evalTable({ wins, figures, notes, values, overoptimisation }: EvalReport): string {
  const lines: string[] = [];
  if (wins) {
    lines.push('preferred, ties count half, [95 % interval]:');
    lines.push(
      ...aligned(
        wins.rates
          .slice(0, kRates)
          .map((one) => [
            `  ${one.model} to ${one.against}`,
            `by ${one.judge}`,
            estimate({ value: one.rate, low: one.low, high: one.high, count: one.prompts }),
            `${counted(one.wins, 'win')}, ${counted(one.ties, 'tie')}, ${counted(one.losses, 'loss', 'losses')}; ${counted(one.prompts, 'prompt')}${one.labelers === undefined ? '' : `, ${counted(one.labelers, 'labeler')}`}`,
            one.agreement.length === 0
              ? ''
              : `agreement: ${one.agreement.map((each) => agreementText(each, one.judge)).join(', ')}`,
          ]),
      ),
    );
    if (wins.rates.length > kRates) lines.push(`  and ${wins.rates.length - kRates} more in the report`);
    for (const { judge, models, intervals } of wins.tables) {
      lines.push('', ...strengthTitle(judge, intervals));
      lines.push(
        ...aligned(
          models.map(({ model, strength, low, high, count }) => [
            `  ${model}`,
            `${hundredths(strength)} [${hundredths(low)}, ${hundredths(high)}]`,
            counted(count, 'comparison'),
          ]),
        ),
      );
    }
    if (wins.agreement.length > 0)
      lines.push('', 'agreement of judges:', ...wins.agreement.map((one) => `  ${agreementText(one)}`));
  }
  for (const [judge, other] of wins?.apart ?? [])
    lines.push(`  ${judge} and ${other} judged no outputs in common: whether they agree is not known`);
  const rows = figureRows(figures).filter(({ category }) => category === undefined);
  if (rows.length > 0) {
    if (wins) lines.push('');
    lines.push(
      ...aligned(
        rows.flatMap(({ name, data, of }) =>
          of.map((one, i) => [
            i === 0 ? name : '',
            i === 0 ? data : '',
            one.model,
            figureText(one),
            countOf(one),
            one.note ?? '',
          ]),
        ),
      ),
    );
  }
  if (values) lines.push(...valuesLines(values));
  if (overoptimisation) lines.push(...overLines(overoptimisation));
  lines.push(...notes.map((note) => `note: ${note}`));
  return `${lines.join('\n')}\n`;
}

const strengthTitle = (judge: string, intervals: 'bootstrap' | 'profile') => [
  `strengths by ${judge}: Davidson's model (Bradley-Terry with ties), log-odds, 0 is the mean`,
  '  a tie is a third outcome here, which says that two are near each other, and not half a win as above',
  ...(intervals === 'profile'
    ? ['  intervals by profile likelihood: some models never lose to the others, or prompts do not differ']
    : []),
];

/** Two digits, without a minus before nothing. */
const hundredths = (x: number) => x.toFixed(2).replace(/^-(0\.00)$/, '$1');

function aligned(rows: readonly (readonly string[])[]): string[] {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  return rows.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column]!))
      .join('  ')
      .trimEnd(),
  );
}

const ofAll = (one: Estimate | undefined) => (one ? `${estimate(one)} of ${one.count}` : 'none');

function valuesLines(values: NonNullable<EvalReport['values']>): string[] {
  const { labels, labelers, prompts, agreement, alpha, accuracies, groups, acrossLabelers: across } = values;
  const lines = [
    '',
    `whose values: ${counted(labels, 'ranking')} of ${counted(prompts, 'prompt')} by ${counted(labelers.length, 'labeler')}`,
  ];
  lines.push(`  agreement of labelers ${ofAll(agreement?.withTies)}; without ties ${ofAll(agreement?.withoutTies)}`);
  if (alpha) lines.push(`  Krippendorff's alpha, ordinal: ${estimate(alpha, 'number')} of ${alpha.count} ranks`);
  for (const { model, accuracy } of accuracies) lines.push(`  ${model} orders alike ${ofAll(accuracy)} pairs`);
  const rows = [
    ...groups.map((one) => ({ name: `  group ${one.group}`, ...one })),
    ...(accuracies.length > 0 ? labelers.map((one) => ({ name: `  ${one.labeler}`, ...one })) : []),
  ];
  lines.push(
    ...aligned(
      rows
        .slice(0, kRates)
        .map(({ name, labels: n, accuracies: of, agreement: among }) => [
          name,
          counted(n, 'label'),
          `agreement without ties ${ofAll(among?.withoutTies)}`,
          of.map(({ model, accuracy }) => `${model} ${ofAll(accuracy)}`).join(', '),
        ]),
    ),
  );
  if (across) {
    lines.push(
      `  trained on other prompts of the same ${across.by}s: ${ofAll(across.own)}; of other ${across.by}s: ${ofAll(across.others)}`,
    );
    const { difference } = across;
    if (difference)
      lines.push(`  difference ${percent(difference.value)} [${percent(difference.low)}, ${percent(difference.high)}]`);
  }
  return lines;
}

function overLines({ policy, gold, prompts, samples, curves }: OverReport): string[] {
  const lines = [
    '',
    `over-optimisation of ${policy}: ${counted(samples, 'sample')} of ${counted(prompts, 'prompt')}, gold ${gold}, in standard deviations`,
  ];
  lines.push(
    ...aligned(
      curves.map(({ of, points, fit, turn, best }) => [
        `  ${of}`,
        `gold ${estimate(points.at(-1)!.gold, 'number')} at KL ${points.at(-1)!.kl.toFixed(2)}`,
        `highest ${estimate(best.gold, 'number')} at ${best.model ?? `n = ${best.n}`}`,
        fit ? `α ${fit.alpha.toFixed(3)}, β ${fit.beta.toFixed(3)}, R² ${fit.r2.toFixed(2)}` : 'no fit',
        turn
          ? `turns at √KL ${turn.value.toFixed(2)}${turn.low === undefined ? '' : ` [${turn.low.toFixed(2)}, ${turn.high!.toFixed(2)}]`}`
          : 'does not turn',
      ]),
    ),
  );
  return lines;
}
