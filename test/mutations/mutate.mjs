// Seeded damage to files: bytes of any format, and values within JSON.

/** Uniform numbers by mulberry32: the same for the same seed everywhere. */
export function randomOf(seed) {
  let state = seed >>> 0;
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
  const below = (n) => Math.floor(next() * n);
  return { next, below, pick: (list) => list[below(list.length)] };
}

const kNumbers = [
  0n,
  1n,
  0x7fn,
  0x80n,
  0xffffn,
  0x7fffffffn,
  0x80000000n,
  0xffffffffn,
  2n ** 53n,
  2n ** 63n - 1n,
  2n ** 64n - 1n,
];

const byteKinds = {
  flip(bytes, random) {
    const copy = Buffer.from(bytes);
    for (let i = random.below(8); i >= 0; i--) copy[random.below(copy.length)] ^= 1 << random.below(8);
    return copy;
  },
  overwrite(bytes, random) {
    const copy = Buffer.from(bytes);
    const from = random.below(copy.length);
    const to = Math.min(copy.length, from + 1 + random.below(32));
    for (let i = from; i < to; i++) copy[i] = random.below(256);
    return copy;
  },
  number(bytes, random) {
    const copy = Buffer.from(bytes);
    const value = Buffer.alloc(8);
    value.writeBigUInt64LE(random.pick(kNumbers));
    const size = random.pick([1, 2, 4, 8]);
    // Sizes and offsets are at the beginning or the end of most formats.
    const near = random.pick([8, 64, copy.length]);
    const at = random.below(Math.min(near, copy.length));
    value.copy(copy, random.below(2) === 0 ? at : Math.max(0, copy.length - 1 - at), 0, size);
    return copy;
  },
  truncate: (bytes, random) => bytes.subarray(0, random.below(bytes.length)),
  remove(bytes, random) {
    const from = random.below(bytes.length);
    return Buffer.concat([bytes.subarray(0, from), bytes.subarray(from + 1 + random.below(64))]);
  },
  repeat(bytes, random) {
    const from = random.below(bytes.length);
    const to = from + 1 + random.below(256);
    return Buffer.concat([bytes.subarray(0, to), bytes.subarray(from)]);
  },
  insert(bytes, random) {
    const at = random.below(bytes.length + 1);
    const some = Buffer.from(Array.from({ length: 1 + random.below(16) }, () => random.below(256)));
    return Buffer.concat([bytes.subarray(0, at), some, bytes.subarray(at)]);
  },
  zero(bytes, random) {
    const copy = Buffer.from(bytes);
    const from = random.below(copy.length);
    return copy.fill(random.pick([0, 0xff]), from, Math.min(copy.length, from + 1 + random.below(128)));
  },
};

/** A damaged copy of bytes, with the name of what was done. */
export function damageBytes(bytes, random) {
  const kind = random.pick(Object.keys(byteKinds));
  return { kind, bytes: byteKinds[kind](bytes, random) };
}

const kOdd = [
  null,
  true,
  false,
  0,
  -0,
  1,
  -1,
  2,
  3,
  7,
  0.5,
  255,
  256,
  65536,
  2 ** 31 - 1,
  2 ** 31,
  -(2 ** 31),
  2 ** 32,
  2 ** 53,
  1e18,
  1e308,
  -1e308,
  5e-324,
  '',
  ' ',
  'x',
  '\u0000',
  '\ud800',
  '🦉',
  'NaN',
  '__proto__',
  'constructor',
  '../../etc/passwd',
  'a'.repeat(70_000),
  '(a+)+$',
  '[',
  '{{',
  '{% for x in y %}',
  [],
  [null],
  [[]],
  [0],
  [-1],
  [1e9],
  {},
  { a: 1 },
  { type: 'x' },
  { __proto__: null },
  Array(2000).fill(0),
  nested(400),
];

function nested(depth) {
  let value = 1;
  for (let i = 0; i < depth; i++) value = i % 2 === 0 ? [value] : { a: value };
  return value;
}

/** Every place of a JSON value: its parent and key. */
function placesOf(value, found = []) {
  if (typeof value !== 'object' || value === null) return found;
  for (const key of Object.keys(value)) {
    found.push([value, key]);
    placesOf(value[key], found);
  }
  return found;
}

/** Damages a JSON value in place, as often as not near its root. @returns what was done */
export function damageJson(root, random) {
  const all = placesOf(root);
  const places = random.below(2) === 0 ? all : all.filter(([parent]) => parent === root);
  const [parent, key] = random.pick(places);
  const kind = random.pick(['replace', 'replace', 'replace', 'remove', 'rename', 'copy', 'number']);
  const value = parent[key];
  if (kind === 'remove') {
    if (Array.isArray(parent)) parent.splice(Number(key), 1);
    else delete parent[key];
  } else if (kind === 'rename' && !Array.isArray(parent)) {
    delete parent[key];
    parent[random.pick([`${key} `, key.toUpperCase(), 'x', '', '__proto__x'])] = value;
  } else if (kind === 'copy') {
    const [other, name] = random.pick(all);
    parent[key] = structuredClone(other[name]);
  } else if (kind === 'number' && typeof value === 'number') {
    parent[key] = random.pick([
      value + 1,
      value - 1,
      -value,
      value * 2,
      value / 2,
      value * 1e6,
      value + 0.5,
      10 ** random.below(20),
    ]);
  } else parent[key] = structuredClone(random.pick(kOdd));
  return `${kind} ${key}`;
}

/** JSON text with damage within its values or in its bytes. */
export function damageJsonText(bytes, random) {
  if (random.below(3) === 0) return damageBytes(bytes, random);
  const root = JSON.parse(bytes.toString());
  const kinds = [damageJson(root, random)];
  if (random.below(4) === 0 && placesOf(root).length > 0) kinds.push(damageJson(root, random));
  return { kind: kinds.join(', '), bytes: Buffer.from(JSON.stringify(root)) };
}

/** JSON Lines with damage within a row or in the bytes. */
export function damageLines(bytes, random) {
  if (random.below(2) === 0) return damageBytes(bytes, random);
  const rows = bytes.toString().trim().split('\n').map((line) => JSON.parse(line)); // biome-ignore format: one line
  const kind = damageJson(random.pick(rows), random);
  return { kind, bytes: Buffer.from(rows.map((row) => `${JSON.stringify(row)}\n`).join('')) };
}

/** A safetensors file with damage in its header, whose length is then that of the new header, or in its bytes. */
export function damageSafetensors(bytes, random) {
  if (random.below(2) === 0) return damageBytes(bytes, random);
  const length = Number(bytes.readBigUInt64LE());
  const header = damageJsonText(bytes.subarray(8, 8 + length), random);
  const size = Buffer.alloc(8);
  size.writeBigUInt64LE(BigInt(header.bytes.length));
  return { kind: `header: ${header.kind}`, bytes: Buffer.concat([size, header.bytes, bytes.subarray(8 + length)]) };
}

/** A compressed file with damage in its contents, or after compression. */
export const damageCompressed = (compress, decompress, damage) => (bytes, random) => {
  if (random.below(2) === 0) return damageBytes(bytes, random);
  const inner = damage(decompress(bytes), random);
  return { kind: `inside: ${inner.kind}`, bytes: compress(inner.bytes) };
};
