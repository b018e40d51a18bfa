import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { alignSections, align as alignWorld, chooseRun } from '../align/index.js';
import {
  machine,
  number,
  ppoFields,
  readConfig,
  rewardFields,
  type Source,
  sftFields,
  text,
  type Values,
} from '../config/index.js';
import { parseSectionSet, resolveSections } from '../config/nested.js';
import { makeFolder } from '../core/files.js';
import { isObject } from '../core/json.js';
import { Engine } from '../runtime/engine.js';
import { type AnyCommand, type Command, type Context, machineOf, requireOptions } from './command.js';
import { ppo } from './ppo.js';
import { reward } from './reward.js';
import { sft } from './sft.js';
import { asInterrupted, Interrupted } from './signals.js';
import { openPage } from './training.js';

const kOut = 'runs/align';

const fields = {
  config: text('YAML or JSON [the embedded world with its defaults]', 'CONFIG'),
  out: text(
    'output folder, with one run folder per phase [runs/align; a run that was stopped there is continued]',
    'RUN',
  ),
  seed: number('seed of everything random after the base', { min: 0, integer: true }),
  device: machine.device,
  dtype: machine.dtype,
  threads: machine.threads,
  watch: sftFields.watch,
};

export const align: Command<typeof fields> = {
  name: 'align',
  summary: 'the three phases end to end: on the embedded world, or on your data',
  about: `Without CONFIG, or with one that configures it, the main job runs: a small base model is trained to follow instructions in an
embedded world, and a judge that no phase uses compares the results. A CONFIG whose sft section names data runs heed sft, reward and
ppo one after the other:

  model: runs/base/model
  sft:    { data: demos.jsonl, learningRate: 1e-3, epochs: 3 }
  reward: { data: rankings.jsonl, learningRate: 3e-4 }
  ppo:    { prompts: prompts.jsonl, learningRate: 3e-4 }`,
  fields,
  required: [],
  positional: 'config',
  examples: [
    ['the main job, as npm start', 'heed align'],
    ['with another seed', 'heed align --seed 7 --out runs/seed-7'],
    [
      'control runs: without learning, and without preference labels',
      'heed align --set ppo.learningRate=0 --out runs/no-learning\n  heed align --set reward.shuffleLabels=true --out runs/no-labels',
    ],
    ['your own data', 'heed align mine.yaml --out runs/mine'],
  ],
  trains: true,
  sections: true,
  run,
};

/** A CONFIG for the phases on the user's own data. */
const chainSections = {
  model: sftFields.model,
  seed: fields.seed,
  sft: sftFields,
  reward: rewardFields,
  ppo: ppoFields,
};

async function run(values: Values<typeof fields>, context: Context): Promise<void> {
  const file = values.config === undefined ? {} : await readConfig(values.config);
  const isChain = isObject(file.sft) && file.sft.data !== undefined;
  const sections = isChain ? chainSections : alignSections;
  const sources = [
    { where: values.config ?? 'heed align', values: file },
    ...context.sets.map((set) => ({ where: `--set ${set}`, values: parseSectionSet(sections, set) })),
    { where: 'heed align', values: { seed: values.seed } },
  ];
  if (isChain) return watched(values, values.out ?? kOut, context, () => chain(sources, values, context));

  const config = resolveSections(alignSections, sources);
  if (context.dryRun) {
    context.log.line(JSON.stringify(config, null, 1));
    return;
  }
  const chosen =
    values.out === undefined && !context.resume
      ? await chooseRun(kOut, config)
      : { out: values.out ?? kOut, resume: context.resume };
  if (chosen.notice !== undefined) context.log.line(chosen.notice);
  const engine = await Engine.create({ ...machineOf(values), maxTokens: 8192, signal: context.signal });
  try {
    const command = ['heed align', ...context.args].join(' ');
    await watched(values, chosen.out, context, () =>
      alignWorld(engine, config, {
        out: chosen.out,
        command,
        resume: chosen.resume,
        signal: context.signal,
        log: context.log,
      }),
    );
  } catch (cause) {
    const error = asInterrupted(cause);
    if (error instanceof Interrupted) error.advice = advice(context);
    throw error;
  } finally {
    await engine.dispose();
  }
}

/** Does `work`, with a live page of the runs in `out` if that is wanted. */
async function watched<T>(
  { watch }: Values<typeof fields>,
  out: string,
  { log, dryRun }: Context,
  work: () => Promise<T>,
): Promise<T> {
  if (!watch || dryRun) return work();
  await makeFolder(out);
  const page = await openPage(out, log);
  try {
    return await work();
  } finally {
    await page.close();
  }
}

/** Runs the three commands on the user's data, each with the model of the one before. */
async function chain(
  sources: readonly Source[],
  { out = kOut, ...options }: Values<typeof fields>,
  context: Context,
): Promise<void> {
  const at = (phase: string) => join(out, phase);
  // Defaults that connect the phases; sections override them. All options are checked before the first phase starts.
  const { model, seed } = resolveSections(chainSections, sources);
  const common = { seed, ...machineOf(options) };
  const given = {
    sft: { ...common, model, out: at('sft') },
    reward: { ...common, model: join(at('sft'), 'model'), out: at('reward') },
    ppo: { ...common, policy: join(at('sft'), 'model'), rewardModel: join(at('reward'), 'model'), out: at('ppo') },
  };
  const values = resolveSections(chainSections, [{ where: 'heed align', values: given }, ...sources]);
  const runs = [
    { command: sft as AnyCommand, values: values.sft },
    { command: reward as AnyCommand, values: values.reward },
    { command: ppo as AnyCommand, values: values.ppo },
  ].map((phase) => ({ ...phase, dir: at(phase.command.name) }));
  for (const { command, values } of runs) requireOptions(command, values);
  for (const { command, values, dir } of runs) {
    if (context.resume && existsSync(join(dir, 'report.json'))) {
      context.log.line(`${command.name}: already done`);
      continue;
    }
    context.log.line(`${command.name}:`);
    try {
      await command.run(values, { ...context, resume: context.resume && existsSync(join(dir, 'config.json')) });
    } catch (error) {
      if (error instanceof Interrupted) error.advice = advice(context);
      throw error;
    }
    if (context.dryRun) break; // the later phases need models that do not exist yet
  }
}

const advice = ({ args, resume }: Context) =>
  `continue with: heed align ${[...args, ...(resume ? [] : ['--resume'])].join(' ')}`;
