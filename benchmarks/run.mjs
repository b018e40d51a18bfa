// `npm run bench -- NAME | all [--json FILE] [--rounds N] [--quick]`, `npm run bench -- table`
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { adapters } from './cases/adapters.mjs';
import { gemm } from './cases/gemm.mjs';
import { generate } from './cases/generate.mjs';
import { memory } from './cases/memory.mjs';
import { ppoIteration } from './cases/ppo-iteration.mjs';
import { ppoLoss } from './cases/ppo-loss.mjs';
import { ppoStep } from './cases/ppo-step.mjs';
import { rewardScore, rewardStep } from './cases/reward.mjs';
import { sftStep } from './cases/sft-step.mjs';
import { machineLimits, requirePossible } from './limits.mjs';
import { describeMachine, root } from './measure.mjs';
import { hasPython } from './peer.mjs';
import { limitsToText, toText, updateReadme } from './table.mjs';

const BENCHMARKS = {
  gemm,
  'ppo-loss': ppoLoss,
  'ppo-step': ppoStep,
  'sft-step': sftStep,
  'reward-score': rewardScore,
  'reward-step': rewardStep,
  'ppo-iteration': ppoIteration,
  generate,
  adapters,
  memory,
};
const USAGE = `npm run bench -- ${Object.keys(BENCHMARKS).join(' | ')} | all   measures, checking each result first
npm run bench -- table                                      writes the tables of benchmarks/README.md anew

  --json FILE   writes the results there as well; what is already in FILE of other benchmarks is kept
  --rounds N    alternating rounds of heed and its peers (default 5)
  --quick       tiny shapes, one round: whether it all works, not how fast

A row above 100 % of its bound fails: nothing is written then. Peers run where HEED_PYTHON (default: python3) has PyTorch. HEED_THREADS sets the threads of all.`;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    json: { type: 'string' },
    rounds: { type: 'string', default: '5' },
    quick: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
});
const [wanted] = positionals;
try {
  if (values.help || wanted === undefined || positionals.length > 1) {
    console.log(USAGE);
  } else if (wanted === 'table') {
    await updateReadme();
  } else if (wanted === 'all' || wanted in BENCHMARKS) {
    await measure(wanted === 'all' ? Object.keys(BENCHMARKS) : [wanted]);
  } else {
    throw new Error(`there is no benchmark "${wanted}": ${Object.keys(BENCHMARKS).join(', ')} or all`);
  }
} catch (error) {
  console.error(`heed: ${error.message}`);
  process.exitCode = 1;
}

async function measure(names) {
  const rounds = values.quick ? 1 : Number(values.rounds);
  if (!Number.isInteger(rounds) || rounds < 1)
    throw new RangeError(`--rounds is ${values.rounds}, expected a positive integer`);
  const heed = await import(pathToFileURL(join(root, 'dist/lib/index.js')).href);
  const limits = machineLimits();
  console.log(limitsToText(limits));
  if (!hasPython('torch')) console.log('no Python with PyTorch: set HEED_PYTHON to compare');
  const measured = {};
  const bounds = {};
  let torch;
  for (const name of names) {
    const result = await BENCHMARKS[name]({ rounds, seconds: values.quick ? 0.05 : 1, quick: values.quick, heed });
    torch ??= result.torch;
    measured[name] = result.cases;
    bounds[name] = result.bound;
    console.log(`\n${name}\n${toText(result.cases)}`);
  }
  requirePossible(measured);
  if (values.json !== undefined)
    await writeJson(values.json, { machine: describeMachine(torch), limits, bounds, benchmarks: measured });
}

async function writeJson(file, results) {
  let before = {};
  try {
    before = JSON.parse(await readFile(file, 'utf8'));
  } catch (error) {
    if (error.code !== 'ENOENT') throw new Error(`--json ${file} exists and is no result: ${error.message}`);
  }
  await mkdir(dirname(file), { recursive: true });
  const all = {
    ...results,
    bounds: { ...before.bounds, ...results.bounds },
    benchmarks: { ...before.benchmarks, ...results.benchmarks },
  };
  await writeFile(file, `${JSON.stringify(all, null, 1)}\n`);
  console.log(`\nwritten to ${file}`);
}
