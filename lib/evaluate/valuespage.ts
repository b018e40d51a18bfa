/** The parts of the page about people and about over-optimisation. */
import { figure, intervalCell, linePlot } from '../report/charts.js';
import { counted, estimate, folded, html, type Markup, number, percent, section, table } from '../report/html.js';
import { COLOURS } from '../report/style.js';
import type { Agreement, Estimate } from '../statistics/index.js';
import type { EvalReport, OverReport } from './report.js';
import type { Accuracy } from './values.js';

type Values = NonNullable<EvalReport['values']>;

const of = (one: Estimate | undefined) => (one ? `${estimate(one)} of ${one.count}` : '');
const strict = (agreement: Agreement | undefined) => of(agreement?.withoutTies);
const withTies = (agreement: Agreement | undefined) => of(agreement?.withTies);

/** Who labelled, how many, where they disagree, whom the reward models follow. */
export function valuesSection(values: Values): Markup[] {
  const {
    labelers,
    groups,
    accuracies,
    agreement,
    selfAgreement,
    alpha,
    prompts,
    labels,
    disagreements,
    acrossLabelers,
  } = values;
  const models = accuracies.map(({ model }) => model);
  const accuracyOf = (some: readonly Accuracy[]) =>
    models.map((model) => of(some.find((one) => one.model === model)?.accuracy));
  const accuracyHeader = models.map((model) => `${model} orders alike`);
  return [
    section(
      'Whose values',
      `${counted(labels, 'ranking')} of ${counted(prompts, 'prompt')} by ${counted(labelers.length, 'labeler')}. Accuracy is the share of pairs that a labeler ordered and the reward model orders alike; agreement with others is over the same responses. A model cannot be expected to agree with people more than they do among themselves.`,
      table(
        ['', 'ties are a class', 'without ties'],
        [
          ['agreement of labelers', withTies(agreement), strict(agreement)],
          ['agreement with themselves', withTies(selfAgreement), strict(selfAgreement)],
          ...(alpha
            ? [['Krippendorff’s alpha of ranks, ordinal', `${estimate(alpha, 'number')} of ${alpha.count}`, '']]
            : []),
          ...accuracies.map(({ model, accuracy }) => [`${model} and labelers`, '', of(accuracy)]),
        ],
      ),
      groups.length > 0 &&
        table(
          ['group', 'labelers', 'labels', 'agreement within, without ties', ...accuracyHeader],
          groups.map((group) => [
            group.group,
            group.labelers,
            group.labels,
            strict(group.agreement),
            ...accuracyOf(group.accuracies),
          ]),
        ),
      table(
        ['labeler', 'group', 'labels', 'ties', 'agreement with others, without ties', ...accuracyHeader],
        labelers.map((one) => [
          one.labeler,
          one.group ?? '',
          one.labels,
          percent(one.ties),
          strict(one.agreement),
          ...accuracyOf(one.accuracies),
        ]),
      ),
      acrossLabelers && acrossTable(acrossLabelers),
    ),
    ...(disagreements.length > 0
      ? [
          section(
            'Where labelers disagree',
            'The responses with the lowest agreement, those of most labelers first; ranks from 0, the best.',
            disagreements.map(({ prompt, responses, votes }) =>
              folded(
                prompt.length > 120 ? `${prompt.slice(0, 120)}…` : prompt,
                html`<div class="sample"><div class="prompt"><span class="text">${prompt}</span></div><div class="answers">${responses.map((text, k) => html`<div><div class="model">${votes.map(({ labeler, ranks }) => `${labeler}: ${ranks[k]}`).join(' · ')}</div><div class="text">${text.trim()}</div></div>`)}</div></div>`,
              ),
            ),
          ),
        ]
      : []),
  ];
}

function acrossTable({ own, others, difference, folds, by }: NonNullable<Values['acrossLabelers']>): Markup {
  const cell = (one: Estimate | undefined) => (one ? intervalCell(one, COLOURS.sft.light) : '');
  return html`<h3>Across ${by}s</h3><p class="note">Reward models trained on some ${by}s, tested on held-out prompts: on labels of the same ${by}s and of others.${
    difference
      ? ` Difference: ${percent(difference.value)} [${percent(difference.low)}, ${percent(difference.high)}].`
      : ''
  }</p>${table(
    ['held out', 'rankings trained on', `same ${by}s`, '', `other ${by}s`, ''],
    [
      ['all folds together', '', of(own), cell(own), of(others), cell(others)],
      ...folds.map((fold) => [
        fold.heldOut.join(', '),
        fold.trained,
        of(fold.own),
        cell(fold.own),
        of(fold.others),
        cell(fold.others),
      ]),
    ],
  )}`;
}

const PALETTE = [
  COLOURS.sft,
  COLOURS.ppo,
  COLOURS.ppoptx,
  COLOURS.bestof,
  COLOURS.fewshot,
  COLOURS.good,
  COLOURS.bad,
].map(({ light }) => light);

/** Gold over √KL, per proxy and ensemble, with the fits. */
export function overSection({ curves, policy, gold, prompts, samples }: OverReport): Markup {
  const d = (kl: number) => Math.sqrt(Math.max(0, kl));
  const pointsOf = (score: 'proxy' | 'gold') =>
    curves.map(({ of: name, points }, i) => ({
      name,
      colour: PALETTE[i % PALETTE.length]!,
      mark: 'both' as const,
      points: points.map((point) => [d(point.kl), point[score].value] as const),
    }));
  return section(
    'Over-optimisation',
    `${counted(samples, 'sample')} of ${policy} for each of ${counted(prompts, 'prompt')}; ${gold} is the gold reward, which nothing optimises. Scores are in standard deviations of single samples. KL of best-of-n is log n − (n − 1)/n.`,
    html`<div class="plots">${figure('Gold', 'over √KL', linePlot({ series: pointsOf('gold'), xName: '√KL', width: 520, height: 260 }))}${figure('What is optimised', 'over √KL', linePlot({ series: pointsOf('proxy'), xName: '√KL', width: 520, height: 260 }))}</div>`,
    table(
      ['optimised', 'form', 'α', 'β', 'R²', 'gold turns at √KL', 'highest gold measured', 'at', 'gold at the end'],
      curves.map(({ of: name, fit, turn, best, points }) => [
        name,
        fit ? (fit.form === 'rl' ? 'd (α − β ln d)' : 'd (α − β d)') : 'too few points',
        fit ? range(fit.alpha, fit.alphaInterval) : '',
        fit ? range(fit.beta, fit.betaInterval) : '',
        fit ? number(fit.r2) : '',
        turn
          ? range(turn.value, turn.low === undefined ? undefined : { low: turn.low, high: turn.high! })
          : 'does not turn',
        estimate(best.gold, 'number'),
        best.model ?? `n = ${best.n}`,
        estimate(points.at(-1)!.gold, 'number'),
      ]),
    ),
  );
}

const range = (value: number, interval: { low: number; high: number } | undefined) =>
  interval ? `${number(value)} [${number(interval.low)}, ${number(interval.high)}]` : number(value);
