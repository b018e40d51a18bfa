// `main.mjs RUN`: what `heed align` has left in RUN, as one JSON line: its report, or, where it was cut, how far each phase came.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const run = process.argv[2];
const report = join(run, 'report.json');
if (existsSync(report)) {
  const { winRates, rewardModel, timing } = JSON.parse(readFileSync(report, 'utf8'));
  console.log(JSON.stringify({ case: 'main', complete: true, winRates, rewardModel, timing }));
} else {
  const folders = existsSync(run) ? readdirSync(run, { recursive: true }) : [];
  const phases = {};
  for (const file of folders.filter((name) => name.endsWith('metrics.jsonl'))) {
    const lines = readFileSync(join(run, file), 'utf8').split('\n').slice(0, -1); // a line that was cut has no end
    phases[file] = { steps: lines.length, last: lines.length > 0 ? JSON.parse(lines.at(-1)) : null };
  }
  console.log(JSON.stringify({ case: 'main', complete: false, phases }));
}
