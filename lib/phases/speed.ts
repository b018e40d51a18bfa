/** How close a step comes to what the device can do at most. */
import type { Engine } from '../runtime/engine.js';

/** What is used of an engine. */
export type Device = Pick<Engine, 'peakFlops'> & { usage(): { readonly multiplyAdds: number } };

/** Percent of the device's peak, for the steps of one run. */
export class Speed {
  readonly #engine: Device;
  #peak = 0;

  constructor(engine: Device) {
    this.#engine = engine;
  }

  /**
   * Calls `work`. Its multiply-adds over its time, in percent of the peak; 0 if it needed none.
   * A peak that is measured while the machine is busy is too low: where work was faster, it is measured again, and the highest counts.
   */
  async of<T>(work: () => Promise<T>): Promise<{ readonly result: T; readonly percentOfPeak: number }> {
    if (this.#peak === 0) this.#peak = await this.#engine.peakFlops();
    const before = this.#engine.usage().multiplyAdds;
    const began = performance.now();
    const result = await work();
    const seconds = (performance.now() - began) / 1000;
    const flops = 2 * (this.#engine.usage().multiplyAdds - before);
    const percent = () => (100 * flops) / (seconds * this.#peak);
    for (let again = 0; again < 3 && percent() > 100; again++) {
      this.#peak = Math.max(this.#peak, await this.#engine.peakFlops());
    }
    return { result, percentOfPeak: Math.min(100, percent()) };
  }
}
