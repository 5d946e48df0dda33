// The objectives of GradBench's evaluations once more, as plain loops over numbers in the simplest form of their
// definitions, for tests: what the compiled functions give is compared with these, and derivatives with their central
// differences. Nothing here is shared with what is tested.

/** The derivatives of `fn` at `x`: for each number of `x` those of all results. */
export function centralDifferences(fn: (x: readonly number[]) => readonly number[], x: readonly number[]): number[][] {
  return x.map((value, i) => {
    const step = 1e-6 * Math.max(1, Math.abs(value));
    const at = (moved: number): readonly number[] => fn(x.with(i, moved));
    const [high, low] = [at(value + step), at(value - step)];
    return high.map((result, j) => (result - low[j]!) / (2 * step));
  });
}

/** The same for one result. */
export function slopes(fn: (x: readonly number[]) => number, x: readonly number[]): number[] {
  return centralDifferences((at) => [fn(at)], x).map(([slope]) => slope!);
}

/** Numbers that look random and are the same everywhere. */
export function wave(count: number, phase: number): number[] {
  return Array.from({ length: count }, (_none, i) => Math.sin(1.7 * i + phase) * Math.cos(0.3 * i * phase + 1));
}

export function rowsOf(values: readonly number[], columns: number): number[][] {
  return Array.from({ length: values.length / columns }, (_none, i) => values.slice(i * columns, (i + 1) * columns));
}

const total = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0);

export function leastSquares(x: readonly number[], n: number): number {
  let sum = 0;
  for (let i = 0; i < n; i++) {
    const t = -1 + (2 * i) / (n - 1);
    const fit = total(x.map((coefficient, j) => coefficient * t ** j));
    sum += (Math.sign(t) - fit) ** 2;
  }
  return sum / 2;
}

export function logSumExp(x: readonly number[]): number {
  return Math.log(total(x.map(Math.exp)));
}

/** By elimination, with the largest pivot. */
export function determinant(values: readonly number[], size: number): number {
  const a = rowsOf(values, size);
  let result = 1;
  for (let i = 0; i < size; i++) {
    const pivot = a.findIndex(
      (row, r) => r >= i && a.every((other, s) => s < i || Math.abs(other[i]!) <= Math.abs(row[i]!)),
    );
    if (pivot !== i) {
      [a[i], a[pivot]] = [a[pivot]!, a[i]!];
      result = -result;
    }
    result *= a[i]![i]!;
    for (let r = i + 1; r < size; r++) {
      const factor = a[r]![i]! / a[i]![i]!;
      a[r] = a[r]!.map((value, c) => value - factor * a[i]![c]!);
    }
  }
  return result;
}

export function rungeKutta(x: readonly number[], steps: number): number[] {
  const slope = (y: readonly number[]): number[] => x.map((value, i) => (i === 0 ? value : value * y[i - 1]!));
  const along = (y: readonly number[], k: readonly number[], by: number): number[] => y.map((v, i) => v + by * k[i]!);
  const h = 2 / steps;
  let y = x.map(() => 0);
  for (let step = 0; step < steps; step++) {
    const k1 = slope(y);
    const k2 = slope(along(y, k1, h / 2));
    const k3 = slope(along(y, k2, h / 2));
    const k4 = slope(along(y, k3, h));
    y = y.map((value, i) => value + (h * (k1[i]! + 2 * k2[i]! + 2 * k3[i]! + k4[i]!)) / 6);
  }
  return y;
}

/** The centroid nearest to each point. */
export function assignments(points: readonly number[][], centroids: readonly number[][]): number[] {
  return points.map((point) => {
    const distances = centroids.map((centroid) => total(centroid.map((c, i) => (c - point[i]!) ** 2)));
    return distances.indexOf(Math.min(...distances));
  });
}

export interface Mixture {
  readonly alpha: readonly number[];
  readonly mu: readonly number[][];
  readonly q: readonly number[][];
  readonly l: readonly number[][];
}

/** The logarithm of the posterior by its definition, for points in the plane and m = 1, where Gamma_2(2) is pi / 2. */
export function planePosterior({ alpha, mu, q, l }: Mixture, x: readonly number[][], gamma: number): number {
  const weights = alpha.map((a) => Math.exp(a) / total(alpha.map(Math.exp)));
  const factor = (k: number): number[][] => [
    [Math.exp(q[k]![0]!), 0],
    [l[k]![0]!, Math.exp(q[k]![1]!)],
  ];
  let result = 0;
  for (const point of x) {
    const density = weights.map((weight, k) => {
      const [[a], [b, c]] = factor(k) as [[number], [number, number]];
      const [u, v] = [point[0]! - mu[k]![0]!, point[1]! - mu[k]![1]!];
      return (weight * a * c * Math.exp(-((a * u) ** 2 + (b * u + c * v) ** 2) / 2)) / (2 * Math.PI);
    });
    result += Math.log(total(density));
  }
  for (let k = 0; k < alpha.length; k++) {
    const [[a], [b, c]] = factor(k) as [[number], [number, number]];
    // Wishart's density at Q'Q with V = I / gamma^2 and n = d + m + 1 = 4.
    const determinantOfX = (a * c) ** 2;
    const trace = gamma ** 2 * (a ** 2 + b ** 2 + c ** 2);
    const constant = 2 ** 4 * gamma ** -8 * (Math.PI / 2);
    result += Math.log((determinantOfX ** 0.5 * Math.exp(-trace / 2)) / constant);
  }
  return result;
}

/** The two errors of an observation: x holds a camera (11), a point (3) and a weight. */
export function reprojection(x: readonly number[], feature: readonly number[]): number[] {
  const [camera, point, weight] = [x.slice(0, 11), x.slice(11, 14), x[14]!];
  const angle = Math.hypot(camera[0]!, camera[1]!, camera[2]!);
  const axis = camera.slice(0, 3).map((value) => value / angle);
  const away = point.map((value, i) => value - camera[3 + i]!);
  const cross = [0, 1, 2].map((i) => {
    const [j, k] = [(i + 1) % 3, (i + 2) % 3];
    return axis[j]! * away[k]! - axis[k]! * away[j]!;
  });
  const along = total(axis.map((value, i) => value * away[i]!));
  const seen = away.map((value, i) => {
    return value * Math.cos(angle) + cross[i]! * Math.sin(angle) + axis[i]! * along * (1 - Math.cos(angle));
  });
  const plane = [seen[0]! / seen[2]!, seen[1]! / seen[2]!];
  const radius = plane[0]! ** 2 + plane[1]! ** 2;
  const distortion = 1 + camera[9]! * radius + camera[10]! * radius ** 2;
  return plane.map((value, i) => weight * (value * distortion * camera[6]! + camera[7 + i]! - feature[i]!));
}

export interface HandInput {
  readonly parents: readonly number[];
  readonly relatives: readonly number[][][];
  readonly inverses: readonly number[][][];
  readonly positions: readonly number[][];
  readonly weights: readonly number[][];
  readonly triangles: readonly number[][];
  readonly isMirrored: boolean;
  readonly correspondences: readonly number[];
  readonly points: readonly number[][];
}

const product = (a: readonly number[][], b: readonly number[][]): number[][] =>
  a.map((row) => b[0]!.map((_none, j) => total(row.map((value, k) => value * b[k]![j]!))));

/** The errors of a hand's points; `us` is empty where they belong to vertices. */
export function handErrors(theta: readonly number[], us: readonly number[][], hand: HandInput): number[] {
  const about = (axis: number, angle: number): number[][] => {
    const [i, j] = [(axis + 1) % 3, (axis + 2) % 3];
    const rows = [0, 1, 2, 3].map((r) => [0, 1, 2, 3].map((c) => Number(r === c)));
    [rows[i]![i], rows[i]![j], rows[j]![i], rows[j]![j]] = [
      Math.cos(angle),
      -Math.sin(angle),
      Math.sin(angle),
      Math.cos(angle),
    ];
    return rows;
  };
  const absolutes: number[][][] = [];
  let next = 6;
  hand.parents.forEach((parent, bone) => {
    const joint = bone >= 2 && bone < 22 ? (bone - 2) % 4 : 3;
    const x = joint < 3 ? theta[next++]! : 0;
    const z = joint === 0 ? theta[next++]! : 0;
    const relative = product(hand.relatives[bone]!, product(about(2, z), about(0, x)));
    absolutes.push(parent < 0 ? relative : product(absolutes[parent]!, relative));
  });
  const transforms = absolutes.map((absolute, bone) => product(absolute, hand.inverses[bone]!));
  const angle = Math.hypot(theta[0]!, theta[1]!, theta[2]!);
  const n = theta.slice(0, 3).map((value) => value / angle);
  // Rodrigues with matrices: I + sin K + (1 - cos) K^2.
  const k = [
    [0, -n[2]!, n[1]!],
    [n[2]!, 0, -n[0]!],
    [-n[1]!, n[0]!, 0],
  ];
  const k2 = product(k, k);
  const global = k.map((row, i) =>
    row.map((v, j) => (i === j ? 1 : 0) + Math.sin(angle) * v + (1 - Math.cos(angle)) * k2[i]![j]!),
  );
  const vertices = hand.positions.map((position, v) => {
    const local = [0, 1, 2].map((i) =>
      total(transforms.map((t, bone) => hand.weights[v]![bone]! * total(t[i]!.map((c, j) => c * position[j]!)))),
    );
    if (hand.isMirrored) local[0]! *= -1;
    return global.map((row, i) => total(row.map((value, j) => value * local[j]!)) + theta[3 + i]!);
  });
  return hand.points.flatMap((point, p) => {
    const which = hand.correspondences[p]!;
    const [u, v] = us[p] ?? [];
    return point.map((value, i) => {
      if (u === undefined) return value - vertices[which]![i]!;
      const [a, b, c] = hand.triangles[which]!.map((corner) => vertices[corner]![i]!) as [number, number, number];
      return value - (u * a + v! * b + (1 - u - v!) * c);
    });
  });
}

/** The loss of the LSTM; parameters are rows of `main` and of `extra`, one after the other. */
export function lstmLoss(
  parameters: readonly number[],
  state: readonly number[][],
  sequence: readonly number[][],
): number {
  const width = state[0]!.length;
  const layers = state.length / 2;
  const main = rowsOf(parameters.slice(0, 8 * layers * width), 4 * width);
  const extra = rowsOf(parameters.slice(8 * layers * width), width);
  const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));
  const now = state.map((row) => [...row]);
  let sum = 0;
  for (let t = 0; t + 1 < sequence.length; t++) {
    let x = sequence[t]!.map((value, i) => value * extra[0]![i]!);
    for (let layer = 0; layer < layers; layer++) {
      const [hidden, cell] = [now[2 * layer]!, now[2 * layer + 1]!];
      const gate = (which: number, value: number, i: number): number =>
        value * main[2 * layer]![which * width + i]! + main[2 * layer + 1]![which * width + i]!;
      const made = cell.map(
        (c, i) => c * sigmoid(gate(0, x[i]!, i)) + sigmoid(gate(1, hidden[i]!, i)) * Math.tanh(gate(3, hidden[i]!, i)),
      );
      now[2 * layer] = made.map((c, i) => sigmoid(gate(2, x[i]!, i)) * Math.tanh(c));
      now[2 * layer + 1] = made;
      x = now[2 * layer]!;
    }
    const predicted = x.map((value, i) => value * extra[1]![i]! + extra[2]![i]!);
    const normaliser = Math.log(total(predicted.map(Math.exp)) + 2);
    sum += total(sequence[t + 1]!.map((gold, i) => gold * (predicted[i]! - normaliser)));
  }
  return -sum / ((sequence.length - 1) * width);
}
