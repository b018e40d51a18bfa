/** The versions of the served model. An answer is sampled by one version, whichever is served when it begins. */
import type { KeptCache, LanguageModel } from '../../runtime/model.js';

/** What is known of a version. */
export interface VersionInfo {
  /** 0 is what was given. */
  readonly version: number;
  /** Milliseconds since 1970. */
  readonly created: number;
  /** Its adapter, relative to `versions.json`; undefined for what was given. */
  readonly folder?: string | undefined;
  /** How it was trained, and by how much it beat the one before. */
  readonly training?: Readonly<Record<string, unknown>> | undefined;
}

export interface Version {
  readonly info: VersionInfo;
  /** What clients and the file of feedback call it. */
  readonly name: string;
  /** The name without the version, of few that there are: for counting. */
  readonly family: string;
  readonly model: LanguageModel;
}

interface Held extends Version {
  readonly cache: KeptCache;
  users: number;
  isRetired: boolean;
  readonly isOwn: boolean;
}

export class Versions {
  readonly #name: string;
  readonly #slots: number;
  #current: Held;

  /** @param model stays the caller's @param slots that are kept for its prompts */
  constructor(name: string, model: LanguageModel, slots: number) {
    this.#name = name;
    this.#slots = slots;
    this.#current = this.#hold(model, { version: 0, created: Date.now() }, false);
  }

  get current(): Version {
    return this.#current;
  }

  /** The model's name, which requests may use for whatever version is served. */
  get name(): string {
    return this.#name;
  }

  /** What a version is called. */
  nameOf(version: number): string {
    return version === 0 ? this.#name : `${this.#name}@${version}`;
  }

  /** The version to answer with; call the function when the answer is complete. */
  use(): { readonly version: Version; readonly done: () => void } {
    const held = this.#current;
    held.users++;
    let isUsed = true;
    return {
      version: held,
      done: () => {
        if (!isUsed) return;
        isUsed = false;
        held.users--;
        this.#freeIfUnused(held);
      },
    };
  }

  /** Serves another version from now on; answers under way end with theirs, after which its model is disposed of. */
  serve(model: LanguageModel, info: VersionInfo, isOwn = true): void {
    const before = this.#current;
    this.#current = this.#hold(model, info, isOwn);
    before.isRetired = true;
    this.#freeIfUnused(before);
  }

  close(): void {
    this.#current.isRetired = true;
    this.#freeIfUnused(this.#current);
  }

  #hold(model: LanguageModel, info: VersionInfo, isOwn: boolean): Held {
    const name = this.nameOf(info.version);
    const cache = model.keepCache({ slots: this.#slots });
    return { info, name, family: this.#name, model, cache, users: 0, isRetired: false, isOwn };
  }

  #freeIfUnused(held: Held): void {
    if (!held.isRetired || held.users > 0) return;
    void held.cache.dispose();
    if (held.isOwn) void held.model.dispose();
  }
}
