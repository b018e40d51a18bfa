// Results of gpu.sh as tables for benchmarks/README.md.

const table = (header, rows) => {
  const line = (cells) => `| ${cells.join(' | ')} |`;
  return [line(header), line(header.map((_, i) => (i === 0 ? '---' : '---:'))), ...rows.map(line)].join('\n');
};
const groups = (rows, key) => {
  const found = new Map();
  for (const row of rows) found.set(key(row), [...(found.get(key(row)) ?? []), row]);
  return found;
};

/** TFLOP/s of what is picked, and its share of cuBLAS, a line for each shape. */
function products(rows) {
  const orders = ['nt', 'nn', 'tn'];
  const shape = ({ order, m, n, k }) => (order === 'tn' ? [k, m, n] : [m, n, k]).join(' × ');
  const cell = (row) =>
    row === undefined ? '' : `${row.tflops.picked.toFixed(0)} (${(row.tflops.picked / row.tflops.torch).toFixed(2)}×)`;
  const lines = [...groups(rows, shape)].map(([name, of]) => [
    name,
    ...orders.map((order) => cell(of.find((row) => row.order === order))),
  ]);
  return table(['tokens × n × k', 'NT', 'NN', 'TN'], lines);
}

/** GB/s of weights read, and its share of cuBLAS, a line for each matrix of weights. */
function fewRows(rows) {
  const all = [...new Set(rows.map(({ m }) => m))];
  const lines = [...groups(rows, ({ order, n, k }) => `${n} × ${k} ${order.toUpperCase()}`)].map(([name, of]) => [
    name,
    ...all.map((m) => {
      const row = of.find((one) => one.m === m);
      return row === undefined ? '' : `${row.gbs.picked.toFixed(0)} (${(row.gbs.picked / row.gbs.torch).toFixed(2)}×)`;
    }),
  ]);
  return table(['n × k', ...all.map((m) => `m ${m}`)], lines);
}

function others(kernels) {
  const number = (value) => (typeof value === 'number' ? value.toPrecision(3) : (value ?? ''));
  const rows = Object.values(kernels);
  const columns = [...new Set(rows.flatMap((row) => Object.keys(row)))].filter((key) => key !== 'case');
  return table(
    ['', ...columns],
    rows.map((row) => [row.case, ...columns.map((key) => number(row[key]))]),
  );
}

function models(steps) {
  const number = (value, digits) => (value ? value.toFixed(digits) : '');
  return table(
    ['case', 'tokens/s', 'TFLOP/s', 'weights read, GB/s', 'memory, GB'],
    steps.map((row) => [
      `${row.case}${row.peer === undefined ? '' : `, ${row.peer}`}`,
      row.tokens_per_s.toFixed(0),
      number(row.tflops, 1),
      number(row.gb_per_s, 0),
      (row.memory_bytes / 1e9).toFixed(1),
    ]),
  );
}

/** @param runs of one GPU, the oldest first: of each kind of measurement the last one is shown */
export function gpuTables(runs) {
  const last = (key) => runs.filter((run) => run[key] !== undefined).at(-1);
  const part = (key, title, toTable) => {
    const run = last(key);
    return run ? [`${title} (commit ${run.machine.commit}, ${run.machine.date}):`, toTable(run[key])] : [];
  };
  const { machine, ceilings } = last('ceilings');
  const bits = last('bits');
  const equal = bits.bits.filter((one) => one.equal).length;
  return [
    `${machine.gpu}, driver ${machine.driver}. Copy ${(ceilings.copy / 1e9).toFixed(0)} GB/s, cuBLAS 8192³ ` +
      `${(ceilings.product / 1e12).toFixed(0)} TFLOP/s. ${equal} of ${bits.bits.length} cases have the emulator's bits ` +
      `(commit ${bits.machine.commit}).`,
    ...part('steps', 'Whole models, bf16', models),
    ...part('gemm', 'Products, TFLOP/s (share of cuBLAS)', products),
    ...part('decode', 'Products of few rows, GB/s of weights (share of cuBLAS)', fewRows),
    ...part('kernels', 'Other kernels', others),
  ].join('\n\n');
}
