import { text, type Values } from '../config/index.js';
import { writeReport } from '../report/index.js';
import type { Command, Context } from './command.js';

const fields = { run: text('run folder', 'RUN') };

export const report: Command<typeof fields> = {
  name: 'report',
  summary: 'write the report of a run again',
  about: 'Writes RUN/report.html, a single page that includes its plots, and RUN/report.json with the same numbers.',
  fields,
  required: ['run'],
  positional: 'run',
  examples: [['after a run that was stopped', 'heed report runs/ppo']],
  trains: false,
  async run({ run }: Values<typeof fields>, { log }: Context) {
    log.line(await writeReport(run!));
  },
};
