/** Documents are written sentence by sentence until they are long enough. */

/** Words and marks of a text: with the world's vocabulary nearly its number of tokens. */
export function pieces(text: string): number {
  return text.match(/[A-Za-z]+|[^\sA-Za-z]/g)?.length ?? 0;
}

/** Joins what `next` writes until the document has `limit` pieces or `next` has no more. */
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
