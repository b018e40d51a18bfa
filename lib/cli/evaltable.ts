/** The figures of an evaluation as text, for a terminal. */
import { agreementText, figureRows, figureText } from '../evaluate/page.js';
import type { EvalReport, OverReport } from '../evaluate/report.js';
import { estimate, percent } from '../report/html.js';
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
            `${one.wins} wins, ${one.ties} ties, ${one.losses} losses; ${one.prompts} prompts${one.labelers === undefined ? '' : `, ${one.labelers} labelers`}`,
            one.agreement.length === 0
              ? ''
              : `agreement: ${one.agreement.map((each) => agreementText(each, one.judge)).join(', ')}`,
          ]),
      ),
    );
    if (wins.rates.length > kRates) lines.push(`  and ${wins.rates.length - kRates} more in the report`);
    for (const { judge, models } of wins.tables) {
      lines.push('', `Bradley-Terry by ${judge}, log-odds, 0 is the mean:`);
      lines.push(
        ...aligned(
          models.map(({ model, strength, low, high, count }) => [
            `  ${model}`,
            `${strength.toFixed(2)} [${low.toFixed(2)}, ${high.toFixed(2)}]`,
            `${count} comparisons`,
          ]),
        ),
      );
    }
    if (wins.agreement.length > 0)
      lines.push('', 'agreement of judges:', ...wins.agreement.map((one) => `  ${agreementText(one)}`));
  }
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
            `${one.count} ${one.of}`,
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
  const lines = ['', `whose values: ${labels} rankings of ${prompts} prompts by ${labelers.length} labelers`];
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
          `${n} labels`,
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
    `over-optimisation of ${policy}: ${samples} samples of ${prompts} prompts, gold ${gold}, in standard deviations`,
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
