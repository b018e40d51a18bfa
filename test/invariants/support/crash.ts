// crash.ts NAME DIR FIRST LAST: runs a phase of phase.ts once, keeping what the disk holds before every file operation between the
// metrics of steps FIRST and LAST and after the last step (as kill -9 would leave it); then resumes from each of these
// states and prints, as JSON, how many there were and which did not end like an uninterrupted run.
import fs from 'node:fs';
import { join } from 'node:path';
import { watchDisk } from './disk.js';

const [name, dir, first, last] = process.argv.slice(2) as [string, string, string, string];
const killed = join(dir, 'killed');
const states = new Map<string, string>(); // state of the disk, and the folder with a copy of it
let watching = false;

/** Every file by name, with metrics without their times. */
function contents(folder: string): Record<string, string> {
  const files: Record<string, string> = {};
  for (const file of (fs.readdirSync(folder, { recursive: true }) as string[]).sort()) {
    const path = join(folder, file);
    if (fs.statSync(path).isFile()) files[file] = fs.readFileSync(path, 'base64');
  }
  const metrics = fs.readFileSync(join(folder, 'metrics.jsonl'), 'utf8');
  files['metrics.jsonl'] = metrics.replaceAll(/"(seconds|percentOfPeak)":[^,}]*/g, '');
  return files;
}

function keepState(): void {
  if (!watching || !fs.existsSync(join(killed, 'metrics.jsonl'))) return;
  const steps = fs.readFileSync(join(killed, 'metrics.jsonl'), 'utf8').split('\n').length - 1;
  if (steps < Number(first) || (steps > Number(last) && !fs.existsSync(join(killed, total)))) return;
  const names = (fs.readdirSync(killed, { recursive: true }) as string[]).map((file) => {
    const { size } = fs.statSync(join(killed, file));
    return `${file} ${size}`.replace(/tmp-\d+-[0-9a-f]+/, 'tmp');
  });
  const key = names.sort().join('\n');
  if (states.has(key)) return;
  const to = join(dir, `state-${states.size}`);
  states.set(key, to);
  fs.cpSync(killed, to, { recursive: true });
}

watchDisk(keepState);

const { RunFolder } = await import('../../../lib/runs/runfolder.js');
const { runPhase } = await import('./phase.js');
async function goOn(folder: string): Promise<Record<string, string>> {
  const run = await RunFolder.open(folder, { resume: true, config: { name } });
  await runPhase(name, run);
  await run.close();
  return contents(folder);
}

const alone = await goOn(join(dir, 'alone'));
const total = Object.keys(alone)
  .filter((file) => /^step-\d+\/state.json$/.test(file))
  .sort()
  .at(-1)!;
watching = true;
await goOn(killed);
watching = false;
const wrong: string[] = [];
for (const state of states.values()) {
  const end = JSON.stringify(await goOn(state));
  if (end !== JSON.stringify(alone)) wrong.push(state);
}
console.log(JSON.stringify({ states: states.size, wrong }));
