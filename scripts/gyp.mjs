// The action of binding.gyp: compiles with CMake and copies the addon to where node-gyp expects it.
import { copyFileSync } from 'node:fs';
import { addon, buildNative } from './tools.mjs';

buildNative();
copyFileSync(addon, process.argv[2]);
console.log(`copied to ${process.argv[2]}`);
