// The policy loss of PPO over stored logits, forward and backward: native op against the memory's speed, and PyTorch's.
import { alternate, compare, hasPython, Peer, runNative, threads } from '../measure.mjs';

const ROWS = 4096;

export async function ppoLoss({ rounds, seconds, quick }) {
  const vocabularies = quick ? [4096] : [50257, 4096];
  const peers = hasPython('torch')
    ? [
        ...Peer.both('eager PyTorch', 'ppo_loss.py', ['eager']),
        ...Peer.both('torch.compile', 'ppo_loss.py', ['compile']),
      ]
    : [];
  try {
    const [torch] = await Promise.all(peers.map((peer) => peer.start()));
    const cases = [];
    for (const vocab of vocabularies) {
      for (const peer of peers) await peer.ask({ do: 'prepare', rows: ROWS, vocab, threads });
      const native = [];
      const heed = {
        run: async () => {
          const rows = runNative('ppo', ['3', process.env.HEED_CPU ?? '', String(threads)]);
          native.push(rows.find((row) => row.name === 'ppo policy loss with entropy' && row.vocab === vocab));
          return [native.at(-1).ms / 1e3];
        },
      };
      const others = peers.map((peer) => ({ run: async () => (await peer.ask({ do: 'run', seconds })).seconds }));
      const [ours, ...theirs] = await alternate([heed, ...others], rounds);
      const best = native.reduce((a, b) => (b.percent_of_read_write > a.percent_of_read_write ? b : a));
      cases.push({
        name: `${ROWS} × ${vocab}, with entropy`,
        level: best.level,
        ms: 1e3 * ours.median,
        bestMs: Math.min(...native.map((row) => row.best_ms)),
        rate: best.gb_per_s,
        rateUnit: 'GB/s',
        percentOfBound: best.percent_of_read_write,
        bound: 'a pass that reads and writes the logits once',
        peers: compare(ours, peers, theirs),
      });
    }
    return { torch, cases };
  } finally {
    for (const peer of peers) peer.end();
  }
}
