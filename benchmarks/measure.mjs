// Measuring: peers as servers, rounds that alternate, and the machine's own limits.
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as pause } from 'node:timers/promises';

export const root = join(import.meta.dirname, '..');
export const threads = Number(process.env.HEED_THREADS) || availableParallelism();

export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

const python = process.env.HEED_PYTHON ?? 'python3';

/** Whether there is a Python with these modules. */
export function hasPython(...modules) {
  return spawnSync(python, ['-c', `import ${modules.join(', ')}`], { stdio: 'ignore' }).status === 0;
}

/** A baseline of benchmarks/baselines, running and waiting to be asked. */
export class Peer {
  #child;
  #lines;
  #errors = '';

  constructor(name, script, args, { hugePages }) {
    this.name = name;
    this.hugePages = hugePages;
    this.#child = spawn(python, [join(import.meta.dirname, 'baselines', script), ...args], {
      // PyTorch's large tensors fault page by page unless this is on; which is faster is measured, not assumed.
      env: {
        ...process.env,
        THP_MEM_ALLOC_ENABLE: hugePages ? '1' : '0',
        HF_HUB_OFFLINE: '1',
        OMP_NUM_THREADS: String(threads),
      },
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    this.#child.stderr.on('data', (text) => {
      this.#errors = (this.#errors + text).slice(-4000);
    });
    this.#child.stdin.on('error', () => {}); // its end shows in the answers
    this.#lines = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]();
  }

  /** Both ways to run a baseline. */
  static both(name, script, args = []) {
    return [false, true].map((hugePages) => new Peer(name, script, args, { hugePages }));
  }

  async start() {
    const { torch } = await this.#answer();
    return torch;
  }

  async ask(request) {
    this.#child.stdin.write(`${JSON.stringify(request)}\n`);
    return this.#answer();
  }

  async #answer() {
    const { value, done } = await this.#lines.next();
    if (done) throw new Error(`${this.name} ended:\n${this.#errors}`);
    const answer = JSON.parse(value);
    if (answer.error) throw new Error(`${this.name}: ${answer.error}`);
    return answer;
  }

  end() {
    this.#child.stdin.end();
  }
}

/**
 * Runs each contender once per round, in turning order, so that what else the machine does meets all of them alike.
 * A contender's run() returns the seconds of its calls.
 */
export async function alternate(contenders, rounds) {
  const seconds = contenders.map(() => []);
  for (let round = 0; round < rounds; round++) {
    for (let i = 0; i < contenders.length; i++) {
      const turn = (i + round) % contenders.length;
      await pause(60); // the pools of the one before spin for some milliseconds
      seconds[turn].push(...(await contenders[turn].run()));
    }
  }
  return seconds.map((times) => ({ median: median(times), best: Math.min(...times), calls: times.length }));
}

/** Of each peer the faster of its two ways, as multiples of heed's time. */
export function compare(heed, peers, results) {
  const names = [...new Set(peers.map(({ name }) => name))];
  return names.map((name) => {
    const ways = peers.map((peer, i) => ({ peer, result: results[i] })).filter(({ peer }) => peer.name === name);
    const { peer, result } = ways.reduce((a, b) => (b.result.median < a.result.median ? b : a));
    return {
      name,
      hugePages: peer.hugePages,
      ms: 1e3 * result.median,
      bestMs: 1e3 * result.best,
      ratio: result.median / heed.median,
    };
  });
}

/** A native benchmark's JSON lines. */
export function runNative(name, args = []) {
  const file = join(root, 'cmake-build', `bench_${name}`);
  if (!existsSync(file)) throw new Error(`${file} is missing: run \`npm run build:native -- --tests\``);
  const { status, stdout, stderr, error } = spawnSync(file, args, { encoding: 'utf8', maxBuffer: 1 << 26 });
  if (status !== 0) throw new Error(`bench_${name} failed: ${error?.message ?? stderr}`);
  return stdout
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line));
}

/** What the machine can do at most with `threads` threads: GFLOP/s in float32, GB/s read and triad. */
export function measureLimits() {
  const rows = runNative('limits').filter((row) => row.threads === threads);
  const peaks = rows.filter(({ name }) => name.startsWith('peak ')).map(({ gflops }) => gflops);
  const gbPerS = (name) => rows.find((row) => row.name === name)?.gb_per_s;
  if (peaks.length === 0) throw new Error(`bench_limits measured nothing with ${threads} threads: unset HEED_THREADS`);
  return { threads, gflops: Math.max(...peaks), read: gbPerS('read'), triad: gbPerS('triad') };
}

/** The machine, in words. */
export function describeMachine(torch) {
  const info = readFileSync('/proc/cpuinfo', 'utf8');
  const field = (name) => new RegExp(`^${name}\\s*:\\s*(.*)`, 'm').exec(info)?.[1];
  // Virtual machines often name no more than the brand.
  const cpu = `${field('model name') ?? process.arch} (family ${field('cpu family') ?? '?'}, model ${field('model') ?? '?'})`;
  const commit = spawnSync('git', ['rev-parse', '--short', 'HEAD'], { cwd: root, encoding: 'utf8' }).stdout?.trim();
  return {
    cpu,
    threads,
    node: process.version,
    torch: torch ?? null,
    commit: commit || null,
    date: new Date().toISOString().slice(0, 10),
  };
}

/** Repeats an asynchronous call for about `seconds`, at least once; the seconds of each. */
export async function timesOf(call, seconds) {
  const times = [];
  const start = performance.now();
  while (times.length === 0 || performance.now() - start < 1e3 * seconds) {
    const before = performance.now();
    await call();
    times.push((performance.now() - before) / 1e3);
  }
  return times;
}
