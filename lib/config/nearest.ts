/** The name that was probably meant, by the fewest insertions, deletions, substitutions and swaps of neighbours; undefined if none is near. */
export function nearest(name: string, names: readonly string[]): string | undefined {
  const plain = (text: string) => text.toLowerCase().replace(/[-_]/g, '');
  let best: string | undefined;
  let fewest = Math.max(2, Math.ceil(name.length / 3)) + 1;
  for (const candidate of names) {
    const distance = edits(plain(name), plain(candidate));
    if (distance < fewest) {
      fewest = distance;
      best = candidate;
    }
  }
  return best;
}

function edits(a: string, b: string): number {
  const rows: number[][] = [Array.from({ length: b.length + 1 }, (_, j) => j)];
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const change = rows[i - 1]![j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      row[j] = Math.min(rows[i - 1]![j]! + 1, row[j - 1]! + 1, change);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1])
        row[j] = Math.min(row[j]!, rows[i - 2]![j - 2]! + 1);
    }
    rows.push(row);
  }
  return rows[a.length]![b.length]!;
}

/** Renamed options: old name and new name. */
const kRenamed: Readonly<Record<string, string>> = {
  lrSchedule: 'schedule',
  valueClip: 'valueClipRange',
  ptxCoefficient: 'ptxCoef',
  pretrainMix: 'ptxCoef',
  pretrainTokens: 'ptxTokens',
  layers: 'numLayers',
  heads: 'numHeads',
  kvHeads: 'numKvHeads',
  positions: 'maxPositions',
  architecture: 'family',
};

/** The end of a message about an unknown name: `, it is now called x` or `, did you mean x?`, or nothing. */
export function suggestion(name: string, names: readonly string[]): string {
  const plain = (text: string) =>
    text
      .replace(/^--|^.*\./, '')
      .replaceAll('-', '')
      .toLowerCase();
  const renamed = Object.entries(kRenamed).find(([old]) => plain(old) === plain(name))?.[1];
  const current = renamed && names.find((candidate) => plain(candidate) === plain(renamed));
  if (current) return `, it is now called ${current}`;
  const found = nearest(name, names);
  return found === undefined ? '' : `, did you mean ${found}?`;
}
