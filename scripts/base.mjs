// npm run base -- [--out DIR] [--seed N] [--scale X] [--resume]: trains the base model shipped with heed, on generated prose.
import { parseArgs } from 'node:util';
import { trainBase } from '../dist/lib/align/base.js';
import { Engine } from '../dist/lib/index.js';

const { values } = parseArgs({
  options: {
    out: { type: 'string', default: 'runs/base' },
    seed: { type: 'string', default: '0' },
    scale: { type: 'string', default: '1' },
    resume: { type: 'boolean', default: false },
  },
});
const engine = await Engine.create({ maxTokens: 8192 });
let shown = 0;
const log = {
  line: (text) => console.log(text),
  stage: (name, total) => ({
    update(done, note = '') {
      if (Date.now() - shown < 10_000) return;
      shown = Date.now();
      console.log(`${name} ${done}/${total}, ${note}`);
    },
    end: () => console.log(`${name} done`),
  }),
};
const controller = new AbortController();
process.once('SIGINT', () => controller.abort(new Error('stopped: continue with --resume')));
try {
  await trainBase(engine, {
    out: values.out,
    seed: Number(values.seed),
    scale: Number(values.scale),
    resume: values.resume,
    signal: controller.signal,
    log,
  });
  console.log(`base model: ${values.out}/model`);
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
} finally {
  await engine.dispose();
}
