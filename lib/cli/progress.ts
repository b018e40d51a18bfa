/** Progress of long jobs: bars with rates and remaining time on a terminal, plain lines elsewhere. */
import { SingleBar } from 'cli-progress';

/** A stage with a known length. */
export interface Stage {
  /** @param note numbers to show: `loss 2.31` */
  update(done: number, note?: string): void;
  end(): void;
}

/** Permanent lines, and one stage at a time. */
export interface ProgressLog {
  line(text: string): void;
  /**
   * @param unit unit of the count: `steps`, `prompts`
   * @param from count at the start of a resumed run: excluded from the rate
   */
  stage(name: string, total: number, unit?: string, from?: number): Stage;
}

/** The stream of a log: `process.stderr`, so that standard output has only results. */
export interface ProgressStream {
  write(text: string): unknown;
  readonly isTTY?: boolean | undefined;
  readonly columns?: number | undefined;
}

/** A log that can be closed in the middle of a stage. */
export interface ClosableLog extends ProgressLog {
  /** Ends the current stage: a bar would keep the process alive and the terminal's line wrapping off. */
  close(): void;
}

/** A log with bars if the stream is a terminal, else with lines. */
export function progressLog(stream: ProgressStream & NodeJS.WritableStream = process.stderr): ClosableLog {
  return stream.isTTY ? new TerminalLog(stream) : new LineLog(stream);
}

/** Seconds as `4.2 s`, `3 min 05 s`, `2 h 10 min`. */
export function duration(seconds: number): string {
  if (!Number.isFinite(seconds)) return '?';
  if (seconds < 59.95) return `${seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)} s`;
  const minutes = Math.floor(Math.round(seconds) / 60);
  if (minutes < 60) return `${minutes} min ${String(Math.round(seconds) % 60).padStart(2, '0')} s`;
  return `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, '0')} min`;
}

class Pace {
  readonly #began = performance.now();
  readonly #from: number;

  constructor(from: number) {
    this.#from = from;
  }

  at(done: number, total: number): { seconds: number; rate: string; left: string } {
    const seconds = (performance.now() - this.#began) / 1000;
    const perSecond = (done - this.#from) / seconds;
    const rate =
      perSecond >= 100 ? perSecond.toFixed(0) : perSecond >= 1 ? perSecond.toFixed(1) : perSecond.toPrecision(2);
    return { seconds, rate, left: duration((total - done) / perSecond) };
  }
}

class LineLog implements ClosableLog {
  readonly #stream: ProgressStream;

  constructor(stream: ProgressStream) {
    this.#stream = stream;
  }

  line(text: string): void {
    this.#stream.write(`${text}\n`);
  }

  close(): void {}

  stage(name: string, total: number, unit = 'steps', from = 0): Stage {
    const pace = new Pace(from);
    const kSecondsBetweenLines = 10;
    let said = Number.NEGATIVE_INFINITY;
    let last: { done: number; note: string } | undefined;
    const say = (done: number, note: string) => {
      const { seconds, rate, left } = pace.at(done, total);
      said = seconds;
      last = undefined;
      const time = done < total ? `${left} left` : duration(seconds);
      const pacing = done > from ? [`${rate} ${unit}/s`, time] : [];
      this.line([`${name} ${done}/${total}`, ...pacing, note].filter(Boolean).join(', '));
    };
    return {
      update: (done, note = '') => {
        last = { done, note };
        if (pace.at(done, total).seconds - said >= kSecondsBetweenLines) say(done, note);
      },
      end: () => {
        if (last) say(last.done, last.note);
      },
    };
  }
}

class TerminalLog implements ClosableLog {
  readonly #stream: ProgressStream & NodeJS.WritableStream;
  #bar: SingleBar | undefined;

  constructor(stream: ProgressStream & NodeJS.WritableStream) {
    this.#stream = stream;
  }

  line(text: string): void {
    if (this.#bar) this.#stream.write('\r\u001b[2K'); // the bar's line, drawn again below
    this.#stream.write(`${text}\n`);
    this.#bar?.render();
  }

  close(): void {
    this.#bar?.stop();
    this.#bar = undefined;
  }

  stage(name: string, total: number, unit = 'steps', from = 0): Stage {
    const pace = new Pace(from);
    const bar = new SingleBar({
      stream: this.#stream,
      hideCursor: false, // a killed process would leave it hidden
      clearOnComplete: false,
      linewrap: false,
      barsize: 24,
      barCompleteChar: '█',
      barIncompleteChar: '░',
      gracefulExit: false, // the command handles Ctrl-C
      etaBuffer: 1,
      format: `${name} {bar} {value}/{total}  {pace}{note}`,
    });
    bar.start(total, from, { pace: '', note: '' });
    this.#bar = bar;
    let open = true;
    return {
      update: (done, note = '') => {
        if (!open || this.#bar !== bar) return;
        const { seconds, rate, left } = pace.at(done, total);
        const time = done < total ? `${left} left` : duration(seconds);
        bar.update(done, {
          pace: done > from ? `${rate} ${unit}/s, ${time}` : '',
          note: note === '' ? '' : `  ${note}`,
        });
      },
      end: () => {
        if (open && this.#bar === bar) this.close();
        open = false;
      },
    };
  }
}
