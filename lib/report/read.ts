/** Reads a run folder into a report. */
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DataError } from '../core/errors.js';
import { duration } from './html.js';
import type { AlignReport, Curve, Fact, Metrics, PhaseReport, Report, Sample } from './types.js';

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
    config: config ?? {},
    summary: [...lastMetrics(points), ...facts(result).filter(({ name }) => name !== 'steps')],
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

function toMetrics(row: unknown, file: string, line: number): Metrics {
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

// The command is in the configuration; without one the phase is inferred from the metrics.
function phaseOf(config: unknown, points: readonly Metrics[]): string {
  const named = (config as { phase?: unknown; command?: unknown } | undefined) ?? {};
  for (const name of [named.phase, named.command]) if (typeof name === 'string') return name;
  const last = points.at(-1) ?? { step: 0 };
  if ('valueLoss' in last) return 'ppo';
  return 'pairs' in last ? 'reward' : 'sft';
}

function lastMetrics(points: readonly Metrics[]): Fact[] {
  const last = points.at(-1);
  if (!last) return [];
  const total = (metric: string) => points.reduce((sum, point) => sum + (point[metric] ?? 0), 0);
  const seconds = total('seconds');
  const tokens = total('tokensComputed');
  const lastOf = (metric: string) => points.findLast((point) => point[metric] !== undefined)?.[metric];
  const shown: Fact[] = [{ name: 'optimizer steps', value: String(last.step) }];
  if (seconds > 0) shown.push({ name: 'time in steps', value: duration(seconds) });
  if (tokens > 0)
    shown.push({ name: 'tokens computed', value: tokens.toLocaleString('en'), note: 'a shared prompt counts once' });
  for (const [metric, name] of LAST) {
    const value = lastOf(metric);
    if (value !== undefined) shown.push({ name, value, note: 'last measured' });
  }
  return shown;
}

const LAST = [
  ['loss', 'loss'],
  ['validationLoss', 'held-out loss'],
  ['score', 'score'],
  ['kl', 'KL from the reference, nats per response'],
  ['finished', 'fraction of responses that end by themselves'],
] as const;

/** The numbers and texts of a result; nested ones have a joined name: validation.accuracy. */
function facts(result: unknown, prefix = ''): Fact[] {
  if (typeof result !== 'object' || result === null) return [];
  return Object.entries(result).flatMap(([key, value]): Fact[] => {
    const name = prefix + key;
    if (typeof value === 'number' || typeof value === 'string') return [{ name, value }];
    if (typeof value === 'boolean') return [{ name, value: String(value) }];
    return facts(value, `${name}.`);
  });
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
