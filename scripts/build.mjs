// `npm run build:native`: compiles the addon; with --tests the native tests and benchmarks too.
import { buildNative } from './tools.mjs';

const compiled = buildNative({ tests: process.argv.includes('--tests') });
console.log(compiled ? 'compiled' : 'the addon is up to date');
