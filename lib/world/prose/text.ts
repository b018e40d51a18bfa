/** Writes documents sentence by sentence until they are long enough. */

/** Number of words and punctuation marks: with the world's vocabulary close to the number of tokens. */
export function pieces(text: string): number {
  return text.match(/[A-Za-z]+|[^\sA-Za-z]/g)?.length ?? 0;
}

/** Joins the sentences from `next` until the document has `limit` words and marks or `next` returns nothing. */
export function write(limit: number, next: (written: number) => string | undefined, separator = ' '): string {
  const parts: string[] = [];
  let length = 0;
  for (;;) {
    const part = next(parts.length);
    if (part === undefined) break;
    length += pieces(part);
    if (length > limit) break;
    parts.push(part);
  }
  return parts.join(separator);
}
