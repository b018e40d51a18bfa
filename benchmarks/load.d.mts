export interface Load {
  readonly url: string;
  readonly clients: number;
  readonly seconds: number;
  readonly seed?: number;
}
export function load(options: Load): Promise<{
  answers: number;
  aborted: number;
  refused: number;
  feedback: number;
  failed: string[];
}>;
export function metricsOf(url: string): Promise<Record<string, number>>;
