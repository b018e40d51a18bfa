// Measuring: rounds that alternate, and what becomes of their times.
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';

export const root = join(import.meta.dirname, '..');
export const threads = Number(process.env.HEED_THREADS) || availableParallelism();

export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/**
 * Runs each contender once per round, in turning order, so that what else the machine does meets all of them alike.
 * A contender's run() returns the seconds of its calls. beside() runs once per round, as one of them, and onRound(round) before each round.
 */
export async function alternate(contenders, rounds, beside = () => {}, onRound = (_round) => {}) {
  const watch = {
    run: () => {
      beside();
      return [];
    },
  };
  const turns = [...contenders, watch];
  const seconds = turns.map(() => []);
  for (let round = 0; round < rounds; round++) {
    onRound(round);
    for (let i = 0; i < turns.length; i++) {
      const turn = (i + round) % turns.length;
      await pause(60); // the pools of the one before spin for some milliseconds
      seconds[turn].push(...(await turns[turn].run()));
    }
  }
  return seconds
    .slice(0, -1)
    .map((times) => ({ median: median(times), best: Math.min(...times), calls: times.length }));
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

/** body(dir) with a folder that is removed afterwards. */
export async function inFolder(body) {
  const dir = await mkdtemp(join(tmpdir(), 'heed-bench-'));
  try {
    return await body(dir);
  } finally {
    await rm(dir, { recursive: true });
  }
}

/** What is going on, on standard error. */
export const progress = (text) => console.error(`... ${text}`);

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

/**
 * Measures heed and its peers alternately, and makes a row of a table of it.
 *
 * @param run one call of heed's
 * @param peers asked to `run` for some seconds; others: { name, run } in this process
 * @param work what a call does, in units of `unit` without its "/s"
 */
export async function contest({
  name,
  level,
  run,
  peers,
  others = [],
  request = {},
  bound,
  work,
  unit,
  rounds,
  seconds,
}) {
  const contenders = [
    { run: () => timesOf(run, seconds) },
    ...peers.map((peer) => ({ run: async () => (await peer.ask({ do: 'run', seconds, ...request })).seconds })),
    ...others.map((other) => ({ run: () => timesOf(other.run, seconds) })),
  ];
  const [ours, ...theirs] = await alternate(
    contenders,
    rounds,
    () => bound.observe(),
    (round) => progress(`${name}: round ${round + 1} of ${rounds}`),
  );
  return {
    name,
    level,
    ms: 1e3 * ours.median,
    bestMs: 1e3 * ours.best,
    rate: work / ours.median,
    rateUnit: `${unit}/s`,
    ...bound.share(ours.best),
    peers: compare(ours, [...peers, ...others], theirs),
  };
}
