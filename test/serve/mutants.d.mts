export function mutant(seed: number): Buffer;
export function send(url: string, content: Buffer, waits?: number): Promise<{ status: number; text: string }>;
export function assault(
  url: string,
  count: number,
  seed?: number,
  waits?: number,
): Promise<{
  statuses: Record<string, number>;
  errors: string[];
  wrong: { number: number; status: number; body: string }[];
}>;
