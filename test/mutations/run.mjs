// Damages thousands of files and has `heed score` read each: node run.mjs [--count 5000] [--seed 1] [--workers 2] [--processes 0]
//
// Every case must end with a result or with a message that names the file. With `--processes N`, N further cases are run as commands of
// their own. `npm run sanitize -- mutations` does this under AddressSanitizer.
import { fork, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const worker = fileURLToPath(new URL('worker.mjs', import.meta.url));
const program = fileURLToPath(new URL('../../dist/lib/cli/main.js', import.meta.url));
const kSeconds = 30; // per case: a hang, on a machine that is busy and under a sanitizer

/**
 * @returns how many cases gave a result and how many a message, per subject, and the faults that were found
 */
export async function runMutations({ count, seed = 1, workers = 2, processes = 0 }) {
  const dir = mkdtempSync(join(tmpdir(), 'heed-mutations-'));
  const totals = { cases: 0, results: 0, messages: 0, faults: [] };
  const add = ({ status, what, fault }, index) => {
    totals.cases++;
    if (fault !== undefined) totals.faults.push(`case ${index} (${what}): ${fault}`);
    else totals[status === 0 ? 'results' : 'messages']++;
  };
  try {
    await Promise.all(
      Array.from({ length: workers }, async (_, w) => {
        for (let from = w; from < count; ) from = await work({ dir: join(dir, String(w)), seed, from, to: count, step: workers, add });
      }),
    ); // biome-ignore format: one line
    if (processes > 0) await runProcesses({ dir: join(dir, 'processes'), seed, from: count, processes, add });
    return totals;
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

/** Cases in one worker, until all are done or one ends it. @returns the next case */
function work({ dir, seed, from, to, step, add }) {
  rmSync(dir, { recursive: true, force: true });
  return new Promise((resolve, reject) => {
    const child = fork(worker, {
      env: { ...process.env, HEED_THREADS: '1' },
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    });
    let errors = '';
    let current;
    let timer;
    let next = from;
    child.stderr.on('data', (data) => {
      errors = (errors + data).slice(0, 3000);
    });
    child.on('message', (message) => {
      if (message.ready) return child.send({ seed, from, to, step });
      clearTimeout(timer);
      if (message.begun) {
        current = message;
        timer = setTimeout(() => child.kill('SIGKILL'), 1000 * kSeconds);
      } else {
        add(message, message.index);
        next = message.index + step;
        current = undefined;
      }
    });
    child.on('error', reject);
    child.on('close', (status, signal) => {
      clearTimeout(timer);
      if (current === undefined)
        return status === 0 ? resolve(to) : reject(new Error(`the worker ended: ${signal ?? status}\n${errors}`));
      const why = signal === 'SIGKILL' ? `not done after ${kSeconds} s` : `the process ended: ${signal ?? status}`;
      add({ what: current.begun, fault: `${why} ${errors}` }, current.index);
      resolve(next + step);
    });
    child.send({ start: dir });
  });
}

/** Cases as commands of their own. */
async function runProcesses({ dir, seed, from, processes, add }) {
  const child = fork(worker, { stdio: ['ignore', 'ignore', 'inherit', 'ipc'] });
  const ended = once(child, 'exit').then(() => {
    throw new Error('the worker ended');
  });
  ended.catch(() => {});
  const ask = async (message) => {
    const answer = once(child, 'message');
    child.send(message);
    return (await Promise.race([answer, ended]))[0];
  };
  await ask({ start: dir });
  const { faultOf } = await import('./fault.mjs');
  for (let index = from; index < from + processes; index++) {
    const { args: found } = await ask({ seed, args: index });
    const { status, signal, stderr } = spawnSync(process.execPath, [program, ...found.args], {
      encoding: 'utf8',
      env: { ...process.env, HEED_THREADS: '1' },
      timeout: 1000 * kSeconds,
    });
    const rows = status === 0 && existsSync(found.out) ? readFileSync(found.out, 'utf8').trim().split('\n').map((line) => JSON.parse(line)) : []; // biome-ignore format: one line
    const text = stderr.split('\n').filter((line) => line.startsWith('heed: ')).at(-1) ?? ''; // biome-ignore format: one line
    const fault = signal
      ? `the process ended: ${signal} ${stderr.slice(-3000)}`
      : faultOf({
          status,
          text: text || stderr.slice(-3000),
          rows,
          isWhole: false,
          mayName: [found.at, ...found.subject.mayName],
        });
    add({ status, what: found.what, fault }, index);
    rmSync(found.at, { recursive: true });
  }
  child.disconnect();
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { values } = parseArgs({
    options: {
      count: { type: 'string', default: '5000' },
      seed: { type: 'string', default: '1' },
      workers: { type: 'string', default: '2' },
      processes: { type: 'string', default: '0' },
    },
  });
  const numbers = Object.fromEntries(Object.entries(values).map(([name, text]) => [name, Number(text)]));
  const { faults, ...counts } = await runMutations(numbers);
  for (const fault of faults) console.log(fault);
  console.log(
    `${counts.cases} files, seed ${numbers.seed}: ${counts.results} results, ${counts.messages} messages, ${faults.length} faults`,
  );
  process.exitCode = faults.length > 0 ? 1 : 0;
}
