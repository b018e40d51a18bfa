// Results as tables: for the terminal, and in benchmarks/README.md.
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { root } from './measure.mjs';

const number = (value) => (value >= 1000 ? value.toFixed(0) : value.toPrecision(3));

function rowsOf(cases) {
  const peers = [...new Set(cases.flatMap((one) => one.peers.map(({ name }) => name)))];
  const header = ['', 'ms', 'rate', 'of the bound', ...peers.map((name) => `against ${name}`)];
  const rows = cases.map((one) => [
    one.name,
    number(one.ms),
    `${number(one.rate)} ${one.rateUnit}`,
    `${one.percentOfBound.toFixed(0)} %`,
    ...peers.map((name) => {
      const peer = one.peers.find((candidate) => candidate.name === name);
      return peer ? `${peer.ratio.toFixed(2)}×` : '';
    }),
  ]);
  return [header, ...rows];
}

/** Columns aligned with spaces. */
export function toText(cases) {
  const rows = rowsOf(cases);
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)));
  return rows
    .map((row) => row.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]) : cell.padStart(widths[i]))).join('  '))
    .join('\n');
}

function toMarkdown({ machine, limits, benchmarks }) {
  const parts = [
    `${machine.cpu}, ${machine.threads} threads, ${machine.date}, commit ${machine.commit}, Node ${machine.node}` +
      `${machine.torch ? `, PyTorch ${machine.torch}` : ''}. Peak ${limits.gflops.toFixed(0)} GFLOP/s, ` +
      `read ${limits.read.toFixed(1)} GB/s, triad ${limits.triad.toFixed(1)} GB/s.`,
  ];
  for (const [name, cases] of Object.entries(benchmarks)) {
    const [header, ...rows] = rowsOf(cases);
    const line = (cells) => `| ${cells.join(' | ')} |`;
    const bounds = [...new Set(cases.map(({ bound }) => bound))].join('; ');
    parts.push(
      `### ${name}`,
      [line(header), line(header.map((_, i) => (i === 0 ? '---' : '---:'))), ...rows.map(line)].join('\n'),
      `Bound: ${bounds}.`,
    );
  }
  return parts.join('\n\n');
}

const [BEGIN, END] = ['<!-- results: npm run bench -- table -->', '<!-- end of results -->'];

/** The tables of benchmarks/README.md, from the files in benchmarks/results. */
export async function updateReadme() {
  const results = join(root, 'benchmarks/results');
  const files = (await readdir(results)).filter((name) => name.endsWith('.json')).sort();
  const tables = [];
  for (const file of files) tables.push(toMarkdown(JSON.parse(await readFile(join(results, file), 'utf8'))));
  const readme = join(root, 'benchmarks/README.md');
  const text = await readFile(readme, 'utf8');
  const [begin, end] = [text.indexOf(BEGIN), text.indexOf(END)];
  if (begin < 0 || end < begin) throw new Error(`${readme} has lost the lines «${BEGIN}» and «${END}»`);
  await writeFile(readme, `${text.slice(0, begin)}${BEGIN}\n\n${tables.join('\n\n')}\n\n${text.slice(end)}`);
  console.log(`${readme}: ${files.length} result file${files.length === 1 ? '' : 's'}`);
}
