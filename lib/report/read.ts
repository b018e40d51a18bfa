/** Reads a run folder into a report. */
import { existsSync } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { DataError } from '../core/errors.js';
import type { AlignReport, Curve, Metrics, PhaseReport, Report, RunAbout, Sample } from './types.js';
import { changesOf, keyNumbers, resultFacts, verdictOf } from './verdict.js';
import { type Limits, warningsOf } from './warnings.js';

/**
 * The report of a run folder: the one written by `heed align`, or one made from a phase's `config.json`, `metrics.jsonl`, `result.json` and
 * `samples.jsonl` (the last two if they exist).
 *
 * @throws DataError that names the file and line
 */
export async function readReport(runDir: string): Promise<Report> {
  const written = join(runDir, 'report.json');
  if (existsSync(written)) {
    const report = parse<Report>(await readFile(written, 'utf8'), written);
    if (report?.kind === 'align') return checkAlign(report, written);
  }
  const metricsFile = join(runDir, 'metrics.jsonl');
  if (!existsSync(metricsFile)) {
    throw new DataError(`is missing: ${runDir} is not a run of heed`, { file: metricsFile });
  }
  const points = await readLines(metricsFile, toMetrics);
  const config = await readIfThere(join(runDir, 'config.json'));
  const result = await readIfThere(join(runDir, 'result.json'));
  const samplesFile = join(runDir, 'samples.jsonl');
  const phase = phaseOf(config, points);
  return {
    kind: 'phase',
    phase,
    about: {
      run: basename(resolve(runDir)),
      ...aboutOf(config),
      ...(points.length > 0 ? { date: (await stat(metricsFile)).mtime.toISOString() } : {}),
    },
    config: config ?? {},
    verdict: verdictOf(phase, points, result),
    warnings: warningsOf(points, limitsOf(config)),
    summary: [...keyNumbers(points), ...resultFacts(result)],
    changes: changesOf(phase, points),
    curves: points.length > 0 ? [{ phase, points }] : [],
    samples: existsSync(samplesFile) ? await readLines(samplesFile, toSample) : [],
  } satisfies PhaseReport;
}

/** The metrics of one phase's run, for a report over several. @throws DataError that names the file and line */
export async function readCurve(runDir: string, phase: string): Promise<Curve> {
  return { phase, points: await readLines(join(runDir, 'metrics.jsonl'), toMetrics) };
}

function checkAlign(report: AlignReport, file: string): AlignReport {
  for (const field of [
    'setup',
    'winRates',
    'winRatesGreedy',
    'curves',
    'behaviour',
    'rewardModel',
    'samples',
    'timing',
  ] as const) {
    if (report[field] === undefined) throw new DataError('is missing', { file, field });
  }
  return report;
}

/** A line of metrics.jsonl: its numbers. */
export function toMetrics(row: unknown, file: string, line: number): Metrics {
  const { step } = (row ?? {}) as Partial<Metrics>;
  if (typeof step !== 'number') throw new DataError('is missing, expected a number', { file, line, field: 'step' });
  const numbers = Object.entries(row as object).filter((entry): entry is [string, number] => Number.isFinite(entry[1]));
  return Object.fromEntries(numbers) as Metrics;
}

function toSample(row: unknown, file: string, line: number): Sample {
  const { prompt, answers } = (row ?? {}) as Partial<Sample>;
  if (typeof prompt !== 'string') throw new DataError('is missing, expected text', { file, line, field: 'prompt' });
  if (!Array.isArray(answers)) throw new DataError('is missing, expected a list', { file, line, field: 'answers' });
  return row as Sample;
}

/** The phase of a run: its command, or without a configuration what its metrics show. */
export function phaseOf(config: unknown, points: readonly Metrics[]): string {
  const named = (config as { phase?: unknown; command?: unknown } | undefined) ?? {};
  for (const name of [named.phase, named.command]) if (typeof name === 'string') return name;
  const last = points.at(-1) ?? { step: 0 };
  if ('valueLoss' in last) return 'ppo';
  return 'pairs' in last ? 'reward' : 'sft';
}

const optionsOf = (config: unknown) =>
  ((config as { options?: unknown } | undefined)?.options ?? {}) as Readonly<Record<string, unknown>>;

/** What a configuration says of the run. */
export function aboutOf(config: unknown): Pick<RunAbout, 'model' | 'command' | 'version'> {
  const { command, version } = (config ?? {}) as { command?: unknown; version?: unknown };
  const { model, policy } = optionsOf(config);
  const text = (value: unknown) => (typeof value === 'string' ? value : undefined);
  return { model: text(policy ?? model), command: text(command), version: text(version) };
}

/** The limits that a run was given. */
export function limitsOf(config: unknown): Limits {
  const { stopAtKl } = optionsOf(config);
  return typeof stopAtKl === 'number' ? { stopAtKl } : {};
}

async function readIfThere(file: string): Promise<unknown> {
  return existsSync(file) ? parse(await readFile(file, 'utf8'), file) : undefined;
}

async function readLines<T>(file: string, convert: (row: unknown, file: string, line: number) => T): Promise<T[]> {
  const lines = (await readFile(file, 'utf8')).split('\n').slice(0, -1); // a last line without a line break is incomplete
  return lines.flatMap((line, i) => (line.trim() === '' ? [] : [convert(parse(line, file, i + 1), file, i + 1)]));
}

function parse<T>(text: string, file: string, line?: number): T {
  try {
    return JSON.parse(text) as T;
  } catch (error) {
    throw new DataError(`is not valid JSON: ${(error as Error).message}`, { file, line });
  }
}
