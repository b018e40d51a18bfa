// saver.ts DIR STEPS [DIE]: a run whose "model" is one number, saved after every step in two large files, to be killed;
// in the middle of saving step DIE it kills itself.
import { writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { RunFolder } from '../../../lib/runs/runfolder.js';

const [dir, steps, die] = process.argv.slice(2) as [string, string, string?];
const run = await RunFolder.open(dir, { resume: true, keep: 2, config: { steps } });
let model = 1;
if (run.checkpoint) {
  const [a, b] = await Promise.all(['a', 'b'].map((name) => readFile(join(run.checkpoint!.dir, name), 'utf8')));
  if (a !== b) throw new Error('a checkpoint with two halves of different steps');
  model = Number(a!.split(' ')[0]);
}
for (let step = (run.checkpoint?.step ?? 0) + 1; step <= Number(steps); step++) {
  model = (model * 48_271 + step) % 2_147_483_647;
  await run.append({ step, model });
  const state = { phase: 'sft', step, logged: step, options: {}, data: '', progress: {} };
  await run.save(state, 'none', async (folder) => {
    const text = `${model} `.repeat(20_000);
    writeFileSync(join(folder, 'a'), text);
    if (step === Number(die)) process.kill(process.pid, 'SIGKILL');
    writeFileSync(join(folder, 'b'), text);
  });
}
await run.close();
console.log(model);
