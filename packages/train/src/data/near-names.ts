// Which of the names that exist are closest to one that does not: Levenshtein's distance (1966), for error messages.

const mostNames = 10_000;
const shownCount = 5;

/** Up to five of `names`, closest first; folders of any size are cut off so that an error stays quick. */
export function nearestNames(wanted: string, names: readonly string[]): string[] {
  const ranked = names.slice(0, mostNames).map((name) => ({ name, distance: editDistance(wanted, name) }));
  ranked.sort((a, b) => a.distance - b.distance || (a.name < b.name ? -1 : 1));
  return ranked.slice(0, shownCount).map(({ name }) => name);
}

/** How many characters must be inserted, removed or replaced to turn `a` into `b`; case does not count. */
function editDistance(a: string, b: string): number {
  const left = a.toLowerCase();
  const right = b.toLowerCase();
  let row = Array.from({ length: right.length + 1 }, (_, column) => column);
  for (let i = 1; i <= left.length; i++) {
    const above = row;
    row = [i];
    for (let j = 1; j <= right.length; j++) {
      const replaced = above[j - 1] + (left[i - 1] === right[j - 1] ? 0 : 1);
      row.push(Math.min(replaced, above[j] + 1, row[j - 1] + 1));
    }
  }
  return row[right.length];
}
