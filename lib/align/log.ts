/** The main job's progress output: bars on a terminal, lines elsewhere. */
export interface AlignLog {
  /** Prints one line, which stays above the bars. */
  line(text: string): void;
  /** Starts a stage with a known length; one at a time. */
  stage(name: string, total: number): { update(done: number, note?: string): void; end(): void };
}

/** Prints nothing. */
export const SILENT: AlignLog = { line() {}, stage: () => ({ update() {}, end() {} }) };
