// Peers: programs that compute the same, running and waiting to be asked.
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { progress, threads } from './measure.mjs';

const python = process.env.HEED_PYTHON ?? 'python3';

/** Whether there is a Python with these modules. */
export function hasPython(...modules) {
  return spawnSync(python, ['-c', `import ${modules.join(', ')}`], { stdio: 'ignore' }).status === 0;
}

const llama = join(import.meta.dirname, 'llama');
const llamaPackage = join(llama, 'node_modules/node-llama-cpp');

/** The peer that runs node-llama-cpp, or none: [spec] or []. Where it is not installed or does not load, a line says so. */
export function llamaCpp(name, args) {
  if (!existsSync(llamaPackage)) {
    console.log(
      'node-llama-cpp is not installed (npm install --prefix benchmarks/llama --ignore-scripts --no-package-lock): left out',
    );
    return [];
  }
  const load = `import('node-llama-cpp').then(({ getLlama }) => getLlama({ gpu: false, build: 'never', logLevel: 'error' })).then(() => process.exit(0))`;
  const { status, stderr } = spawnSync(process.execPath, ['-e', load], {
    cwd: llama,
    encoding: 'utf8',
    timeout: 60_000,
  });
  if (status !== 0) {
    console.log(`node-llama-cpp does not load: left out\n${stderr.slice(-500)}`);
    return [];
  }
  return [{ name, script: join(llama, 'serve.mjs'), args }];
}

/** A baseline of benchmarks/baselines or of llama, which answers one line of JSON for each that it is sent. */
export class Peer {
  #child;
  #lines;
  #errors = '';

  constructor(name, script, args, { hugePages }) {
    this.name = name;
    this.hugePages = hugePages;
    const command = script.endsWith('.mjs') ? process.execPath : python;
    this.#child = spawn(command, [resolve(import.meta.dirname, 'baselines', script), ...args], {
      // PyTorch's large tensors fault page by page unless this is on; which is faster is measured, not assumed.
      env: {
        ...process.env,
        THP_MEM_ALLOC_ENABLE: hugePages ? '1' : '0',
        HF_HUB_OFFLINE: '1',
        OMP_NUM_THREADS: String(threads),
      },
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    this.#child.stderr.on('data', (text) => {
      this.#errors = (this.#errors + text).slice(-4000);
    });
    this.#child.stdin.on('error', () => {}); // its end shows in the answers
    this.#lines = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]();
  }

  /** Both ways to run a baseline. */
  static both(name, script, args = []) {
    return [false, true].map((hugePages) => new Peer(name, script, args, { hugePages }));
  }

  async start() {
    const { torch } = await this.#answer();
    return torch;
  }

  async ask(request) {
    this.#child.stdin.write(`${JSON.stringify(request)}\n`);
    return this.#answer();
  }

  async #answer() {
    const { value, done } = await this.#lines.next();
    if (done) throw new Error(`${this.name} ended:\n${this.#errors}`);
    const answer = JSON.parse(value);
    if (answer.error) throw new Error(`${this.name}: ${answer.error}`);
    return answer;
  }

  /** Ends it; its memory is free then. */
  async end() {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const exit = once(this.#child, 'exit');
    this.#child.stdin.end();
    await exit;
  }
}

/**
 * Starts baselines and makes them ready.
 *
 * @param specs { name, script, args } of each
 * @param isLarge memory does not hold both ways of each: the slower in one call is ended before the rounds
 * @param prepare (peer) => Promise: prepares it and checks its results
 */
export async function startPeers(specs, isLarge, prepare) {
  const peers = [];
  let torch;
  const start = async (spec, hugePages) => {
    progress(`${spec.name}${hugePages ? ' with huge pages' : ''}: getting ready, and checking its results`);
    const peer = new Peer(spec.name, spec.script, spec.args, { hugePages });
    try {
      torch = (await peer.start()) ?? torch;
      await prepare(peer);
      return peer;
    } catch (error) {
      await peer.end();
      throw error;
    }
  };
  try {
    for (const spec of specs) {
      if (!isLarge || spec.script.endsWith('.mjs')) {
        const ways = spec.script.endsWith('.mjs') ? [false] : [false, true]; // the variable is PyTorch's
        for (const hugePages of ways) peers.push(await start(spec, hugePages));
        continue;
      }
      const ways = [];
      for (const hugePages of [false, true]) {
        const peer = await start(spec, hugePages);
        const { seconds } = await peer.ask({ do: 'run', seconds: 0 });
        await peer.end();
        ways.push({ hugePages, seconds: Math.min(...seconds) });
      }
      peers.push(await start(spec, ways[1].seconds < ways[0].seconds));
    }
    return { peers, torch };
  } catch (error) {
    for (const peer of peers) await peer.end();
    throw error;
  }
}
