/** Dragging cards between lists, by pointer events: mouse, pen and finger alike. */
import { useEffect, useRef } from 'preact/hooks';

/** Pixels that are still a click. */
const kSlack = 4;
/** Pixels at the edge of the window in which it scrolls, and how far per frame. */
const kEdge = 60;
const kScroll = 12;

/**
 * @param onDrop called with the `data-card` of what was dragged by its `.grip`, and the `data-rank` of the list it was let go over
 * @returns what to set as the `ref` of the element that holds cards and lists
 */
export function useDrag(onDrop: (card: string, rank: string) => void) {
  const board = useRef<HTMLDivElement>(null);
  const drop = useRef(onDrop);
  drop.current = onDrop;
  useEffect(() => {
    const root = board.current!;
    const onDown = (event: PointerEvent) => {
      const target = event.target as HTMLElement;
      const card = target.closest<HTMLElement>('[data-card]');
      if (event.button !== 0 || !card || !target.closest('.grip') || target.closest('label')) return;
      new Drag(card, event, (rank) => drop.current(card.dataset.card!, rank));
    };
    root.addEventListener('pointerdown', onDown);
    return () => root.removeEventListener('pointerdown', onDown);
  }, []);
  return board;
}

class Drag {
  readonly #card: HTMLElement;
  readonly #pointer: number;
  readonly #onDrop: (rank: string) => void;
  readonly #start: { readonly x: number; readonly y: number };
  readonly #ends = new AbortController();
  #at: { readonly x: number; readonly y: number };
  #ghost: HTMLElement | undefined;
  #over: HTMLElement | null = null;
  #frame = 0;

  constructor(card: HTMLElement, { pointerId, clientX: x, clientY: y }: PointerEvent, onDrop: (rank: string) => void) {
    this.#card = card;
    this.#pointer = pointerId;
    this.#onDrop = onDrop;
    this.#start = { x, y };
    this.#at = this.#start;
    const { signal } = this.#ends;
    addEventListener('pointermove', (event) => this.#onMove(event), { signal });
    addEventListener('pointerup', (event) => this.#onUp(event), { signal });
    addEventListener('pointercancel', () => this.#end(), { signal });
    addEventListener('keydown', ({ key }) => key === 'Escape' && this.#end(), { signal });
  }

  #onMove(event: PointerEvent): void {
    if (event.pointerId !== this.#pointer) return;
    this.#at = { x: event.clientX, y: event.clientY };
    const isFar = Math.hypot(this.#at.x - this.#start.x, this.#at.y - this.#start.y) > kSlack;
    if (!this.#ghost && isFar) this.#begin();
    this.#show();
  }

  #onUp(event: PointerEvent): void {
    if (event.pointerId !== this.#pointer) return;
    this.#at = { x: event.clientX, y: event.clientY };
    const list = this.#ghost && this.#listUnder();
    this.#end();
    if (list) this.#onDrop(list.dataset.rank!);
  }

  #begin(): void {
    const { width } = this.#card.getBoundingClientRect();
    const ghost = this.#card.cloneNode(true) as HTMLElement;
    ghost.removeAttribute('data-card');
    for (const part of ghost.querySelectorAll('[data-place]')) part.removeAttribute('data-place');
    ghost.classList.add('ghost');
    ghost.style.width = `${width}px`;
    ghost.inert = true;
    document.body.append(ghost);
    this.#ghost = ghost;
    this.#card.classList.add('dragged');
    getSelection()?.removeAllRanges();
    const scroll = () => {
      const { y } = this.#at;
      if (y < kEdge) scrollBy(0, -kScroll);
      else if (y > innerHeight - kEdge) scrollBy(0, kScroll);
      this.#show();
      this.#frame = requestAnimationFrame(scroll);
    };
    this.#frame = requestAnimationFrame(scroll);
  }

  #show(): void {
    if (!this.#ghost) return;
    this.#ghost.style.transform = `translate(${this.#at.x - 20}px, ${this.#at.y - 20}px)`;
    const list = this.#listUnder();
    if (list === this.#over) return;
    this.#over?.classList.remove('over');
    list?.classList.add('over');
    this.#over = list;
  }

  #listUnder(): HTMLElement | null {
    const { x, y } = this.#at;
    return document.elementFromPoint(x, y)?.closest<HTMLElement>('[data-rank]') ?? null;
  }

  #end(): void {
    this.#ends.abort();
    cancelAnimationFrame(this.#frame);
    this.#ghost?.remove();
    this.#over?.classList.remove('over');
    this.#card.classList.remove('dragged');
  }
}
