/** What is wrong with the end of a command; undefined if nothing is. */
export function faultOf({ status, text, rows, isWhole, mayName }) {
  if (status === 0) {
    if (rows.length === 0) return 'no rows were written';
    const numbers = rows.flatMap((row) => [row.logprobs ?? row.scores ?? row.score]).flat(2);
    const bad = numbers.find((x) => typeof x !== 'number' || !Number.isFinite(x) || x > 1e-3);
    return bad === undefined && numbers.length > 0 ? undefined : `a result of ${bad}`;
  }
  if (isWhole) return `the whole file is refused: ${text}`;
  if (status !== 1) return `exit status ${status}: ${text}`;
  // What JavaScript says of a value that the code did not expect.
  if (
    /of (undefined|null)\b|is not a function|is not iterable|is not a constructor|Cannot (read prop|convert|mix)|\[object|Invalid (array|string) length|call stack/i.test(
      text,
    )
  )
    return `an internal message: ${text}`;
  if (!mayName.some((name) => text.includes(name))) return `a message without the file: ${text}`;
  if (text.length > 3000) return `a message of ${text.length} characters: ${text.slice(0, 200)}`;
  return undefined;
}
