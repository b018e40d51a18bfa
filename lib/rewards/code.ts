/** A reward that runs code: JavaScript in a process of its own, without access to files and with limits of time and memory. */
import { spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { cpus } from 'node:os';
import pLimit from 'p-limit';
import { withOwnLimits } from './guard.js';
import type { TextReward } from './types.js';
import { expectedOf, needing } from './verifiers.js';

export interface CodeOptions {
  /** The field of the row with tests: JavaScript that throws if the code of the response is wrong. Default 'tests'. */
  readonly field?: string | undefined;
  /** Milliseconds that code and tests may take. Default 2000. */
  readonly timeout?: number | undefined;
  /** Megabytes of JavaScript's heap. Default 64. */
  readonly memory?: number | undefined;
}

/**
 * Whether the code of a response (its longest code fence, or all of it) passes the tests of its row, which may be asynchronous. Both are one
 * ES module, in a new process with Node's permission model, which denies files, child processes, worker threads and addons; the environment
 * is empty, and nothing in it sends signals.
 *
 * It keeps honest code in bounds and is no wall against an attack: the network is denied from Node 25 on only, memory is limited for
 * JavaScript's heap and not for buffers, and code may change what its tests use. Run heed as a user who may do little where that matters.
 */
export function passesTests({ field = 'tests', timeout = 2000, memory = 64 }: CodeOptions = {}): TextReward {
  const limit = pLimit(Math.max(1, cpus().length));
  const reward = withOwnLimits((answers, { signal }) =>
    Promise.all(
      answers.map((answer) => {
        const program = `${longestFence(answer.response)}\n;\n${expectedOf(answer, field)}\n`;
        // Only the end of the tests knows the status: a response that exits before them fails. What fails later changes it.
        const status = randomInt(50, 250);
        const ended = limit(() => statusOf(`${program};process.exitCode = ${status};\n`, { timeout, memory, signal }));
        return ended.then((found) => (found === status ? 1 : 0));
      }),
    ),
  );
  return needing(reward, (answer) => expectedOf(answer, field));
}

const longestFence = (text: string): string =>
  [...text.matchAll(/(?:```|~~~)[^\n]*\n([\s\S]*?)(?:```|~~~|$)/g)]
    .map((match) => match[1]!)
    .reduce((longest, code) => (code.length > longest.length ? code : longest), '') || text;

/** Runs before the program: takes away what reaches other processes. */
const kPrelude = `data:text/javascript,${encodeURIComponent(
  "for (const name of ['kill', '_kill', '_debugProcess', '_debugEnd', 'binding', '_linkedBinding', 'dlopen', 'abort']) delete process[name];",
)}`;

const permission = Number(process.versions.node.split('.')[0]) >= 24 ? '--permission' : '--experimental-permission';

/** The exit status of a program; null if it was killed. */
function statusOf(
  program: string,
  { timeout, memory, signal }: { timeout: number; memory: number; signal: AbortSignal | undefined },
): Promise<number | null> {
  signal?.throwIfAborted();
  return new Promise((done, failed) => {
    const child = spawn(
      process.execPath,
      [permission, '--no-warnings', `--max-old-space-size=${memory}`, '--input-type=module', '--import', kPrelude, '-'],
      { env: {}, stdio: ['pipe', 'ignore', 'ignore'], timeout, killSignal: 'SIGKILL', ...(signal ? { signal } : {}) },
    );
    child.on('error', failed);
    child.on('close', done);
    child.stdin.on('error', () => {}); // code that ends before it is read
    child.stdin.end(program);
  });
}
