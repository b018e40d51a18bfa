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

export function gpuTables({ machine, ceilings, bits, gemm, decode, kernels }) {
  const equal = bits.filter((one) => one.equal).length;
  const parts = [
    `${machine.gpu}, driver ${machine.driver}, ${machine.date}, commit ${machine.commit}. Copy ` +
      `${(ceilings.copy / 1e9).toFixed(0)} GB/s, cuBLAS 8192³ ${(ceilings.product / 1e12).toFixed(0)} TFLOP/s. ` +
      `${equal} of ${bits.length} cases have the emulator's bits.`,
  ];
  if (gemm) parts.push('Products, TFLOP/s (share of cuBLAS):', products(gemm));
  if (decode) parts.push('Products of few rows, GB/s of weights (share of cuBLAS):', fewRows(decode));
  if (kernels) parts.push('Other kernels:', others(kernels));
  return parts.join('\n\n');
}
