// `npm run bench`: compiles, then runs benchmarks/run.mjs with the arguments.
import { join } from 'node:path';
import { setUp } from './setup.mjs';
import { root, run } from './tools.mjs';

await setUp({ benchmarks: true });
process.exit(run(process.execPath, [join(root, 'benchmarks/run.mjs'), ...process.argv.slice(2)]));
