// Matrix products: native kernels against the measured peak, and PyTorch's at the same shapes.
import { alternate, compare, hasPython, measureLimits, Peer, runNative, threads } from '../measure.mjs';

// Beyond the caches of most machines: a few rows times such a matrix take as long as reading it.
const LARGE_BYTES = 64e6;
const QUICK = ['small projection', 'large projection'];

export async function gemm({ rounds, seconds, quick }) {
  // The native program knows the shapes, checks each result, and measures the peak beside each case.
  const shapes = runNative('gemm', ['--list']).filter(({ name }) => !quick || QUICK.includes(name));
  const peers = hasPython('torch') ? Peer.both('PyTorch', 'gemm.py') : [];
  try {
    const [torch] = await Promise.all(peers.map((peer) => peer.start()));
    const cases = [];
    for (const { name, m, n, k, form } of shapes) {
      await Promise.all(peers.map((peer) => peer.ask({ do: 'prepare', name, m, n, k, form })));
      const native = [];
      const heed = {
        run: async () => {
          native.push(runNative('gemm', [name, String(threads)])[0]);
          return [native.at(-1).ms / 1e3];
        },
      };
      const others = peers.map((peer) => ({
        run: async () => (await peer.ask({ do: 'run', name, threads, seconds })).seconds,
      }));
      const [ours, ...theirs] = await alternate([heed, ...others], rounds);
      await Promise.all(peers.map((peer) => peer.ask({ do: 'forget', name })));
      const best = native.reduce((a, b) => (b.percent_of_peak > a.percent_of_peak ? b : a));
      const isRead = best.gb_per_s !== undefined && 4 * n * k > LARGE_BYTES;
      const percentOfRead = isRead ? (100 * best.gb_per_s) / measureLimits().read : 0;
      cases.push({
        name: `${name} ${m} × ${n} × ${k} ${form}`,
        level: best.level,
        ms: 1e3 * ours.median,
        bestMs: Math.min(...native.map((row) => row.best_ms)),
        rate: (2e-9 * m * n * k) / ours.median,
        rateUnit: 'GFLOP/s',
        percentOfBound: Math.max(best.percent_of_peak, percentOfRead),
        bound: 'float32 peak, best round; for a few rows times a matrix beyond the caches, reading that',
        peers: compare(ours, peers, theirs),
      });
    }
    return { torch, cases };
  } finally {
    for (const peer of peers) peer.end();
  }
}
