/** The properties of the machine that decide which addon fits. */
import { closeSync, openSync, readFileSync, readSync } from 'node:fs';

export interface Machine {
  readonly platform: string;
  readonly arch: string;
  /** The C library of the running Node, on Linux. */
  readonly libc: 'glibc' | 'musl' | undefined;
}

export function machine(): Machine {
  const { platform, arch } = process;
  return { platform, arch, libc: platform === 'linux' ? libcOfNode() : undefined };
}

/** The name of the folder under prebuilds/. */
export function tagOf({ platform, arch, libc }: Machine): string {
  return `${platform}-${arch}${libc === 'musl' ? '-musl' : ''}`;
}

/** Read from the program interpreter in Node's executable; from Node's diagnostic report if the executable names none. */
function libcOfNode(): 'glibc' | 'musl' {
  try {
    const start = Buffer.alloc(4096);
    const file = openSync(process.execPath, 'r');
    try {
      readSync(file, start, 0, start.length, 0);
    } finally {
      closeSync(file);
    }
    if (start.includes('/ld-musl-')) return 'musl';
    if (start.includes('/ld-linux')) return 'glibc';
  } catch {
    // fall back to the report
  }
  return glibcVersion() === undefined ? 'musl' : 'glibc';
}

/** The version of the running glibc; undefined without glibc. */
export function glibcVersion(): string | undefined {
  const report = process.report as (NodeJS.ProcessReport & { excludeNetwork?: boolean }) | undefined;
  if (!report) return undefined;
  const { excludeNetwork } = report;
  report.excludeNetwork = true; // it would look up host names
  try {
    return (report.getReport() as { header?: { glibcVersionRuntime?: string } }).header?.glibcVersionRuntime;
  } finally {
    if (excludeNetwork !== undefined) report.excludeNetwork = excludeNetwork;
  }
}

const kLevels: readonly (readonly [level: string, flags: readonly string[]])[] = [
  ['x86-64-v4', ['avx512f', 'avx512bw', 'avx512cd', 'avx512dq', 'avx512vl']],
  ['x86-64-v3', ['avx2', 'bmi1', 'bmi2', 'f16c', 'fma', 'abm', 'movbe']],
  ['x86-64-v2', ['sse4_2', 'ssse3', 'popcnt', 'cx16']],
];

/** The microarchitecture level of an x86-64 processor; undefined where Linux does not list its flags. */
export function cpuLevel(): string | undefined {
  if (process.platform !== 'linux' || process.arch !== 'x64') return undefined;
  try {
    const flags = new Set(/^flags\s*:(.*)$/m.exec(readFileSync('/proc/cpuinfo', 'utf8'))?.[1]?.trim().split(/\s+/));
    if (flags.size === 0) return undefined;
    return kLevels.find(([, needed]) => needed.every((flag) => flags.has(flag)))?.[0] ?? 'x86-64-v1';
  } catch {
    return undefined;
  }
}

/** linux-x64, glibc 2.36, x86-64-v3, Node 20.20.2 */
export function describeMachine(one: Machine): string {
  const libc = one.libc === 'glibc' ? `glibc ${glibcVersion() ?? 'of unknown version'}` : one.libc;
  return [`${one.platform}-${one.arch}`, libc, cpuLevel(), `Node ${process.versions.node}`].filter(Boolean).join(', ');
}
