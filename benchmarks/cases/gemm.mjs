// Matrix products: native kernels against the machine's limits, and PyTorch's at the same shapes.
import { Bound, runNative } from '../limits.mjs';
import { alternate, compare, threads } from '../measure.mjs';
import { hasPython, Peer } from '../peer.mjs';

const QUICK = ['small projection', 'scalar head', 'decode 1 large'];

export async function gemm({ rounds, seconds, quick }) {
  // The native program knows the shapes, checks each result, and measures the limits beside each case.
  const shapes = runNative('gemm', ['--list']).filter(({ name }) => !quick || QUICK.includes(name));
  const peers = hasPython('torch') ? Peer.both('PyTorch', 'gemm.py') : [];
  try {
    const [torch] = await Promise.all(peers.map((peer) => peer.start()));
    const cases = [];
    for (const { name, m, n, k, form, bytes } of shapes) {
      await Promise.all(peers.map((peer) => peer.ask({ do: 'prepare', name, m, n, k, form })));
      const flops = 2 * m * n * k;
      const native = [];
      const bound = new Bound([{ flops, bytes }]);
      const heed = {
        run: async () => {
          const [row] = runNative('gemm', [name, String(threads)]);
          native.push(row);
          bound.observe([{ gflops: row.limits.gflops, gbPerS: row.limits.gb_per_s }]);
          return [row.ms / 1e3];
        },
      };
      const others = peers.map((peer) => ({
        run: async () => (await peer.ask({ do: 'run', name, threads, seconds })).seconds,
      }));
      const [ours, ...theirs] = await alternate([heed, ...others], rounds);
      await Promise.all(peers.map((peer) => peer.ask({ do: 'forget', name })));
      const bestMs = Math.min(...native.map((row) => row.best_ms));
      cases.push({
        name: `${name} ${m} × ${n} × ${k} ${form}`,
        level: native[0].level,
        ms: 1e3 * ours.median,
        bestMs,
        rate: (1e-9 * flops) / ours.median,
        rateUnit: 'GFLOP/s',
        ...bound.share(bestMs / 1e3),
        peers: compare(ours, peers, theirs),
      });
    }
    return { torch, cases, bound: 'the multiply-adds, or all three matrices once' };
  } finally {
    for (const peer of peers) peer.end();
  }
}
