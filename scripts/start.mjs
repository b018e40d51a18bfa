// `npm start`: from a fresh clone to the main job. What follows `npm start --` goes to `heed align`.
import { join } from 'node:path';
import { setUp } from './setup.mjs';
import { root, run } from './tools.mjs';

await setUp({ tests: false });
process.exit(run(process.execPath, [join(root, 'dist/lib/cli/main.js'), 'align', ...process.argv.slice(2)]));
