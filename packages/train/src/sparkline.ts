// A curve in one line of text (Tufte, Beautiful Evidence, 2006), out of the eight block characters, and the thinning
// of long series that it and the page of curves share.

const blocks = ["▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"] as const;

/** At most `width` characters for the finite values of a series, lowest to highest; empty for an empty series. */
export function sparkline(values: readonly number[], width: number): string {
  const finite = values.filter((value) => Number.isFinite(value));
  const points = thin(finite, width);
  const low = Math.min(...points);
  const range = Math.max(...points) - low;
  const level = (value: number): number =>
    range === 0 ? 0 : Math.round(((value - low) / range) * (blocks.length - 1));
  return points.map((value) => blocks[level(value)]).join("");
}

/** The series in at most `count` points, each the mean of neighbours that are as many as can be made even. */
export function thin(values: readonly number[], count: number): number[] {
  if (values.length <= count) return [...values];
  return Array.from({ length: count }, (_, point) => {
    const start = Math.floor((point * values.length) / count);
    const end = Math.floor(((point + 1) * values.length) / count);
    let sum = 0;
    for (let at = start; at < end; at++) sum += values[at];
    return sum / (end - start);
  });
}
