/** The figures of an evaluation as text, for a terminal. */
import { agreementText, figureRows, figureText } from '../evaluate/page.js';
import type { EvalReport } from '../evaluate/report.js';
import { estimate } from '../report/html.js';

const kRates = 24; // of more there is the page

export function evalTable({ wins, figures, notes }: EvalReport): string {
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
