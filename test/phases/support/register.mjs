// For child processes of tests: `node --import REGISTER script.ts` runs the sources as jest does.
import { register } from 'node:module';

register(new URL('./loader.mjs', import.meta.url));
