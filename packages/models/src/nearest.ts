// The name that someone probably meant: the least edit distance (Levenshtein 1966), as in the hints of compilers.

/** The name nearest to `wanted` among `names`, the first of equals; `names` is not empty. */
export function nearestName(wanted: string, names: readonly string[]): string {
  const folded = wanted.slice(0, 64).toLowerCase();
  const distances = names.map((name) => editDistance(folded, name.toLowerCase()));
  return names[distances.indexOf(Math.min(...distances))];
}

/** The fewest insertions, deletions and replacements that make `b` of `a`. */
function editDistance(a: string, b: string): number {
  // row[j]: the distance from the part of `a` read so far to the first j characters of `b`.
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 0; i < a.length; i++) {
    const next = [i + 1];
    for (let j = 0; j < b.length; j++) {
      next.push(Math.min(next[j] + 1, row[j + 1] + 1, row[j] + (a[i] === b[j] ? 0 : 1)));
    }
    row = next;
  }
  return row[b.length];
}
