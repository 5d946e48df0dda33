// Recurrent states of sequences, which have one size each and no rows to share. Programs work on the first lanes of
// tensors [lanes, ...]; a sequence sits in a lane while it takes part in steps, so that a step moves nothing, and is
// copied out when another one needs the place.

import type { DeviceTensor } from "@fidelity/core";

/** What has a recurrent state. Made with neither a seat nor a saved state, it is at the start of a sequence. */
export interface LaneHolder {
  seat: { readonly lanes: StateLanes; readonly lane: number } | undefined;
  /** The state while there is no seat, one array a tensor: never written to, so that several may hold it. */
  saved: readonly Uint8Array[] | undefined;
}

export class StateLanes {
  readonly tensors: readonly DeviceTensor[];
  readonly count: number;
  readonly #holders: (LaneHolder | undefined)[];

  /** @param tensors [count, ...]; none where a model has no recurrent state */
  constructor(tensors: readonly DeviceTensor[], count: number) {
    this.tensors = tensors;
    this.count = count;
    this.#holders = Array.from({ length: count }, () => undefined);
  }

  /**
   * Seats `wanted` in the first lanes and leaves the others of the first `width` empty. Gives the lane of each; those
   * that sit well already stay.
   */
  arrange(wanted: readonly LaneHolder[], width: number): readonly number[] {
    if (this.tensors.length === 0) return wanted.map((_, i) => i);
    const staying = new Set(wanted.filter(({ seat }) => seat?.lanes === this && seat.lane < wanted.length));
    for (const holder of this.#holders.slice(0, width)) {
      if (holder !== undefined && !staying.has(holder)) StateLanes.leave(holder);
    }
    let next = 0;
    return wanted.map((holder) => {
      if (staying.has(holder)) return holder.seat!.lane;
      while (this.#holders[next] !== undefined) next++;
      this.#sit(holder, next);
      return next;
    });
  }

  /** The state, as it is now; undefined at the start of a sequence. */
  static stateOf({ seat, saved }: LaneHolder): readonly Uint8Array[] | undefined {
    return seat === undefined ? saved : seat.lanes.#copy(seat.lane);
  }

  /** Copies the state out and leaves the seat. */
  static leave(holder: LaneHolder): void {
    if (holder.seat === undefined) return;
    holder.saved = StateLanes.stateOf(holder);
    StateLanes.vacate(holder);
  }

  /** Leaves the seat and forgets the state in it. */
  static vacate(holder: LaneHolder): void {
    if (holder.seat !== undefined) holder.seat.lanes.#holders[holder.seat.lane] = undefined;
    holder.seat = undefined;
  }

  #copy(lane: number): Uint8Array[] {
    return this.#views(lane).map((view) => view.slice());
  }

  #sit(holder: LaneHolder, lane: number): void {
    StateLanes.leave(holder);
    this.#views(lane).forEach((view, i) => {
      if (holder.saved === undefined) view.fill(0);
      else view.set(holder.saved[i]);
    });
    holder.saved = undefined;
    holder.seat = { lanes: this, lane };
    this.#holders[lane] = holder;
  }

  #views(lane: number): Uint8Array[] {
    return this.tensors.map((tensor) => {
      const bytes = tensor.bytes();
      const size = bytes.length / this.count;
      return bytes.subarray(lane * size, (lane + 1) * size);
    });
  }
}
