/** One run, as its files show it now. Nothing is read twice: files of a run grow at their ends. */
import { existsSync } from 'node:fs';
import { open, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { aboutOf, limitsOf, phaseOf, toMetrics } from '../report/read.js';
import type { Metrics, RunAbout } from '../report/types.js';
import { verdictOf } from '../report/verdict.js';
import { warningsOf } from '../report/warnings.js';
import { writerOf } from '../runs/process.js';
import { requestOf } from '../runs/requests.js';
import { type LiveAnswers, newestStep } from '../runs/runfolder.js';

export type RunStatus = 'running' | 'pausing' | 'paused' | 'stopping' | 'stopped' | 'finished';

/** A run at this moment, without its curves. */
export interface RunState {
  readonly name: string;
  readonly phase: string;
  readonly status: RunStatus;
  readonly about: Omit<RunAbout, 'run'>;
  /** Optimizer steps taken, and of the whole run if that is known. */
  readonly step: number;
  readonly total?: number | undefined;
  /** Of the last steps. */
  readonly tokensPerSecond?: number | undefined;
  readonly percentOfPeak?: number | undefined;
  readonly secondsPerStep?: number | undefined;
  /** From the reference, nats per response; with the limit at which the run stops, or the target, if it has one. */
  readonly kl?: { readonly value: number; readonly limit?: number | undefined; readonly target?: number | undefined };
  readonly verdict?: string | undefined;
  readonly warnings: readonly string[];
  /** The step that `heed COMMAND --resume` continues from, 0 for the beginning; undefined if it cannot. */
  readonly resumesAt?: number | undefined;
  /** Lines of answers.jsonl. */
  readonly samplings: number;
}

/** Some of a run's points: each the mean of `every` steps. */
export interface Points {
  readonly every: number;
  readonly from: number;
  readonly rows: readonly Metrics[];
}

/** A page does not show more points of a curve. */
const kMostPoints = 1000;
/** Speeds are means over this many steps. */
const kRecent = 20;

/** The lines of a file that has grown since the last look. */
class Tail {
  #at = 0;
  #rest = Buffer.alloc(0);

  constructor(readonly file: string) {}

  /** @returns the new lines, and whether the file was cut: all earlier lines then count no more */
  async read(): Promise<{ readonly lines: string[]; readonly cut: boolean }> {
    const size = await stat(this.file).then(
      (found) => found.size,
      () => 0,
    );
    const cut = size < this.#at;
    if (cut) {
      this.#at = 0;
      this.#rest = Buffer.alloc(0);
    }
    if (size === this.#at) return { lines: [], cut };
    const handle = await open(this.file);
    try {
      const bytes = Buffer.alloc(size - this.#at);
      const { bytesRead } = await handle.read(bytes, 0, bytes.length, this.#at);
      this.#at += bytesRead;
      const all = Buffer.concat([this.#rest, bytes.subarray(0, bytesRead)]);
      const end = all.lastIndexOf(0x0a) + 1; // bytes: a character may be cut in two
      this.#rest = Buffer.from(all.subarray(end));
      return { lines: all.toString('utf8', 0, end).split('\n').slice(0, -1), cut };
    } finally {
      await handle.close();
    }
  }
}

export class WatchedRun {
  readonly #metrics: Tail;
  readonly #answers: Tail;
  #points: Metrics[] = [];
  #said = new Set<string>(); // warnings that the run itself wrote
  #samplings: LiveAnswers[] = [];

  /** @param name what people call it: the path that they gave */
  constructor(
    readonly dir: string,
    readonly name: string,
  ) {
    this.#metrics = new Tail(join(dir, 'metrics.jsonl'));
    this.#answers = new Tail(join(dir, 'answers.jsonl'));
  }

  async state(): Promise<RunState> {
    await this.#look();
    const { dir, name } = this;
    const [config, result, writer, request] = await Promise.all([
      jsonOf(join(dir, 'config.json')),
      jsonOf(join(dir, 'result.json')),
      writerOf(dir),
      requestOf(dir),
    ]);
    const points = this.#points;
    const phase = writer?.phase ?? phaseOf(config, points);
    const limits = limitsOf(config);
    const recent = points.slice(-kRecent);
    const seconds = sum(recent, 'seconds');
    const kl = points.findLast((point) => point.kl !== undefined)?.kl;
    const target = (config as { options?: { klTarget?: number } } | undefined)?.options?.klTarget;
    const status: RunStatus = !writer
      ? existsSync(join(dir, 'result.json'))
        ? 'finished'
        : 'stopped'
      : request === 'stop'
        ? 'stopping'
        : writer.paused
          ? 'paused'
          : request === 'pause'
            ? 'pausing'
            : 'running';
    return {
      name,
      phase,
      status,
      about: aboutOf(config),
      step: points.at(-1)?.step ?? 0,
      total: writer?.total,
      tokensPerSecond: seconds > 0 ? sum(recent, 'tokensComputed') / seconds : undefined,
      percentOfPeak: recent.length > 0 ? sum(recent, 'percentOfPeak') / recent.length : undefined,
      secondsPerStep: recent.length > 0 ? seconds / recent.length : undefined,
      ...(kl === undefined ? {} : { kl: { value: kl, limit: limits.stopAtKl, target } }),
      verdict: verdictOf(phase, points, result),
      warnings: [...new Set([...warningsOf(points, limits), ...this.#said])],
      resumesAt: status === 'stopped' && aboutOf(config).command !== undefined ? await newestStep(dir) : undefined,
      samplings: this.#samplings.length,
    };
  }

  /**
   * The run's points from the `from`-th on, if the reader already has those before, thinned to the same `every`; otherwise all of
   * them. The last one may still grow.
   */
  points(have: { readonly every: number; readonly from: number } = { every: 0, from: 0 }): Points {
    const points = this.#points;
    let every = 1;
    while (points.length / every > kMostPoints) every *= 2;
    const isKnown = have.every === every && have.from * every <= points.length;
    const from = isKnown ? have.from : 0;
    const rows: Metrics[] = [];
    for (let i = from * every; i < points.length; i += every) rows.push(meanOf(points.slice(i, i + every)));
    return { every, from, rows };
  }

  /** What the model answered, newest last; at most `count`. */
  answers(count = 200): readonly LiveAnswers[] {
    return this.#samplings.slice(-count);
  }

  async #look(): Promise<void> {
    const { lines, cut } = await this.#metrics.read();
    if (cut) {
      this.#points = [];
      this.#said = new Set();
    }
    for (const row of lines.flatMap(parsed)) {
      if (typeof row.step !== 'number') continue;
      this.#points.push(toMetrics(row, this.#metrics.file, this.#points.length + 1));
      for (const warning of Array.isArray(row.warnings) ? row.warnings : []) this.#said.add(String(warning));
    }
    const answers = await this.#answers.read();
    if (answers.cut) this.#samplings = [];
    this.#samplings.push(...(answers.lines.flatMap(parsed) as unknown as LiveAnswers[]));
  }
}

const sum = (points: readonly Metrics[], metric: string) =>
  points.reduce((total, point) => total + (point[metric] ?? 0), 0);

/** The mean of each metric over those points that have it; the step is the last. */
function meanOf(points: readonly Metrics[]): Metrics {
  if (points.length === 1) return points[0]!;
  const sums = new Map<string, [total: number, count: number]>();
  for (const point of points)
    for (const [metric, value] of Object.entries(point)) {
      const both = sums.get(metric) ?? [0, 0];
      sums.set(metric, [both[0] + value, both[1] + 1]);
    }
  const means = Object.fromEntries([...sums].map(([metric, [total, count]]) => [metric, total / count]));
  return { ...means, step: points.at(-1)!.step };
}

/** The object of a line; nothing for a line that is broken: the page goes on without it. */
function parsed(line: string): Readonly<Record<string, unknown>>[] {
  try {
    const row: unknown = JSON.parse(line);
    return typeof row === 'object' && row !== null ? [row as Record<string, unknown>] : [];
  } catch {
    return [];
  }
}

async function jsonOf(file: string): Promise<unknown> {
  try {
    return JSON.parse(await readFile(file, 'utf8'));
  } catch {
    return undefined; // not there, or being written
  }
}
