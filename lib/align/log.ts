/** Where the main job says what it does: bars on a terminal, lines elsewhere. The command line gives one. */
export interface AlignLog {
  /** One line of text, kept. */
  line(text: string): void;
  /** Something with an end; one at a time. */
  stage(name: string, total: number): { update(done: number, note?: string): void; end(): void };
}

/** Says nothing. */
export const SILENT: AlignLog = { line() {}, stage: () => ({ update() {}, end() {} }) };
