// Results as tables: for the terminal, and in benchmarks/README.md.
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gpuTables } from './cuda/table.mjs';
import { root } from './measure.mjs';

const number = (value) => (value >= 1000 ? value.toFixed(0) : value.toPrecision(3));

function rowsOf(cases) {
  const peers = [...new Set(cases.flatMap((one) => one.peers.map(({ name }) => name)))];
  const header = ['', 'ms', 'rate', 'of the bound', ...peers.map((name) => `against ${name}`)];
  const rows = cases.map((one) => [
    one.name,
    one.ms === undefined ? '' : number(one.ms),
    `${number(one.rate)} ${one.rateUnit}`,
    `${one.percentOfBound.toFixed(0)} %${one.limitedBy === 'memory' ? ' m' : ''}`,
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

/** The machine's limits, in words. */
export const limitsToText = ({ gflops, bf16Gflops, read, threads }) =>
  `${threads} threads: peak ${gflops.toFixed(0)} GFLOP/s${bf16Gflops === undefined ? '' : `, in bf16 ${bf16Gflops.toFixed(0)}`}, read ${read.toFixed(1)} GB/s`;

function toMarkdown({ machine, limits, bounds, benchmarks }) {
  const parts = [
    `${machine.cpu}, ${machine.date}, commit ${machine.commit}, Node ${machine.node}` +
      `${machine.torch ? `, PyTorch ${machine.torch}` : ''}. ${limitsToText(limits)}.`,
  ];
  for (const [name, cases] of Object.entries(benchmarks)) {
    const [header, ...rows] = rowsOf(cases);
    const line = (cells) => `| ${cells.join(' | ')} |`;
    parts.push(
      `### ${name}`,
      [line(header), line(header.map((_, i) => (i === 0 ? '---' : '---:'))), ...rows.map(line)].join('\n'),
      `Bound: ${bounds?.[name] ?? [...new Set(cases.map(({ bound }) => bound))].join('; ')}.`,
    );
  }
  return parts.join('\n\n');
}

const BEGIN = {
  cpu: '<!-- results: npm run bench -- table -->',
  gpu: '<!-- results on a GPU: npm run bench -- table -->',
};
const END = '<!-- end of results -->';

/** The tables of benchmarks/README.md, from the files in benchmarks/results: all of CPUs, and of each GPU the last run of each kind. */
export async function updateReadme() {
  const results = join(root, 'benchmarks/results');
  const files = (await readdir(results)).filter((name) => name.endsWith('.json')).sort();
  const read = async (file) => JSON.parse(await readFile(join(results, file), 'utf8'));
  const tables = { cpu: [], gpu: [] };
  const runsOfGpu = new Map();
  for (const file of files) {
    const result = await read(file);
    const { gpu } = result.machine;
    if (file.startsWith('gpu-')) runsOfGpu.set(gpu, [...(runsOfGpu.get(gpu) ?? []), result]);
    else tables.cpu.push(toMarkdown(result));
  }
  tables.gpu = [...runsOfGpu.values()].map(gpuTables);
  const readme = join(root, 'benchmarks/README.md');
  let text = await readFile(readme, 'utf8');
  for (const kind of ['cpu', 'gpu']) {
    const begin = text.indexOf(BEGIN[kind]);
    const end = text.indexOf(END, begin);
    if (begin < 0 || end < 0) throw new Error(`${readme} has lost the lines «${BEGIN[kind]}» and «${END}»`);
    text = `${text.slice(0, begin)}${BEGIN[kind]}\n\n${tables[kind].join('\n\n')}\n\n${text.slice(end)}`;
  }
  await writeFile(readme, text);
  console.log(`${readme}: ${files.length} result file${files.length === 1 ? '' : 's'}`);
}
