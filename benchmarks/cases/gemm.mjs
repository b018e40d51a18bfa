// Matrix products: native kernels against the measured peak, and PyTorch's at the same shapes.
import { alternate, compare, hasPython, Peer, runNative, threads } from '../measure.mjs';

const QUICK = ['small projection', 'large projection'];

export async function gemm({ rounds, seconds, quick }) {
  // The native program knows the shapes, checks each result, and measures the peak beside each case.
  const first = QUICK.flatMap((name) => (quick ? runNative('gemm', [name]) : [])).filter(unique);
  const shapes = (quick ? first : runNative('gemm')).filter((row) => row.threads === threads);
  const peers = hasPython('torch') ? Peer.both('PyTorch', 'gemm.py') : [];
  try {
    const [torch] = await Promise.all(peers.map((peer) => peer.start()));
    const cases = [];
    for (const { name, m, n, k, form, level } of shapes) {
      await Promise.all(peers.map((peer) => peer.ask({ do: 'prepare', name, m, n, k, form })));
      const native = [];
      const heed = {
        run: async () => {
          native.push(runNative('gemm', [name]).find((row) => row.name === name && row.threads === threads));
          return [native.at(-1).ms / 1e3];
        },
      };
      const others = peers.map((peer) => ({
        run: async () => (await peer.ask({ do: 'run', name, threads, seconds })).seconds,
      }));
      const [ours, ...theirs] = await alternate([heed, ...others], rounds);
      await Promise.all(peers.map((peer) => peer.ask({ do: 'forget', name })));
      const best = native.reduce((a, b) => (b.percent_of_peak > a.percent_of_peak ? b : a));
      cases.push({
        name: `${name} ${m} × ${n} × ${k} ${form}`,
        level,
        ms: 1e3 * ours.median,
        bestMs: Math.min(...native.map((row) => row.best_ms)),
        rate: (2e-9 * m * n * k) / ours.median,
        rateUnit: 'GFLOP/s',
        percentOfBound: best.percent_of_peak,
        bound: 'float32 peak, best round',
        peers: compare(ours, peers, theirs),
      });
    }
    return { torch, cases };
  } finally {
    for (const peer of peers) peer.end();
  }
}

const unique = (row, i, rows) =>
  rows.findIndex((other) => other.name === row.name && other.threads === row.threads) === i;
