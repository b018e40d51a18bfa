import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { flag, type Values } from '../config/index.js';
import { loadAddon } from '../core/addon.js';
import { HeedError } from '../core/errors.js';
import { packageRoot } from '../core/package.js';
import { Engine } from '../runtime/engine.js';
import type { Command, Context } from './command.js';

const fields = { cuda: flag('the module for NVIDIA GPUs too (needs nvcc of the CUDA toolkit 12.8 or newer)') };

export const build: Command<typeof fields> = {
  name: 'build',
  summary: 'compile the native addon from the sources in the package',
  about:
    'For machines that no prebuilt addon fits, and for the CUDA module. Needs cmake 3.25 or newer, ninja or make, and a C++20\ncompiler, on Linux or macOS. The result is used from then on, until heed is installed again.',
  fields,
  required: [],
  examples: [
    ['where no prebuilt addon fits', 'npx heed build'],
    ['with the module for NVIDIA GPUs', 'npx heed build --cuda'],
  ],
  trains: false,
  async run({ cuda }: Values<typeof fields>, { signal, log }: Context) {
    const script = join(packageRoot ?? '.', 'scripts/build.mjs');
    if (!existsSync(script)) throw new HeedError('ERR_INTERNAL', `${script} is missing: install heed again`);
    const status = await runScript(script, cuda ? ['--cuda'] : [], signal);
    if (status !== 0) throw new HeedError('ERR_INTERNAL', 'the addon was not compiled');
    loadAddon({}); // the compiled one, even if HEED_ADDON names another
    log.line('the addon loads');
    if (cuda) log.line(await describeCuda());
  },
};

/** Whether the module that was compiled can be used on this machine, which may be another than the one it is for. */
async function describeCuda(): Promise<string> {
  try {
    const engine = await Engine.create({ device: 'cuda' });
    await engine.dispose();
    return `the CUDA module loads: ${engine.info.device}`;
  } catch (error) {
    return `the CUDA module is compiled, but cannot be used here: ${(error as Error).message}`;
  }
}

/** Runs the script with its output shown. @returns its exit status */
function runScript(script: string, args: readonly string[], signal: AbortSignal): Promise<number | null> {
  return new Promise((done, failed) => {
    const child = spawn(process.execPath, [script, ...args], { stdio: 'inherit' });
    const stop = () => child.kill();
    signal.addEventListener('abort', stop, { once: true });
    child.on('error', failed);
    child.on('close', (status) => {
      signal.removeEventListener('abort', stop);
      if (signal.aborted) failed(signal.reason);
      else done(status);
    });
  });
}
