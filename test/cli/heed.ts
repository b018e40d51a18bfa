import { spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';

const program = resolve('dist/lib/cli/main.js');

export interface Ended {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface CallOptions {
  readonly cwd: string;
  readonly input?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** Interrupts the command when this text appears on standard error. */
  readonly interruptAt?: string;
  /** Closes standard output. */
  readonly closeOutput?: boolean;
  /** Closes standard error. */
  readonly closeErrors?: boolean;
}

/** Runs the command line in a child process, as a user does. */
export function heed(
  args: readonly string[],
  { cwd, input = '', env = {}, interruptAt, closeOutput = false, closeErrors = false }: CallOptions,
): Promise<Ended> {
  if (!existsSync(program)) throw new Error(`${program} is missing: npm run build`);
  return new Promise((done, failed) => {
    const child = spawn(process.execPath, [program, ...args], {
      cwd,
      env: { ...process.env, HEED_THREADS: '1', ...env },
    });
    const out = { stdout: '', stderr: '' };
    let interrupted = false;
    if (closeOutput) child.stdout.destroy();
    if (closeErrors) child.stderr.destroy();
    child.stdout.on('data', (data) => {
      out.stdout += data;
    });
    child.stderr.on('data', (data) => {
      out.stderr += data;
      if (interruptAt !== undefined && !interrupted && out.stderr.includes(interruptAt)) {
        interrupted = true;
        child.kill('SIGINT');
      }
    });
    child.on('error', failed);
    child.on('close', (status) => done({ status, ...out }));
    child.stdin.on('error', () => {}); // a command that does not read
    child.stdin.end(input);
  });
}

/** The rows of a JSON Lines text. */
export function rowsOf<Row = Record<string, unknown>>(text: string): Row[] {
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Row);
}

export function readRowsOf<Row = Record<string, unknown>>(...path: string[]): Row[] {
  return rowsOf<Row>(readFileSync(join(...path), 'utf8'));
}

const words = ['cat', 'dog', 'bird', 'fish', 'tree', 'moon'];

/** Repeating two words: a task that a tiny model learns in seconds. */
export const toy = {
  demonstrations: words.flatMap((a) => words.map((b) => ({ prompt: `Say ${a} ${b}:`, response: ` ${a} ${b}` }))),
  rankings: words.flatMap((a) =>
    words.map((b) => ({
      prompt: `Say ${a} ${b}:`,
      responses: [` ${a} ${b}`, ` ${b} ${b} ${a} ${a}`, ' no'],
      ranks: [0, 1, 1],
    })),
  ),
  documents: Array.from({ length: 60 }, (_, i) => ({
    text: Array.from({ length: 12 }, (_, j) => words[(i * 7 + j * j) % words.length]).join(' '),
  })),
};
