// node scripts/results.mjs RUN...: prints the tables of docs/results.md from the report.json of `heed align` runs.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

const runs = process.argv.slice(2).map((dir) => JSON.parse(readFileSync(join(dir, 'report.json'), 'utf8')));
if (runs.length === 0) {
  console.error('usage: node scripts/results.mjs RUN...');
  process.exit(2);
}

const table = (header, rows) =>
  [header, header.map(() => '---'), ...rows].map((row) => `| ${row.join(' | ')} |`).join('\n');
const interval = (e) => (e === undefined ? '' : `${e.value.toFixed(3)} [${e.low.toFixed(3)}, ${e.high.toFixed(3)}]`);
const asEstimate = ({ rate, low, high }) => ({ value: rate, low, high });
const header = ['', ...runs.map(({ setup }) => `seed ${setup.seed}`)];
const find = (list, model, against) => list.find((w) => w.model === model && w.against === against);
const behaviour = (run, model, temperature) =>
  run.behaviour.find((b) => b.model === model && b.temperature === temperature);

const winRows = (key) =>
  runs[0][key].map(({ model, against }) => [
    `${model} over ${against}`,
    ...runs.map((run) => {
      const found = find(run[key], model, against);
      return found ? interval(asEstimate(found)) : '';
    }),
  ]);

console.log(
  `Command of the first: \`${runs[0].setup.command}\`, ${runs[0].setup.device}, ${runs[0].setup.threads} threads.\n`,
);
console.log(`### Win rates by the judge, temperature 1\n\n${table(header, winRows('winRates'))}\n`);
console.log(`### Win rates by the judge, greedy\n\n${table(header, winRows('winRatesGreedy'))}\n`);

const models = runs[0].behaviour.filter(({ temperature }) => temperature === 1).map(({ model }) => model);
const exactRows = [1, 0].flatMap((temperature) =>
  models
    .filter((model) => behaviour(runs[0], model, temperature))
    .map((model) => [
      `${model}, ${temperature === 0 ? 'greedy' : 'T = 1'}`,
      ...runs.map((run) => interval(behaviour(run, model, temperature)?.exact)),
    ]),
);
console.log(`### Exact answers\n\n${table(header, exactRows)}\n`);

const answered = (run, model, temperature, heldOut) =>
  run.exactByFamily.filter(
    (f) => f.model === model && f.temperature === temperature && f.heldOut === heldOut && f.exact.value > 0.05,
  ).length;
const families = (run, heldOut) =>
  new Set(run.exactByFamily.filter((f) => f.heldOut === heldOut).map((f) => f.family)).size;
const familyRows = ['base', 'base-few-shot', 'sft', 'ppo-ptx'].map((model) => [
  model,
  ...runs.map((run) =>
    [1, 0]
      .map((temperature) => `${answered(run, model, temperature, false)} + ${answered(run, model, temperature, true)}`)
      .join(' / '),
  ),
]);
console.log(
  `### Families with more than 5 % exact answers, of ${families(runs[0], false)} trained + ${families(runs[0], true)} held out, temperature 1 / greedy\n\n${table(header, familyRows)}\n`,
);

const number = (x, digits = 2) => (x === undefined ? '' : x.toFixed(digits));
const spent = models
  .filter((model) => !model.startsWith('base'))
  .map((model) => [
    model,
    ...runs.map((run) => {
      const b = behaviour(run, model, 1);
      return `${number(b?.reward)} / ${number(b?.kl)} / ${number(b?.length, 1)} / ${number(b?.distinct)} / ${number(b?.closings)}`;
    }),
  ]);
console.log(
  `### Reward / KL (nats) / length (tokens) / distinct / closings, temperature 1\n\n${table(header, spent)}\n`,
);

const conduct = [...new Set(runs[0].conduct.map(({ name }) => name))].flatMap((name) =>
  ['sft', 'ppo-ptx'].map((model) => [
    `${name}: ${model}`,
    ...runs.map((run) =>
      number(run.conduct.find((c) => c.name === name && c.model === model && c.temperature === 1)?.rate.value),
    ),
  ]),
);
console.log(
  `### Conduct, measured on prompts where it can occur, temperature 1 (lower is better)\n\n${table(header, conduct)}\n`,
);

const reward = ['labelers', 'judge', 'labelerAgreement', 'swap', 'knowledge', 'notTold'].map((name) => [
  {
    labelers: 'agreement with the labelers on pairs',
    judge: 'agreement with the judge on pairs',
    labelerAgreement: 'agreement of two labelers',
    swap: 'swap test',
    knowledge: 'correct above wrong, same form',
    notTold: '"does not say" above a made-up answer, where it does not',
  }[name],
  ...runs.map((run) => interval(run.rewardModel[name])),
]);
console.log(`### Reward model, held-out rankings\n\n${table(header, reward)}\n`);

const prose = runs[0].proseLoss.map(({ model }) => [
  model,
  ...runs.map((run) => number(run.proseLoss.find((p) => p.model === model)?.loss, 3)),
]);
console.log(`### Loss on held-out prose (nats per token): the alignment tax\n\n${table(header, prose)}\n`);

const phases = runs[0].timing.map(({ phase }) => [
  phase,
  ...runs.map((run) => number(run.timing.find((t) => t.phase === phase)?.seconds, 0)),
]);
console.log(`### Seconds\n\n${table(header, phases)}`);
