// `npm start`: sets up a fresh clone and runs the main job. Arguments after `npm start --` are passed to `heed align`.
import { join } from 'node:path';
import { setUp } from './setup.mjs';
import { root, run } from './tools.mjs';

await setUp();
process.exit(run(process.execPath, [join(root, 'dist/lib/cli/main.js'), 'align', ...process.argv.slice(2)]));
