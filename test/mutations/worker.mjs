// Scores damaged files one after the other, in the process of the command line, and reports what came of each to its parent.
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { faultOf } from './fault.mjs';
import { damageBytes, randomOf } from './mutate.mjs';
import { makeSubjects } from './subjects.mjs';

process.argv.splice(2, Infinity, '--version'); // the module runs its arguments when it is imported
const stderr = [];
const show = process.stderr.write.bind(process.stderr);
process.stdout.write = (_text, ...rest) => {
  if (typeof rest.at(-1) === 'function') rest.at(-1)();
  return true;
};
const { main } = await import('../../dist/lib/cli/main.js');

let subjects;
let dir;

/** The files and arguments of case `index`. */
function prepare(seed, index) {
  const random = randomOf(seed * 1_000_003 + index);
  const subject = subjects[index % subjects.length];
  const at = join(dir, `case-${index}`);
  subject.prepare(at);
  const file = join(at, subject.name);
  const isWhole = index < subjects.length; // first each file as it is
  const original = readFileSync(subject.path);
  let damage = { kind: 'none', bytes: original };
  if (!isWhole) {
    damage = subject.damage(original, random);
    if (damage.bytes.equals(original)) damage = damageBytes(original, random);
    writeFileSync(file, damage.bytes);
  }
  const out = join(at, 'out.jsonl');
  const args = ['score', ...subject.args(at), '--out', out, '--max-tokens', '256'];
  return { at, subject, isWhole, args, out, what: `${subject.label}: ${damage.kind}` };
}

async function run(seed, index) {
  const { at, subject, isWhole, args, out, what } = prepare(seed, index);
  process.send({ index, begun: what });
  stderr.length = 0;
  process.stderr.write = (text, ...rest) => {
    stderr.push(String(text));
    if (typeof rest.at(-1) === 'function') rest.at(-1)();
    return true;
  };
  let status;
  try {
    status = await main(args);
  } finally {
    process.stderr.write = show;
  }
  const text = stderr.join('').split('\n').filter((line) => line.startsWith('heed: ')).at(-1) ?? ''; // biome-ignore format: one line
  const rows = status === 0 ? readFileSync(out, 'utf8').trim().split('\n').map((line) => JSON.parse(line)) : []; // biome-ignore format: one line
  const fault = faultOf({ status, text, rows, isWhole, mayName: [at, ...subject.mayName] });
  rmSync(at, { recursive: true });
  process.send({ index, done: true, status, what, fault, text });
}

process.on('message', async ({ seed, start, from, to, step, args }) => {
  try {
    if (start !== undefined) {
      dir = start;
      mkdirSync(dir, { recursive: true });
      subjects = await makeSubjects(dir);
      process.send({ ready: subjects.length });
    } else if (args !== undefined) process.send({ args: prepare(seed, args) });
    else {
      for (let index = from; index < to; index += step) await run(seed, index);
      process.disconnect();
    }
  } catch (error) {
    show(`${error.stack}\n`);
    process.exit(3);
  }
});
