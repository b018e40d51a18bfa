/** What the Jinja package does differently from Python: `strip`, `lstrip` and `rstrip` ignore the characters that they are given. */
import type { Template } from '@huggingface/jinja';

/** The name of {@link strip} in a template. */
export const kStrip = 'heed_strip';

/** Python's `text.strip(characters)`, `lstrip` and `rstrip`. */
export function strip(text: string, characters: string, method: string): string {
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

/** Makes a template's calls of `strip` with characters calls of {@link strip}, which it must be rendered with. */
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
