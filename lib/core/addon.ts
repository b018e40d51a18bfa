/** Finds and loads the native addon: the one compiled on this machine, otherwise the prebuilt one for its platform. */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join, resolve } from 'node:path';
import { HeedError } from './errors.js';
import { describeMachine, type Machine, machine, tagOf } from './machine.js';
import { packageRoot } from './package.js';

/** The file heed.json, which `scripts/prebuilds.mjs` writes beside each prebuilt addon. */
export interface PrebuildRecord {
  readonly bytes: number;
  /** What the addon requires: `glibc 2.28`. */
  readonly needs?: string;
}

interface Candidate {
  readonly path: string;
  readonly record?: PrebuildRecord | undefined;
  /** No record confirms that this is the file that was built and tested: loading it may crash. */
  readonly isUnknown: boolean;
}

/** @throws HeedError that names the files looked for, why each does not load, and what to do */
export function loadAddon(env: NodeJS.ProcessEnv = process.env, root: string | null = packageRoot ?? null): unknown {
  const here = machine();
  const named = env.HEED_ADDON;
  if (!named && root === null) {
    throw failure(here, [
      'heed was bundled without its native addon: keep it external (`esbuild --external:heed --external:tokenizers`, or the same option of another bundler), or name the file heed.node in HEED_ADDON',
    ]);
  }
  const reasons: string[] = [];
  for (const candidate of named ? [theNamed(named)] : candidates(root!, here)) {
    try {
      return load(candidate);
    } catch (cause) {
      reasons.push(`${candidate.path} ${(cause as Error).message}`);
    }
  }
  if (named) throw failure(here, [`HEED_ADDON is ${named}, but ${reasons[0]}`]);
  throw failure(here, [...reasons, remedy(here, root!)]);
}

/** What to do on a machine where no addon loads. */
export function remedy({ platform, arch }: Machine, root: string): string {
  if (platform === 'win32') {
    const first = arch === 'x64' ? 'install heed again' : 'use the x64 build of Node';
    return `heed cannot be compiled on Windows: ${first}, or use Linux under WSL`;
  }
  const command = existsSync(join(root, 'tsconfig.json')) ? 'npm run build' : 'npx heed build';
  return `\`${command}\` compiles it (with cmake and a C++20 compiler)`;
}

const failure = (here: Machine, sentences: readonly string[]) =>
  new HeedError(
    'ERR_INTERNAL',
    `the native addon cannot be loaded on ${describeMachine(here)}: ${sentences.join('; ')}`,
  );

const theNamed = (path: string): Candidate => ({ path: resolve(path), isUnknown: false });

/** Files to try, in order of preference. */
function candidates(root: string, here: Machine): Candidate[] {
  const compiled = join(root, 'cmake-build/Release/heed.node');
  const prebuilt = join(root, 'prebuilds', tagOf(here), 'heed.node');
  const record = readRecord(prebuilt);
  const isUnknown = record === undefined || !existsSync(prebuilt) || statSync(prebuilt).size !== record.bytes;
  return [
    { path: compiled, isUnknown: false },
    { path: prebuilt, record, isUnknown },
  ];
}

function readRecord(addon: string): PrebuildRecord | undefined {
  try {
    return JSON.parse(readFileSync(join(addon, '../heed.json'), 'utf8')) as PrebuildRecord;
  } catch {
    return undefined;
  }
}

/** @throws Error whose message completes a sentence that begins with the file's name */
function load({ path, record, isUnknown }: Candidate): unknown {
  if (!existsSync(path)) throw new Error('does not exist');
  if (isUnknown) refuseIfCrashing(path);
  try {
    return createRequire(import.meta.url ?? path)(path);
  } catch (cause) {
    const why = (cause as Error).message.split('\n')[0]!;
    const needed = /GLIBC(?:XX)?_[\d.]+(?=' not found)/.exec(why)?.[0].replace('_', ' ');
    if (needed !== undefined) throw new Error(`needs ${record?.needs ?? needed}`, { cause });
    throw new Error(`does not load: ${why.replaceAll(path, 'it')}`, { cause });
  }
}

/** Loads it in a child process first: an addon that is damaged or built for another machine can crash the process. */
function refuseIfCrashing(path: string): void {
  const env = { ...process.env, NODE_OPTIONS: '', ELECTRON_RUN_AS_NODE: '1' };
  const program = 'process.dlopen({ exports: {} }, process.argv[1])';
  let signal: NodeJS.Signals | null = null;
  try {
    ({ signal } = spawnSync(process.execPath, ['-e', program, path], { stdio: 'ignore', timeout: 30_000, env }));
  } catch {
    // this process may not start others: load without the check
  }
  if (signal) throw new Error(`crashes Node (${signal})`);
}
