/**
 * What the Jinja package does differently from Python's, by which transformers renders: `strip`, `lstrip` and `rstrip` ignore the characters
 * that they are given, `break` and `continue` lose the text before them, and values are written as in JavaScript.
 */
import { Environment, Interpreter, type Template } from '@huggingface/jinja';

/** The name of {@link strip} in a template. */
const kStrip = 'heed_strip';

/** Python's `text.strip(characters)`, `lstrip` and `rstrip`. */
function strip(text: string, characters: string, method: string): string {
  const set = new Set(characters);
  const points = Array.from(text);
  let begin = 0;
  let end = points.length;
  if (method !== 'rstrip') while (begin < end && set.has(points[begin]!)) begin++;
  if (method !== 'lstrip') while (end > begin && set.has(points[end - 1]!)) end--;
  return points.slice(begin, end).join('');
}

type Node = Record<string, unknown> & { readonly type: string };
const isNode = (value: unknown): value is Node => typeof value === 'object' && value !== null && 'type' in value;

/** Makes a template's calls of `strip` with characters calls of {@link strip}. */
export function pythonStrips(template: Template): Template {
  visit(template.parsed);
  return template;
}

function visit(value: unknown): void {
  if (Array.isArray(value)) {
    for (const inner of value) visit(inner);
  } else if (value instanceof Map) {
    for (const [key, inner] of value) visit([key, inner]);
  } else if (isNode(value)) {
    for (const inner of Object.values(value)) visit(inner);
    replace(value);
  }
}

function replace(node: Node): void {
  const { type, callee, args } = node;
  if (type !== 'CallExpression' || !isNode(callee) || callee.type !== 'MemberExpression') return;
  const { object, property, computed } = callee as Node & { property: Node };
  const method = property.value;
  if (computed || typeof method !== 'string' || !/^[lr]?strip$/.test(method)) return;
  if (!Array.isArray(args) || args.length !== 1) return;
  node.callee = { type: 'Identifier', value: kStrip };
  node.args = [object, args[0], { type: 'StringLiteral', value: method }];
}

/** A value of the package. */
interface Value {
  readonly type: string;
  value: unknown;
  toString(): string;
}

/** What of the package's interpreter is changed; its types keep all but `evaluate` to itself. */
interface Engine {
  run(program: unknown): Value;
  evaluate(node: Node, scope: Environment): Value;
  evaluateBlock(nodes: readonly Node[], scope: Environment): Value;
  evaluateFor(node: Node, scope: Environment): Value;
  evaluateBinaryExpression(node: Node, scope: Environment): Value;
}
const Base = Interpreter as unknown as new (scope: Environment) => Engine;

/** A loop that is running: what its iterations and its `else` wrote. */
interface Loop {
  readonly body: unknown;
  readonly otherwise: unknown;
  text: string;
}

class Renderer extends Base {
  readonly #loops: Loop[] = [];
  /** `break` and `continue` on their way to their loop, with the text before them in the blocks that they have left. */
  readonly #before = new WeakMap<object, string>();

  override evaluate(node: Node, scope: Environment): Value {
    if (node?.type !== 'Break' && node?.type !== 'Continue') return super.evaluate(node, scope);
    try {
      return super.evaluate(node, scope);
    } catch (control) {
      this.#before.set(control as object, '');
      throw control;
    }
  }

  override evaluateBlock(nodes: readonly Node[], scope: Environment): Value {
    const loop = this.#loops.at(-1);
    const isOfLoop = loop?.body === nodes || loop?.otherwise === nodes;
    const result = super.evaluateBlock([], scope);
    let text = '';
    try {
      for (const node of nodes) text += writtenBy(node, this.evaluate(node, scope));
    } catch (cause) {
      const before = this.#before.get(cause as object);
      if (before !== undefined) {
        this.#before.set(cause as object, text + before);
        if (isOfLoop) loop!.text += text + before;
      }
      throw cause;
    }
    if (isOfLoop) loop!.text += text;
    result.value = text;
    return result;
  }

  override evaluateFor(node: Node, scope: Environment): Value {
    const loop: Loop = { body: node.body, otherwise: node.defaultBlock, text: '' };
    this.#loops.push(loop);
    try {
      const result = super.evaluateFor(node, scope);
      result.value = loop.text;
      return result;
    } finally {
      this.#loops.pop();
    }
  }

  override evaluateBinaryExpression(node: Node, scope: Environment): Value {
    const { value: operator } = node.operator as { value?: unknown };
    if (operator !== '~') {
      const found = super.evaluateBinaryExpression(node, scope);
      // Python's remainder has the divisor's sign.
      if (operator === '%' && typeof found.value === 'number' && found.value !== 0) {
        const by = Number(this.evaluate(node.right as Node, scope).value);
        if (found.value < 0 !== by < 0) found.value += by;
      }
      return found;
    }
    const result = super.evaluateBlock([], scope);
    result.value = [node.left, node.right].map((side) => textOf(this.evaluate(side as Node, scope))).join('');
    return result;
  }
}

/** What stands in a template besides expressions has no value of its own. */
const kSilent = ['Set', 'Macro', 'Comment'];
const writtenBy = (node: Node, value: Value) => (kSilent.includes(node.type) ? '' : textOf(value));

/** A value as Python's `str` has it. */
function textOf(value: Value): string {
  switch (value.type) {
    case 'UndefinedValue':
      return '';
    case 'StringValue':
      return value.value as string;
    default:
      return representation(value);
  }
}

/** A value as Python's `repr` has it. */
function representation(value: Value): string {
  const inner = value.value;
  switch (value.type) {
    case 'NullValue':
      return 'None';
    case 'UndefinedValue':
      return 'Undefined';
    case 'BooleanValue':
      return inner === true ? 'True' : 'False';
    case 'StringValue':
      return quoted(inner as string);
    case 'ArrayValue':
      return `[${(inner as Value[]).map(representation).join(', ')}]`;
    case 'TupleValue': {
      const items = (inner as Value[]).map(representation);
      return items.length === 1 ? `(${items[0]},)` : `(${items.join(', ')})`;
    }
    case 'ObjectValue':
      return `{${Array.from(inner as Map<string, Value>, ([key, each]) => `${quoted(key)}: ${representation(each)}`).join(', ')}}`;
    default:
      return value.toString();
  }
}

const kEscapes: Readonly<Record<string, string>> = { '\\': '\\\\', '\n': '\\n', '\r': '\\r', '\t': '\\t' };

function quoted(text: string): string {
  const mark = text.includes("'") && !text.includes('"') ? '"' : "'";
  const inner = text.replace(
    /[\\\p{Cc}]/gu,
    (one) => kEscapes[one] ?? `\\x${one.charCodeAt(0).toString(16).padStart(2, '0')}`,
  );
  return mark + (mark === "'" ? inner.replaceAll("'", "\\'") : inner) + mark;
}

const pad = (value: number) => String(value).padStart(2, '0');
const named = (date: Date, options: Intl.DateTimeFormatOptions) => date.toLocaleString('en-US', options);
const kDates: Readonly<Record<string, (date: Date) => string>> = {
  Y: (date) => String(date.getFullYear()),
  y: (date) => pad(date.getFullYear() % 100),
  m: (date) => pad(date.getMonth() + 1),
  d: (date) => pad(date.getDate()),
  B: (date) => named(date, { month: 'long' }),
  b: (date) => named(date, { month: 'short' }),
  A: (date) => named(date, { weekday: 'long' }),
  a: (date) => named(date, { weekday: 'short' }),
  H: (date) => pad(date.getHours()),
  I: (date) => pad(date.getHours() % 12 || 12),
  p: (date) => (date.getHours() < 12 ? 'AM' : 'PM'),
  M: (date) => pad(date.getMinutes()),
  S: (date) => pad(date.getSeconds()),
  '%': () => '%',
};

/** Python's `strftime`, of now. @throws Error for a directive that is not implemented */
function strftimeNow(format: string, date = new Date()): string {
  return format.replace(/%(-?)(.)/gs, (directive, bare: string, letter: string) => {
    const text = Object.hasOwn(kDates, letter) ? kDates[letter]!(date) : undefined;
    if (text === undefined)
      throw new Error(`strftime_now has ${directive}, heed implements ${Object.keys(kDates).join(' ')}`);
    return bare === '' ? text : text.replace(/^0(?=.)/, '');
  });
}

function range(start: number, stop?: number, step = 1): number[] {
  const [from, to] = stop === undefined ? [0, start] : [start, stop];
  if (!Number.isInteger(step) || step === 0)
    throw new Error(`range has the step ${step}, expected a whole number other than 0`);
  return Array.from({ length: Math.max(0, Math.ceil((to - from) / step)) }, (_, i) => from + i * step);
}

const kGlobals = {
  ...{ true: true, True: true, false: false, False: false, none: null, None: null },
  range,
  strftime_now: (format: string) => strftimeNow(format),
  raise_exception: (message: string) => {
    throw new Error(message);
  },
  [kStrip]: strip,
};

/** The text of a template whose {@link pythonStrips} are made. */
export function rendered(template: Template, variables: Readonly<Record<string, unknown>>): string {
  const scope = new Environment();
  for (const [name, value] of Object.entries({ ...kGlobals, ...variables })) scope.set(name, value);
  return new Renderer(scope).run(template.parsed).value as string;
}
