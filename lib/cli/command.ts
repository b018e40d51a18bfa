/** Commands: their definition, the parsing of their arguments, and their help. */

import { type Fields, flagOf, parseText, type Source, UsageError, type Values } from '../config/index.js';
import { suggestion } from '../config/nearest.js';
import type { EngineOptions } from '../runtime/engine.js';
import type { ProgressLog } from './progress.js';

/** Passed to every command besides its options. */
export interface Context {
  /** Aborted by Ctrl-C and SIGTERM. */
  readonly signal: AbortSignal;
  readonly log: ProgressLog;
  /** Resume the run in `--out`. */
  readonly resume: boolean;
  /** Print the plan and exit. */
  readonly dryRun: boolean;
  /** The arguments after the command, as typed. */
  readonly args: readonly string[];
  /** The values of --set, for a command with sections. */
  readonly sets: readonly string[];
}

export interface Command<F extends Fields> {
  readonly name: string;
  /** One line, in the list of commands. */
  readonly summary: string;
  /** A few lines above the options. */
  readonly about: string;
  readonly fields: F;
  /** Required options. */
  readonly required: readonly (keyof F & string)[];
  /** An option that may be given without its flag: `heed report RUN`. */
  readonly positional?: keyof F & string;
  /** Examples: purpose and command. */
  readonly examples: readonly (readonly [string, string])[];
  /** Whether it writes a run folder, and so has `--resume` and `--dry-run`. */
  readonly trains: boolean;
  /** What Ctrl-C makes it do, for the person who pressed it. Default: a run is saved, if the command trains. */
  readonly stopping?: string;
  /** Its configuration has sections: it reads CONFIG and --set itself. */
  readonly sections?: boolean;
  run(values: Values<F>, context: Context): Promise<void>;
}

/** The device of a command, and the number format. */
export type Machine = Pick<EngineOptions, 'device' | 'dtype' | 'threads'>;

/** The engine's options among those of a command. */
export function machineOf({ device, dtype, threads }: Machine): Machine {
  return { device, dtype, threads };
}

/** A command with any options. */
// biome-ignore lint/suspicious/noExplicitAny: a command with any table of options
export type AnyCommand = Command<any>;

/** Options common to all commands. */
export interface Parsed {
  readonly flags: Source;
  readonly config: string | undefined;
  readonly sets: readonly string[];
  readonly resume: boolean;
  readonly dryRun: boolean;
  readonly help: boolean;
}

const kMeta = ['config', 'set', 'resume', 'dryRun', 'help'];

/**
 * Parses a command's arguments: `--flag value`, `--flag=value`, `--switch`, `--no-switch`. An option for several values takes all up to
 * the next flag (only one if they are texts) and may be repeated. If an option for one value is repeated, the last one counts.
 *
 * @throws UsageError naming the argument
 */
export function parseArguments(command: AnyCommand, args: readonly string[]): Parsed {
  const values: Record<string, unknown> = {};
  const sets: string[] = [];
  let config: string | undefined;
  const switches = { resume: false, dryRun: false, help: false };
  const keys = new Map(
    [
      ...Object.keys(command.fields),
      ...kMeta.filter((key) => command.trains || (key !== 'resume' && key !== 'dryRun')),
    ].map((key) => [flagOf(key), key]),
  );

  for (let i = 0; i < args.length; i++) {
    const argument = args[i]!;
    if (!argument.startsWith('--') || argument === '--') {
      if (argument === '-h') switches.help = true;
      else if (command.positional && !argument.startsWith('-') && command.fields[command.positional]?.kind === 'list')
        values[command.positional] = [...((values[command.positional] as string[] | undefined) ?? []), argument];
      else if (command.positional && values[command.positional] === undefined && !argument.startsWith('-'))
        values[command.positional] = argument;
      else throw new UsageError(`unexpected argument ${argument}; heed ${command.name} --help lists the options`);
      continue;
    }
    const equals = argument.indexOf('=');
    const name = equals < 0 ? argument : argument.slice(0, equals);
    const negated =
      name.startsWith('--no-') && command.fields[keys.get(name.replace('--no-', '--')) ?? '']?.kind === 'switch';
    const key = keys.get(negated ? name.replace('--no-', '--') : name);
    if (key === undefined) throw new UsageError(`there is no option ${name}${suggestion(name, [...keys.keys()])}`);
    const next = (): string => {
      const value = equals >= 0 ? argument.slice(equals + 1) : args[++i];
      if (value === undefined || (equals < 0 && value.startsWith('--')))
        throw new UsageError(
          `${name} needs a value${value === undefined ? '' : `; write a value that begins with -- as ${name}=${value}`}`,
        );
      return value;
    };
    const field = command.fields[key];
    if (key === 'config' && !field) config = next();
    else if (key === 'set') sets.push(next());
    else if (!field || field.kind === 'switch') {
      if (equals >= 0) throw new UsageError(`${name} takes no value`);
      if (field) values[key] = !negated;
      else switches[key as keyof typeof switches] = true;
    } else if (field.kind === 'list' || field.kind === 'numbers') {
      const several = [next()];
      while (equals < 0 && i + 1 < args.length && !args[i + 1]!.startsWith('--')) several.push(args[++i]!);
      if (field.kind === 'numbers') values[key] = parseText(field, several.join());
      else values[key] = [...((values[key] as string[] | undefined) ?? []), ...several];
    } else if (field.kind === 'texts') {
      values[key] = [...((values[key] as string[] | undefined) ?? []), next()];
    } else values[key] = parseText(field, next());
  }
  return { flags: { where: `heed ${command.name}`, values, nameOf: flagOf }, config, sets, ...switches };
}

/** @throws UsageError naming the first option that is missing */
export function requireOptions(command: AnyCommand, values: Values<Fields>): void {
  for (const key of command.required) {
    if (values[key] !== undefined) continue;
    const shown =
      key === command.positional ? command.fields[key]!.value : `${flagOf(key)} ${command.fields[key]!.value}`;
    throw new UsageError(`heed ${command.name} needs ${shown}: ${command.fields[key]!.help}`);
  }
}

/** A command's help: usage, description, examples, options with their defaults. */
export function helpOf(command: AnyCommand): string {
  const required = command.required.map((key: string) =>
    key === command.positional ? command.fields[key]!.value : `${flagOf(key)} ${command.fields[key]!.value}`,
  );
  const rows = Object.entries(command.fields as Fields).map(([key, field]): [string, string] => {
    const isOn = field.kind === 'switch' && field.default === true;
    const flag = isOn ? flagOf(key).replace('--', '--no-') : flagOf(key);
    const shown =
      field.default === undefined || field.kind === 'switch' ? '' : ` [${[field.default].flat().map(plain).join(',')}]`;
    return [key === command.positional ? field.value : `${flag} ${field.value}`.trim(), `${field.help}${shown}`];
  });
  if (command.sections) {
    rows.push(['--set KEY=VALUE', 'set one option of CONFIG, as ppo.learningRate=0']);
  } else {
    rows.push([
      '--config FILE',
      'options from YAML or JSON, such as learningRate for --learning-rate; flags override them',
    ]);
    rows.push(['--set KEY=VALUE', 'set one option by its name in the file']);
  }
  if (command.trains) {
    rows.push(['--resume', 'continue the run in --out where it was stopped, with its options']);
    const what = command.sections ? 'the configuration' : 'the plan, the tokens and the memory';
    rows.push(['--dry-run', `print ${what}, and exit`]);
  }
  rows.push(['--help', 'this']);
  const width = Math.min(30, Math.max(...rows.map(([flag]) => flag.length)));
  return [
    `heed ${command.name}: ${command.summary}`,
    '',
    `  heed ${[command.name, ...required].join(' ')} [options]`,
    '',
    ...command.about.split('\n'),
    '',
    'Examples:',
    ...command.examples.flatMap(([what, line]) => [`  # ${what}`, `  ${line}`]),
    '',
    'Options:',
    ...rows.flatMap(([flag, help]) =>
      flag.length > width ? [`  ${flag}`, `  ${' '.repeat(width)}  ${help}`] : [`  ${flag.padEnd(width)}  ${help}`],
    ),
    '',
  ].join('\n');
}

const plain = (value: unknown) =>
  typeof value === 'number' && value > 0 && value < 1e-3 ? value.toExponential() : String(value);
