/** Shared by the training commands: run folder, progress, Ctrl-C, and the report at the end. */
import { existsSync } from 'node:fs';
import { basename, isAbsolute, join, relative, resolve } from 'node:path';
import { readConfig, type Source, toJson, UsageError } from '../config/index.js';
import { HeedError } from '../core/errors.js';
import { version } from '../core/package.js';
import { filesOf } from '../data/folder.js';
import { type DataOptions, describeReport, type Items, type Loaded, splitByPrompt } from '../data/index.js';
import { dataConcerns, kLastSteps } from '../phases/concerns.js';
import type { PhaseProgress } from '../phases/loop.js';
import type { StepMetrics } from '../phases/metrics.js';
import { MlflowRun } from '../runs/mlflow.js';
import { RunFolder } from '../runs/runfolder.js';
import { EventFile } from '../runs/tensorboard.js';
import { Engine } from '../runtime/engine.js';
import type { Watch } from '../watch/server.js';
import { type AnyCommand, type Context, type Machine, machineOf } from './command.js';
import { describeMemory, type PlannedWork, requireMemory } from './memory.js';
import type { Stage } from './progress.js';
import { LiveSamples, type Sampled, writeSamples } from './samples.js';
import { asInterrupted, Interrupted } from './signals.js';

/** The options of the run in `--out`, for `--resume`. @throws UsageError if there is no such run, or it is a run of another command */
export async function savedOptions(command: AnyCommand, out: unknown, loraR?: unknown): Promise<Source> {
  if (typeof out !== 'string') throw new UsageError(`heed ${command.name} --resume needs --out RUN: the run to resume`);
  const file = join(out, 'config.json');
  if (!existsSync(file)) throw new UsageError(`${out} has no config.json: there is no run to resume`);
  const config = await readConfig(file);
  if (typeof config.command !== 'string')
    throw new UsageError(`${file} is not from a run of heed: there is no run to resume`);
  if (config.command !== command.name)
    throw new UsageError(`${out} is a run of heed ${config.command}, not of heed ${command.name}`);
  const options = (config.options ?? {}) as Record<string, unknown>;
  if (loraR !== undefined && loraR !== options.loraR) {
    const has = options.loraR === undefined ? 'trains no new adapter' : `trains one of rank ${options.loraR}`;
    throw new UsageError(`--lora-r is ${loraR}, but the run in ${out} ${has}: it continues with what it began`);
  }
  return { where: file, values: typeof config.cwd === 'string' ? fromFolder(options, config.cwd) : options };
}

/** Relative paths of a run that was started in another folder: those that exist there and not here. */
function fromFolder(options: Record<string, unknown>, cwd: string): Record<string, unknown> {
  const moved = (value: unknown): unknown => {
    if (Array.isArray(value)) return value.map(moved);
    // A reward has a weight before its path, and may have a kind.
    const [, before, path] = (typeof value === 'string' && value.match(/^((?:-?[\d.e+-]+\*)?(?:schema:)?)(.+)$/)) || [];
    if (!path || isAbsolute(path) || existsSync(path) || !existsSync(join(cwd, path))) return value;
    return before + join(cwd, path);
  };
  return Object.fromEntries(Object.entries(options).map(([key, value]) => [key, key === 'out' ? value : moved(value)]));
}

type Read<L> = (files: readonly string[], hooks: Pick<DataOptions, 'signal' | 'onProgress' | 'weights'>) => Promise<L>;

const kMegabyte = 1e6;

/** Reads data, with progress if it takes long, and logs a summary. */
export async function readData<L extends Loaded<unknown>>(
  { log, signal }: Context,
  name: string,
  files: readonly string[],
  maxLength: number,
  read: Read<L>,
): Promise<L> {
  const began = performance.now();
  let stage: Stage | undefined;
  const onProgress = ({ done, total }: { done: number; total: number }) => {
    if (performance.now() - began < 5000) return;
    stage ??= log.stage(`reading ${name}`, Math.ceil(total / kMegabyte), 'MB', Math.floor(done / kMegabyte));
    stage.update(Math.floor(done / kMegabyte));
  };
  for (const path of files) {
    const found = await filesOf(path);
    if (found[0] !== path) log.line(`${path}: ${found.map((file) => relative(path, file)).join(', ')}`);
  }
  const data = await read(files, { signal, onProgress }).finally(() => stage?.end());
  log.line(`${name}: ${describeReport(data.report, maxLength)}`);
  if (data.items.length === 0) {
    throw new HeedError(
      'ERR_INVALID_ARGUMENT',
      `none of the ${data.report.rows} rows of ${files.join(', ')} can be used`,
    );
  }
  return data;
}

/** A command's training data. */
export interface TrainingData<T> {
  readonly train: Items<T>;
  readonly validation: Items<T>;
  /** Warnings about the amount of data, repeated at the end. */
  readonly concerns: readonly string[];
}

/** Reads training data and held-out data: separate files, or a fraction of the prompts. */
export async function readTraining<T>(
  context: Context,
  name: string,
  values: {
    readonly data: readonly string[] | undefined;
    readonly weights: readonly number[] | undefined;
    readonly validation: readonly string[] | undefined;
    readonly validationFraction: number;
    readonly seed: number;
  },
  maxLength: number,
  read: Read<Loaded<T>>,
): Promise<TrainingData<T>> {
  const files = values.data!;
  const weights = weightsFor(files, values.weights);
  const data = await readData(context, name, files, maxLength, (_, hooks) => read(files, { ...hooks, weights }));
  const { train, validation } = values.validation
    ? {
        train: data.items,
        validation: (await readData(context, 'validation', values.validation, maxLength, read)).items,
      }
    : splitByPrompt(data, values.validationFraction, values.seed);
  const dropped = data.report.rows - data.report.kept;
  return { train, validation, concerns: dataConcerns(name, train.length, validation.length, dropped) };
}

/** @throws UsageError unless there is one weight per file */
export function weightsFor(
  files: readonly string[],
  weights: readonly number[] | undefined,
): readonly number[] | undefined {
  if (weights === undefined || weights.length === files.length) return weights;
  throw new UsageError(`--weights has ${weights.length} numbers, expected ${files.length}: one per file`);
}

/** Logs the plan before the run; with --dry-run that is all. @throws HeedError when it does not fit on the device */
export async function sayPlan(
  { log, signal }: Context,
  lines: readonly string[],
  values: Machine,
  maxTokens: number,
  work: PlannedWork,
): Promise<void> {
  for (const line of lines) log.line(line);
  let free: number | undefined;
  const usage = await Engine.plan({ ...machineOf(values), maxTokens, signal }, (engine) => {
    free = engine.info.freeBytes;
    if (engine.info.fallback !== undefined) log.line(`device: ${engine.info.device}, because ${engine.info.fallback}`);
    return work(engine);
  });
  log.line(`memory: ${describeMemory(usage)}`);
  requireMemory(usage, free);
}

/** Options of a phase's loop. */
export interface Training {
  readonly engine: Engine;
  readonly run: RunFolder;
  readonly signal: AbortSignal;
  onProgress(progress: PhaseProgress): void;
}

interface TrainingOptions<Metrics, Result> {
  readonly command: string;
  readonly values: {
    readonly out: string | undefined;
    readonly tensorboard: string | undefined;
    readonly mlflow: string | undefined;
    readonly mlflowExperiment: string;
    readonly watch: boolean;
  } & Machine;
  /** Tokens of the largest pass. */
  readonly maxTokens: number;
  readonly tokenizerFrom: string;
  readonly totalSteps: number;
  /** The numbers shown while it runs. */
  note(metrics: Metrics): string;
  /** A line to keep after a step with a validation, else undefined. */
  remark?(metrics: Metrics): string | undefined;
  start(training: Training): Promise<AsyncGenerator<Metrics & StepMetrics, Result, void>>;
  /** Warnings that the result is probably poor; `last` has the metrics of the last steps, none if a resumed run had none left. */
  concerns(result: Result, last: readonly (Metrics & StepMetrics)[]): readonly string[];
  /** What to sample while it runs and at the end; called after `start`. */
  samples?(): Sampled;
  /** Called after the last step. */
  finish?(result: Result): void;
}

/** Runs a phase in its folder to its end, or to Ctrl-C. */
export async function train<Metrics, Result>(context: Context, o: TrainingOptions<Metrics, Result>): Promise<void> {
  const { log, signal } = context;
  const out = o.values.out!;
  const config = { command: o.command, version, cwd: process.cwd(), options: toJson(o.values) };
  const engine = await Engine.create({ ...machineOf(o.values), maxTokens: o.maxTokens, signal });
  let run: RunFolder | undefined;
  let events: EventFile | undefined;
  let tracker: MlflowRun | undefined;
  let page: Watch | undefined;
  let stage: Stage | undefined;
  let taken = 0;
  try {
    run = await RunFolder.open(out, { resume: context.resume, config, tokenizerFrom: o.tokenizerFrom });
    taken = run.checkpoint?.step ?? 0;
    if (o.values.watch) page = await openPage(out, log);
    if (o.values.tensorboard !== undefined) events = await EventFile.open(o.values.tensorboard);
    if (o.values.mlflow !== undefined)
      tracker = MlflowRun.begin({
        url: o.values.mlflow,
        experiment: o.values.mlflowExperiment,
        runName: basename(resolve(out)),
        parameters: { command: o.command, ...config.options },
        onFailure: (message) => log.line(`warning: ${message}`),
      });
    if (taken > o.totalSteps)
      throw new UsageError(`${out} has already taken ${taken} steps, expected at most ${o.totalSteps}`);
    if (context.resume)
      log.line(
        taken > 0
          ? `continuing after step ${taken} of ${o.totalSteps}`
          : 'no checkpoint yet: starting from the beginning',
      );
    let note = '';
    const warned = new Set<string>(); // each warning is shown once
    const last: (Metrics & StepMetrics)[] = [];
    const training: Training = {
      engine,
      run,
      signal,
      onProgress: ({ doing, done, total }) =>
        stage?.update(taken, [note, `${doing} ${done}/${total}`].filter(Boolean).join(', ')),
    };
    const phase = await o.start(training);
    const sampled = o.samples?.();
    const live = sampled && new LiveSamples(training, sampled);
    stage = log.stage(o.command, o.totalSteps, 'steps', taken);
    let next = await phase.next();
    if (context.resume && !next.done) await run.writeJson('config.json', config); // it continues with these options
    for (; !next.done; next = await phase.next()) {
      taken = next.value.step;
      await events?.append(taken, next.value as unknown as Readonly<Record<string, unknown>>);
      tracker?.append(taken, next.value as unknown as Readonly<Record<string, unknown>>);
      note = `${o.note(next.value)}, ${short(next.value.percentOfPeak)} % of peak`;
      for (const warning of next.value.warnings ?? []) {
        if (!warned.has(warning)) log.line(`warning: ${warning}`);
        warned.add(warning);
      }
      last.push(next.value);
      if (last.length > kLastSteps) last.shift();
      const remark = o.remark?.(next.value);
      if (remark !== undefined) log.line(`step ${taken}: ${remark}`);
      stage.update(taken, note);
      await live?.after(taken);
    }
    stage.update(taken, note);
    stage.end();
    o.finish?.(next.value);
    if (sampled) await writeSamples(training, sampled);
    for (const concern of o.concerns(next.value, last)) log.line(`warning: ${concern}`);
    await tracker?.close('FINISHED');
    const lost = tracker?.lost;
    if (lost?.metrics) log.line(`warning: MLflow lacks ${lost.metrics} numbers, ${lost.requests} requests failed`);
    tracker = undefined;
    await run.close();
    const { writeReport } = await import('../report/index.js'); // imports a plotting library
    const report = await writeReport(out);
    log.line(`model: ${join(out, 'model')}, report: ${report}`);
  } catch (cause) {
    stage?.end();
    const error = asInterrupted(cause);
    await tracker?.close(error instanceof Interrupted ? 'KILLED' : 'FAILED');
    if (run && error instanceof Interrupted)
      error.advice = `${out} is saved at step ${taken}; continue with: heed ${o.command} --out ${quoted(out)} --resume`;
    throw error;
  } finally {
    await run?.close().catch(() => {});
    await events?.close().catch(() => {});
    await page?.close();
    await engine.dispose();
  }
}

/** The live page of a run, at a free port if the usual one is taken. */
export async function openPage(out: string, log: Context['log']): Promise<Watch> {
  const { watch } = await import('../watch/server.js');
  const page = await watch([out]).catch(() => watch([out], { port: 0 }));
  log.line(`watch: ${page.url}`);
  return page;
}

/** A number with few digits: 2.314, 0.0231, 3.1e-5. */
export function short(value: number): string {
  if (value === 0) return '0';
  const size = Math.abs(value);
  return size >= 1000 || size < 1e-3 ? value.toExponential(1) : value.toPrecision(size >= 1 ? 4 : 3);
}

export const thousands = (value: number): string => value.toLocaleString('en');

const quoted = (path: string) => (/^[\w./@:+-]+$/.test(path) ? path : `'${path.replaceAll("'", "'\\''")}'`);
