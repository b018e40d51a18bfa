// The policy loss of PPO over stored logits, forward and backward: native op against the memory's speed, and PyTorch's.
import { Bound, runNative } from '../limits.mjs';
import { alternate, compare, threads } from '../measure.mjs';
import { hasPython, Peer } from '../peer.mjs';

const ROWS = 4096;

export async function ppoLoss({ rounds, seconds, quick }) {
  const vocabularies = quick ? [4096] : [50257, 4096];
  const peers = hasPython('torch')
    ? [
        ...Peer.both('eager PyTorch', 'ppo_loss.py', ['eager']),
        ...(quick ? [] : Peer.both('torch.compile', 'ppo_loss.py', ['compile'])),
      ]
    : [];
  try {
    const [torch] = await Promise.all(peers.map((peer) => peer.start()));
    const cases = [];
    for (const vocab of vocabularies) {
      for (const peer of peers) await peer.ask({ do: 'prepare', rows: ROWS, vocab, threads });
      const native = [];
      const observe = () => {
        const rows = runNative('ppo', ['3', process.env.HEED_CPU ?? '', String(threads), String(vocab)]);
        native.push(rows.find((row) => row.name === 'ppo policy loss with entropy'));
        return { gbPerS: native.at(-1).limits.gb_per_s };
      };
      // One read and one write of the logits, which the native program measures beside the loss. The exponentials are not
      // counted: how many multiply-adds one takes is not the machine's to say.
      const bytes = 2 * 4 * ROWS * Math.ceil(vocab / 64) * 64;
      const bound = new Bound([{ flops: 0, bytes }], { measure: observe });
      const heed = {
        run: async () => {
          bound.observe();
          return [native.at(-1).ms / 1e3];
        },
      };
      const others = peers.map((peer) => ({ run: async () => (await peer.ask({ do: 'run', seconds })).seconds }));
      const [ours, ...theirs] = await alternate([heed, ...others], rounds);
      const bestMs = Math.min(...native.map((row) => row.best_ms));
      cases.push({
        name: `${ROWS} × ${vocab}, with entropy`,
        level: native[0].level,
        ms: 1e3 * ours.median,
        bestMs,
        rate: (1e-9 * bytes) / ours.median,
        rateUnit: 'GB/s',
        ...bound.share(bestMs / 1e3),
        peers: compare(ours, peers, theirs),
      });
    }
    return { torch, cases, bound: 'a pass that reads and writes the logits once' };
  } finally {
    for (const peer of peers) peer.end();
  }
}
