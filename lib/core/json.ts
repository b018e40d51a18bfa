import { readFile } from 'node:fs/promises';
import { DataError, HeedError } from './errors.js';
import { refuseForeign } from './foreign.js';

/** @throws DataError when it is not valid JSON; HeedError ERR_IO */
export async function readJsonFile(file: string): Promise<unknown> {
  const bytes = await readFile(file).catch((cause: Error) => {
    throw new HeedError('ERR_IO', `cannot read ${file}: ${cause.message}`, { cause });
  });
  return parseJsonFile(bytes, file);
}

/** @throws DataError when it is not valid JSON */
export function parseJsonFile(bytes: Buffer, file: string): unknown {
  try {
    return JSON.parse(bytes.toString('utf8'));
  } catch (cause) {
    refuseForeign(bytes, file, 'JSON');
    throw new DataError(`is not valid JSON: ${printable((cause as Error).message)}`, { file }, { cause });
  }
}

/** Replaces control characters, since JSON.parse's messages quote the text and are shown on a terminal. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are intended
export const printable = (message: string) => message.replace(/[\u0000-\u001f\u007f-\u009f]/g, '\ufffd');

/** A value as JSON for a message, shortened if it is long. */
export function shown(value: unknown): string {
  const text = JSON.stringify(value) ?? 'missing';
  return text.length > 80 ? `${text.slice(0, 77)}...` : text;
}

/** Whether a value is an object with keys: not null, not an array. */
export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

const kMost = 2 ** 24;

/** Typed access to a JSON object read from a file; null counts as absent. Messages name the file and the key. */
export class JsonObject {
  readonly #object: Readonly<Record<string, unknown>>;
  readonly #file: string;
  readonly #prefix: string;
  readonly #asked = new Set<string>();

  constructor(json: unknown, file: string, prefix = '') {
    this.#file = file;
    this.#prefix = prefix;
    if (!isObject(json)) {
      const place = prefix === '' ? {} : { field: prefix.slice(0, -1) };
      throw new DataError('is not a JSON object', { file, ...place });
    }
    this.#object = json;
  }

  fail(key: string, message: string): never {
    throw new DataError(message, { file: this.#file, field: this.#prefix + key });
  }
  keys(): string[] {
    return Object.keys(this.#object);
  }
  /** Keys that were not read. */
  unread(): string[] {
    return this.keys().filter((key) => !this.#asked.has(key));
  }
  /** Whether the key is present, even if it is null. */
  has(key: string): boolean {
    return Object.hasOwn(this.#object, key);
  }
  /** Absent, null, or an empty array or object. */
  isEmpty(key: string): boolean {
    const value = this.get(key) ?? null;
    return value === null || (typeof value === 'object' && Object.keys(value).length === 0);
  }
  get(key: string): unknown {
    this.#asked.add(key);
    return Object.hasOwn(this.#object, key) ? (this.#object[key] ?? undefined) : undefined;
  }
  object(key: string): JsonObject {
    return new JsonObject(this.get(key), this.#file, `${this.#prefix}${key}.`);
  }
  requireOneOf(key: string, allowed: readonly unknown[]): void {
    const value = this.get(key);
    if (this.isEmpty(key) || allowed.includes(value)) return;
    this.fail(key, `is ${shown(value)}, heed implements only ${JSON.stringify(allowed[0])}`);
  }
  oneOf<const T extends string>(key: string, values: readonly T[], fallback?: T): T {
    const value = this.get(key) ?? fallback;
    if (values.includes(value as T)) return value as T;
    const listed = `${values.slice(0, -1).join(', ')} and ${values.at(-1)}`;
    return this.fail(key, `is ${shown(value)}, heed implements ${listed}`);
  }
  number(key: string, fallback?: number): number {
    const value = this.get(key) ?? fallback;
    if (typeof value !== 'number' || !Number.isFinite(value))
      return this.fail(key, `is ${shown(value)}, expected a number`);
    return value;
  }
  /** @param most what no file exceeds that is not damaged: sizes are counted through before native code sees them */
  positiveInteger(key: string, fallback: number, most = kMost): number {
    const value = this.number(key, fallback);
    if (this.get(key) !== undefined && !(Number.isSafeInteger(value) && value > 0)) {
      this.fail(key, `is ${value}, expected a whole number above 0`);
    }
    if (value > most) this.fail(key, `is ${value}, expected at most ${most}`);
    return value;
  }
  nonNegativeInteger(key: string, fallback: number): number {
    const value = this.number(key, fallback);
    if (!(Number.isSafeInteger(value) && value >= 0)) this.fail(key, `is ${value}, expected a whole number`);
    return value;
  }
  id(key: string): number | undefined {
    const value = this.get(key);
    if (value === undefined) return undefined;
    if (!Number.isSafeInteger(value)) this.fail(key, `is ${shown(value)}, expected a token id`);
    return (value as number) < 0 ? undefined : (value as number); // some files write -1 for none
  }
  boolean(key: string, fallback: boolean): boolean {
    const value = this.get(key) ?? fallback;
    if (typeof value !== 'boolean') return this.fail(key, `is ${shown(value)}, expected true or false`);
    return value;
  }
}
