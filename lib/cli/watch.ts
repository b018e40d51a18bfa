import { once } from 'node:events';
import { type Values, watchFields } from '../config/index.js';
import type { Command, Context } from './command.js';
import { writeOut } from './output.js';

export const watch: Command<typeof watchFields> = {
  name: 'watch',
  summary: 'a live page of runs: curves, answers, warnings; pause, stop and resume',
  about: `Serves a page on this machine that shows runs while they are computed, several side by side. RUN may be a folder of runs; those that
start in it later appear by themselves. --watch does the same for a training command's own run.`,
  fields: watchFields,
  required: ['runs'],
  positional: 'runs',
  examples: [
    ['one run', 'heed watch runs/ppo'],
    ['all runs of a folder', 'heed watch runs'],
    ['two runs, on another port', 'heed watch runs/ppo-a runs/ppo-b --port 9000'],
  ],
  trains: false,
  stopping: 'the page ends, the runs go on',
  async run({ runs, host, port }: Values<typeof watchFields>, { log, signal }: Context) {
    const server = await import('../watch/server.js');
    const page = await server.watch(runs!, { host, port });
    for (const url of [page.url, ...page.urls]) await writeOut(`${url}\n`);
    log.line('Ctrl-C ends this page, not the runs');
    if (!signal.aborted) await once(signal, 'abort');
    await page.close();
  },
};
