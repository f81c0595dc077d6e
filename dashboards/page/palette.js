// One colour per shoal, by its number, so that it keeps it over fits and visits. Two living shoals never share one
// while there are colours left: the higher number takes the next that is free.
export const COLOURS = 12;

export class Palette {
  constructor() {
    this.slots = new Map();
    this.changed = false;
  }

  assign(numbers) {
    const living = [...new Set(numbers.filter((n) => n !== null))].sort((a, b) => a - b);
    const kept = new Map(living.filter((n) => this.slots.has(n)).map((n) => [n, this.slots.get(n)]));
    const used = new Set(kept.values());
    for (const n of living) {
      if (kept.has(n)) continue;
      let slot = ((n - 1) % COLOURS + COLOURS) % COLOURS;
      for (let k = 0; k < COLOURS && used.has(slot) && used.size < COLOURS; k += 1) slot = (slot + 1) % COLOURS;
      kept.set(n, slot);
      used.add(slot);
    }
    this.changed = kept.size !== this.slots.size || [...kept].some(([n, slot]) => this.slots.get(n) !== slot);
    this.slots = kept;
  }

  of(number) { return this.slots.has(number) ? `c${this.slots.get(number)}` : "cnone"; }
}
