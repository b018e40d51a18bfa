#!/usr/bin/env node
/** The command line: finds the command, reads its options, reports errors in one line. */
import { inspect } from 'node:util';
import { parseSet, readConfig, resolve, type Source, sectionOf, UsageError } from '../config/index.js';
import { suggestion } from '../config/nearest.js';
import { version } from '../core/package.js';
import { type AnyCommand, helpOf, type Parsed, parseArguments, requireOptions } from './command.js';
import { writeOut } from './output.js';
import { progressLog } from './progress.js';
import { Interrupted, onInterrupt } from './signals.js';

/** Commands are imported when called, so that one does not wait for another's libraries. */
const commands: Readonly<Record<string, readonly [summary: string, load: () => Promise<AnyCommand>]>> = {
  sft: ['phase 1: fine-tune a language model on demonstrations', async () => (await import('./sft.js')).sft],
  reward: ['phase 2: train a reward model on ranked responses', async () => (await import('./reward.js')).reward],
  ppo: ['phase 3: PPO, or PPO-ptx, against a reward model', async () => (await import('./ppo.js')).ppo],
  grpo: ['a policy against rewards that can be checked', async () => (await import('./grpo.js')).grpo],
  rloo: ['the same with a leave-one-out baseline', async () => (await import('./rloo.js')).rloo],
  dpo: ['preference optimisation on rankings, without sampling', async () => (await import('./dpo.js')).dpo],
  kto: ['the same on responses called good or bad', async () => (await import('./kto.js')).kto],
  orpo: ['fine-tuning and preferences in one phase', async () => (await import('./orpo.js')).orpo],
  simpo: ['the same by likelihood per token', async () => (await import('./simpo.js')).simpo],
  label: ['a page on which people rate and rank responses', async () => (await import('./label.js')).label],
  serve: [
    "OpenAI's API for a model; keeps feedback and learns from it",
    async () => (await import('./serve.js')).serve,
  ],
  align: [
    'the three phases end to end: on the embedded world, or on your data',
    async () => (await import('./align.js')).align,
  ],
  generate: ['sample responses to prompts', async () => (await import('./generate.js')).generate],
  score: ['log-probabilities of responses, or their scores', async () => (await import('./score.js')).score],
  eval: [
    'win rates, what alignment costs, and whose values: with intervals',
    async () => (await import('./eval.js')).evaluate,
  ],
  chat: ['talk with a language model', async () => (await import('./chat.js')).chat],
  export: ['a model as a GGUF file, for llama.cpp', async () => (await import('./export.js')).exporting],
  merge: ['an ordinary model from a model and an adapter', async () => (await import('./merge.js')).merge],
  tokenizer: ['train a byte-level BPE tokenizer', async () => (await import('./tokenizer.js')).tokenizer],
  pretrain: ['train a base model on documents', async () => (await import('./pretrain.js')).pretrain],
  data: [
    'show how a file is read: rows as tokens, lengths, what is dropped and why',
    async () => (await import('./data.js')).data,
  ],
  info: [
    'say what a model folder is, what memory it takes, and what is wrong with it',
    async () => (await import('./info.js')).info,
  ],
  watch: [
    'a live page of runs: curves, answers, warnings; pause, stop and resume',
    async () => (await import('./watch.js')).watch,
  ],
  report: ['write the report of a run again', async () => (await import('./report.js')).report],
  build: ['compile the native addon from the sources in the package', async () => (await import('./build.js')).build],
};

const kHelp = `heed ${version}: InstructGPT for Node, from demonstrations and rankings to an aligned model

  heed COMMAND [options]

${Object.entries(commands)
  .map(([name, [summary]]) => `  ${name.padEnd(10)} ${summary}`)
  .join('\n')}

A whole run:
  heed tokenizer --data books.txt.gz --vocab-size 2048 --out tokenizer
  heed pretrain  --data books.txt.gz --tokenizer tokenizer --out runs/base
  heed sft       --model runs/base/model --data demos.jsonl --out runs/sft --learning-rate 1e-3 --epochs 3
  heed reward    --model runs/sft/model --data rankings.jsonl --out runs/reward --learning-rate 3e-4
  heed ppo       --policy runs/sft/model --reward-model runs/reward/model --prompts prompts.jsonl --out runs/ppo --learning-rate 3e-4
  heed chat      --model runs/ppo/model

heed COMMAND --help explains a command with examples. HEED_DEBUG=1 shows where an error comes from.
`;

/** @returns the exit status: 0, 1 for a failure, 2 for wrong arguments, 130 after Ctrl-C */
export async function main(args: readonly string[]): Promise<number> {
  const log = progressLog();
  const close = () => log.close();
  process.on('exit', close); // a second Ctrl-C ends the process without returning here
  let stopping = 'stopping';
  const interrupt = onInterrupt(() => log.line(`${stopping} (press Ctrl-C again to end at once)`));
  const onCommand = (command: AnyCommand) => {
    stopping = command.stopping ?? (command.trains ? 'stopping; a run is saved first' : 'stopping');
  };
  try {
    await dispatch(args, { log, signal: interrupt.signal }, onCommand);
    return 0;
  } catch (error) {
    close();
    return explain(error);
  } finally {
    interrupt.end();
    process.off('exit', close);
  }
}

async function dispatch(
  args: readonly string[],
  context: { log: ReturnType<typeof progressLog>; signal: AbortSignal },
  onCommand: (command: AnyCommand) => void,
): Promise<void> {
  const [name, ...rest] = args;
  if (name === undefined || name === '--help' || name === '-h' || name === 'help') return writeOut(kHelp);
  if (name === '--version') return writeOut(`${version}\n`);
  const entry = Object.hasOwn(commands, name) ? commands[name] : undefined;
  if (!entry) throw new UsageError(`there is no command ${name}${suggestion(name, Object.keys(commands))}`);
  const command = await entry[1]();
  const parsed = parseArguments(command, rest);
  if (parsed.help) return writeOut(helpOf(command));

  const values = resolve(command.fields, command.sections ? [parsed.flags] : await sourcesOf(command, parsed));
  requireOptions(command, values);
  onCommand(command);
  await command.run(values, {
    ...context,
    resume: parsed.resume,
    dryRun: parsed.dryRun,
    args: rest,
    sets: parsed.sets,
  });
}

/** Sources of options, lowest priority first: the resumed run, the file, --set, flags. */
async function sourcesOf(command: AnyCommand, { config, sets, flags, resume }: Parsed): Promise<Source[]> {
  const file =
    config === undefined ? undefined : sectionOf(await readConfig(config), command.name, Object.keys(commands));
  const sources: Source[] = [];
  if (resume) {
    const { savedOptions } = await import('./training.js');
    sources.push(await savedOptions(command, flags.values.out ?? file?.out, flags.values.loraR));
  }
  if (file) sources.push({ where: config!, values: file });
  for (const assignment of sets) {
    sources.push({ where: `--set ${assignment}`, values: parseSet(command.fields, assignment, command.name) });
  }
  return [...sources, flags];
}

const kLongest = 2000; // characters of a message

function explain(error: unknown): number {
  if (error instanceof Interrupted) {
    process.stderr.write(`heed: stopped${error.advice === undefined ? '' : `; ${error.advice}`}\n`);
    return error.exitCode;
  }
  if ((error as NodeJS.ErrnoException)?.code === 'EPIPE') return 0; // the reader of a pipe has closed it
  const whole = error instanceof Error ? error.message : String(error);
  // Libraries quote what they do not understand.
  const text = whole.length > kLongest ? `${whole.slice(0, kLongest)}…` : whole;
  process.stderr.write(`heed: ${text.replaceAll('\n', ' ')}\n`);
  if (process.env.HEED_DEBUG === '1' && error instanceof Error) process.stderr.write(`${inspect(error)}\n`);
  return error instanceof UsageError ? 2 : 1;
}

process.stdout.on('error', () => {}); // the failed write reports it
process.stderr.on('error', () => {}); // keep working when nobody reads the messages
process.exitCode = 1; // of a command that ends without having finished
process.on('uncaughtException', (error) => {
  process.stderr.write(
    'heed: an error that nothing waited for, perhaps of a --reward module; a run continues from its last checkpoint with --resume\n',
  );
  process.exit(explain(error));
});
void main(process.argv.slice(2)).then((status) => {
  process.exitCode = status;
});
