/**
 * Calls of tools in an answer's text, in the form that the templates of Hermes and Qwen write:
 * `<tool_call>{"name": NAME, "arguments": {…}}</tool_call>`.
 */
const kOpen = '<tool_call>';
const kClose = '</tool_call>';

export interface Call {
  readonly name: string;
  /** JSON. */
  readonly arguments: string;
}

/** What an answer consists of: texts and calls. */
export type Part = { readonly text: string } | { readonly call: Call };

/** Splits a growing text. What may be a call is held back until that is certain; what is none stays text. */
export class CallReader {
  #held = '';
  #hasCall = false;

  push(text: string): Part[] {
    this.#held += text;
    const parts = this.#complete();
    // The white space before a call belongs to its form.
    return [...parts, ...this.#text(this.#held.slice(0, certain(this.#held)).trimEnd().length)];
  }

  /** @returns the rest, when nothing follows */
  end(): Part[] {
    const parts = this.#complete();
    if (this.#hasCall && this.#held.trim() === '') return parts;
    return [...parts, ...this.#text(this.#held.length)];
  }

  #complete(): Part[] {
    const parts: Part[] = [];
    for (;;) {
      const open = this.#held.indexOf(kOpen);
      const close = open < 0 ? -1 : this.#held.indexOf(kClose, open);
      if (close < 0) return parts;
      const call = callOf(this.#held.slice(open + kOpen.length, close));
      const end = close + kClose.length;
      if (call) {
        parts.push(...this.#text(this.#held.slice(0, open).trimEnd().length), { call });
        this.#held = this.#held.slice(this.#held.indexOf(kClose) + kClose.length);
        this.#hasCall = true;
      } else parts.push(...this.#text(end));
    }
  }

  #text(length: number): Part[] {
    const text = this.#held.slice(0, length);
    this.#held = this.#held.slice(length);
    return text === '' ? [] : [{ text }];
  }
}

/** The texts and calls of a complete answer. */
export function partsOf(text: string): Part[] {
  const reader = new CallReader();
  return [...reader.push(text), ...reader.end()];
}

/** How much of a text cannot be the beginning of a call. */
function certain(text: string): number {
  const open = text.indexOf(kOpen);
  if (open >= 0) return open;
  for (let length = kOpen.length - 1; length > 0; length--)
    if (text.endsWith(kOpen.slice(0, length))) return text.length - length;
  return text.length;
}

function callOf(json: string): Call | undefined {
  try {
    const { name, arguments: given } = JSON.parse(json) as { name?: unknown; arguments?: unknown };
    if (typeof name === 'string' && name !== '' && typeof given === 'object' && given !== null && !Array.isArray(given))
      return { name, arguments: JSON.stringify(given) };
  } catch {
    // It is text.
  }
  return undefined;
}
