/** The page of a run of the main job: the models of all phases, compared by a judge that no phase uses. */
import { figure, intervalCell, intervalPlot } from './charts.js';
import { curvePlots } from './curves.js';
import { overoptimisationSection } from './gaming.js';
import { duration, estimate, folded, html, json, type Markup, number, percent, section, table, tile } from './html.js';
import { samplesSection } from './samples.js';
import { MODELS, modelColour, modelName, modelVariable, sortModels } from './style.js';
import type { AlignReport, Estimate, Fact, WinRate } from './types.js';

export function alignSections(report: AlignReport): (Markup | undefined)[] {
  return [
    header(report),
    winRateSection(report),
    section(
      'The three phases',
      'Supervised fine-tuning on demonstrations, a reward model trained on rankings, and PPO against it. Pale lines are single steps.',
      curvePlots(report.curves),
    ),
    overoptimisationSection(report.overoptimisation),
    familySection(report),
    behaviourSection(report),
    rewardModelSection(report),
    samplesSection(`Chosen by a rule: ${report.samples.rule}`, report.samples.items),
    fewShotSection(report),
    timingSection(report),
    methodSection(report),
  ];
}

// The main results: PPO-ptx against SFT, and SFT against the best base model without training.
const HEADLINE = [
  ['ppo-ptx', 'sft'],
  ['sft', 'base-few-shot'],
] as const;
const isHeadline = ({ model, against }: WinRate) => HEADLINE.some(([a, b]) => a === model && b === against);

/** The main comparisons, each with a verdict decided by its interval. */
export function verdicts(report: AlignReport): { rate: WinRate; sentence: string }[] {
  return HEADLINE.flatMap(([model, against]) => {
    const rate = report.winRates.find((one) => one.model === model && one.against === against);
    if (!rate) return [];
    const verb = rate.low > 0.5 ? 'beats' : rate.high < 0.5 ? 'loses to' : 'does not differ from';
    return [{ rate, sentence: `${modelName(model)} ${verb} the ${modelName(against)}`.replace('the SFT', 'SFT') }];
  });
}

function header(report: AlignReport): Markup {
  const { setup, behaviour, timing } = report;
  const found = verdicts(report);
  const exact = (model: string) => behaviour.find((one) => one.model === model && one.temperature === 1)?.exact;
  const [before, after] = [exact('sft'), exact('ppo-ptx')];
  const kl = behaviour.find(({ model, temperature }) => model === 'ppo-ptx' && temperature === 1)?.kl;
  const seconds = timing.reduce((sum, one) => sum + one.seconds, 0);
  return html`<header>
<h1>From a base model to an instruction follower</h1>
<p class="byline">seed ${setup.seed} · ${setup.finishedAt.slice(0, 16).replace('T', ' ')} · heed ${setup.version} · ${setup.device}, ${setup.threads} threads · <code>${setup.command}</code></p>
<p class="lead">${found
    .map(
      ({ rate, sentence }) =>
        `${sentence}: preferred on ${percent(rate.rate)} of the prompts (95 % interval ${interval(rate)}).`,
    )
    .join(' ')}</p>
<div class="tiles">${[
    ...found.map(({ rate }) =>
      tile(`${modelName(rate.model)} over ${modelName(rate.against)}`, percent(rate.rate), `95 %: ${interval(rate)}`),
    ),
    before &&
      after &&
      tile(
        'Right answers, SFT → PPO-ptx',
        `${(100 * before.value).toFixed(0)} → ${percent(after.value).replace(/\.\d/, '')}`,
        'temperature 1',
      ),
    kl !== undefined && tile('KL of PPO-ptx', `${number(kl)} nats`, 'per response, from SFT'),
    timing.length > 0 && tile('Total time', duration(seconds), timing.map(({ phase }) => phase).join(', ')),
  ]}</div></header>`;
}

const interval = ({ low, high }: { low: number; high: number }) =>
  `${(100 * low).toFixed(1)} to ${(100 * high).toFixed(1)}`;
const pairName = ({ model, against }: WinRate) => `${modelName(model)} over ${modelName(against)}`;
const asEstimate = ({ rate, low, high, wins, ties, losses }: WinRate): Estimate => ({
  value: rate,
  low,
  high,
  count: wins + ties + losses,
});

/** Win rates as a plot, also shown in the README. */
export function winRatePlot(report: AlignReport, width?: number): Markup {
  const marks = (rates: readonly WinRate[], open: boolean) =>
    rates.map((rate) => ({
      row: pairName(rate),
      name: open ? 'greedy' : 'temperature 1',
      colour: modelColour(rate.model),
      value: rate.rate,
      low: rate.low,
      high: rate.high,
      open,
    }));
  const rows = [...new Set([...report.winRates, ...report.winRatesGreedy].map(pairName))];
  const intervals = [...marks(report.winRates, false), ...marks(report.winRatesGreedy, true)];
  return intervalPlot({ rows, intervals, middle: 0.5, ...(width ? { width } : {}) });
}

function winRateSection(report: AlignReport): Markup {
  const { winRates, winRatesGreedy, winRatesByCriterion } = report;
  const criteria = [...new Set(winRatesByCriterion.map(({ criterion }) => criterion))];
  const pairs = [...new Set(winRatesByCriterion.map(pairName))];
  const cell = (rate: WinRate | undefined) => {
    if (!rate) return '';
    const verdict = rate.low > 0.5 ? 'good' : rate.high < 0.5 ? 'bad' : 'soft';
    return html`<span class="${verdict}">${percent(rate.rate)}</span> <span class="soft">[${interval(rate)}]</span>`;
  };
  const rows = (rates: readonly WinRate[], how: string) =>
    rates.map((rate) => [pairName(rate), how, estimate(asEstimate(rate)), rate.wins, rate.ties, rate.losses]);
  return section(
    'Win rates',
    'How often the judge prefers the first model’s answer to the second’s, ties counting half. Filled: temperature 1; open: greedy. Lines are 95 % intervals; 50 % is a draw.',
    figure('Win rates', '', winRatePlot(report)),
    criteria.length > 0 &&
      html`<h3>By criterion, temperature 1</h3>${table(
        ['', ...criteria],
        pairs.map((pair) => [
          pair,
          ...criteria.map((criterion) =>
            cell(winRatesByCriterion.find((rate) => rate.criterion === criterion && pairName(rate) === pair)),
          ),
        ]),
      )}`,
    folded(
      'Table',
      table(
        ['', '', 'win rate', 'wins', 'ties', 'losses'],
        [...rows(winRates, 'temperature 1'), ...rows(winRatesGreedy, 'greedy')],
      ),
    ),
  );
}

function familySection({ exactByFamily, winRatesByFamily }: AlignReport): Markup | undefined {
  const atOne = exactByFamily.filter(({ temperature }) => temperature === 1);
  if (atOne.length === 0 && winRatesByFamily.length === 0) return undefined;
  const heldOut = new Set([...atOne, ...winRatesByFamily].filter((one) => one.heldOut).map(({ family }) => family));
  const families = [...new Set([...atOne, ...winRatesByFamily].map(({ family }) => family))];
  const models = sortModels(atOne.map(({ model }) => model));
  const pairs = [...new Set(winRatesByFamily.filter(isHeadline).map(pairName))];
  const exact = (family: string, model: string) =>
    atOne.find((one) => one.family === family && one.model === model)?.exact;
  const best = models.at(-1);
  const value = (family: string) => (best === undefined ? 0 : (exact(family, best)?.value ?? 0));
  const rows = families.sort((a, b) => Number(heldOut.has(b)) - Number(heldOut.has(a)) || value(b) - value(a));
  return section(
    'Results by family',
    'Fraction of correct answers at temperature 1, and win rates with 95 % intervals. Families marked “unseen” occur in no demonstration, ranking or training prompt.',
    table(
      ['family', ...models.map(label), ...pairs],
      rows.map((family) => [
        html`${family}${heldOut.has(family) ? html`<span class="chip">unseen</span>` : ''}`,
        ...models.map((model) => {
          const found = exact(family, model);
          return found ? `${(100 * found.value).toFixed(0)} %` : '';
        }),
        ...pairs.map((pair) => {
          const rate = winRatesByFamily.find((one) => one.family === family && pairName(one) === pair);
          return rate ? intervalCell(asEstimate(rate), modelVariable(rate.model)) : '';
        }),
      ]),
    ),
  );
}

/** A model's name and colour. */
export function label(model: string): Markup {
  return html`<span class="model"><span class="swatch" style="background:${modelVariable(model)}"></span>${modelName(model)}</span>`;
}

const temperatureName = (temperature: number) => (temperature === 0 ? 'greedy' : `T = ${temperature}`);

function behaviourSection({ behaviour, conduct, proseLoss }: AlignReport): Markup | undefined {
  if (behaviour.length === 0 && conduct.length === 0 && proseLoss.length === 0) return undefined;
  const maybe = (value: number | undefined, show: (value: number) => string) =>
    value === undefined ? '' : show(value);
  const sorted = sortModels(behaviour.map(({ model }) => model)).flatMap((model) =>
    behaviour.filter((one) => one.model === model).sort((a, b) => b.temperature - a.temperature),
  );
  const conducts = [...new Set(conduct.map(({ name }) => name))];
  return section(
    'Properties of the answers',
    'Length in tokens; KL from SFT in nats per response; “distinct”: fraction of distinct answers; “closings”: unrequested polite endings; prose loss: on held-out documents, which measures the alignment tax.',
    table(
      ['', '', 'right', 'judge', 'reward', 'KL', 'length', 'finished', 'distinct', 'closings', 'prose loss'],
      sorted.map((one) => [
        label(one.model),
        temperatureName(one.temperature),
        one.exact ? estimate(one.exact) : '',
        one.judge ? estimate(one.judge, 'number') : '',
        maybe(one.reward, number),
        maybe(one.kl, number),
        maybe(one.length, number),
        maybe(one.finished, percent),
        maybe(one.distinct, percent),
        maybe(one.closings, percent),
        one.temperature === 1
          ? maybe(proseLoss.find(({ model }) => model === one.model)?.loss, (loss) => loss.toFixed(3))
          : '',
      ]),
    ),
    conducts.length > 0 &&
      html`<h3>Conduct, on the prompts that test it</h3>${table(
        ['', ...sortModels(conduct.map(({ model }) => model)).map(label)],
        conducts.map((name) => [
          name,
          ...sortModels(conduct.map(({ model }) => model)).map((model) => {
            const rate = conduct.find((one) => one.name === name && one.model === model && one.temperature === 1)?.rate;
            return rate ? estimate(rate) : '';
          }),
        ]),
      )}`,
  );
}

function rewardModelSection({ rewardModel }: AlignReport): Markup {
  const { labelers, judge, swap, knowledge, notTold, labelerAgreement, sftScoreStd, demonstrationScoreStd } =
    rewardModel;
  const share = (name: string, one: Estimate, note: string) =>
    tile(name, percent(one.value), `95 % interval ${interval(one)}, ${one.count} ${note}`);
  return section(
    'The reward model',
    'Measured on held-out rankings and prompts. A prompt’s own answer against another prompt’s shows whether the model uses the question; a right answer against a wrong one of the same form, whether it knows the answer: at 50 % it knows only what a good answer looks like.',
    html`<div class="tiles">${[
      share('Agreement with the labelers on pairs', labelers, 'pairs'),
      share('Agreement with the judge on pairs', judge, 'pairs'),
      share('Prefers the prompt’s own answer to another’s', swap, 'prompts'),
      knowledge && share('Prefers right to wrong of the same form', knowledge, 'prompts'),
      notTold && share('Prefers «does not say» to a made-up answer', notTold, 'prompts'),
      labelerAgreement && share('Agreement of two labelers', labelerAgreement, 'pairs'),
      sftScoreStd !== undefined && tile('Scores of SFT samples', number(sftScoreStd), 'standard deviation'),
      demonstrationScoreStd !== undefined &&
        tile('Scores of demonstrations', number(demonstrationScoreStd), 'standard deviation'),
    ]}</div>`,
  );
}

function fewShotSection({ fewShot, base }: AlignReport): Markup {
  return section(
    'The base model, with and without examples',
    fewShot.seen,
    base.length > 0 && factTable(base),
    fewShot.examples.length > 0 &&
      folded(
        'The examples in the prompt',
        html`<pre>${fewShot.examples.map(({ prompt, response }) => [prompt, response].join(prompt.endsWith(':') ? '' : '\n')).join('\n')}</pre>`,
      ),
  );
}

export function factTable(facts: readonly Fact[]): Markup {
  return table(
    ['', '', ''],
    facts.map(({ name, value, note }) => [
      name,
      html`${typeof value === 'object' ? estimate(value) : typeof value === 'number' ? number(value) : value}`,
      note ?? '',
    ]),
  );
}

function timingSection({ timing }: AlignReport): Markup | undefined {
  if (timing.length === 0) return undefined;
  const total = timing.reduce((sum, { seconds }) => sum + seconds, 0);
  return section(
    'Time',
    'Wall-clock time; tokens are those of all forward passes, where a shared prompt counts once.',
    table(
      ['', 'time', '', 'tokens', 'tokens/s'],
      timing.map(({ phase, seconds, tokens }) => [
        phase,
        duration(seconds),
        html`<svg width="220" height="12" viewBox="0 0 220 12"><rect y="2" width="${((220 * seconds) / total).toFixed(1)}" height="8" rx="2" fill="var(--sft)"/></svg>`,
        tokens === undefined ? '' : tokens.toLocaleString('en'),
        tokens === undefined || seconds === 0 ? '' : number(tokens / seconds),
      ]),
    ),
  );
}

function methodSection({ method, setup }: AlignReport): Markup {
  return section(
    'Method',
    undefined,
    html`<ul>${method.map((sentence) => html`<li>${sentence}</li>`)}</ul>`,
    html`<p>Models: ${Object.values(MODELS)
      .map(({ name }) => name)
      .join(', ')}. The same numbers are in <code>report.json</code>.</p>`,
    folded('Configuration', json(setup.config)),
  );
}
