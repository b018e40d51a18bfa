// `npm run build:native` and `npx heed build`: compiles the addon; with --tests the native tests and benchmarks too, with --cuda the
// module for NVIDIA GPUs.
import { parseArgs } from 'node:util';
import { addon, buildNative, cudaModule } from './tools.mjs';

const { values } = parseArgs({ options: { tests: { type: 'boolean' }, cuda: { type: 'boolean' } } });
const compiled = buildNative({ tests: values.tests === true, cuda: values.cuda === true });
const made = values.cuda ? `${addon} and ${cudaModule}` : addon;
console.log(compiled ? `compiled ${made}` : 'the addon is up to date');
