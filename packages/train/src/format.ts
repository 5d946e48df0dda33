// Numbers for people: three significant digits and a unit, always in the same few characters, so that a line that is
// rewritten in place does not jump.

const units: readonly (readonly [scale: number, suffix: string])[] = [
  [1e12, "T"],
  [1e9, "B"],
  [1e6, "M"],
  [1e3, "k"],
];

/** 876544 is "877k", 1204 is "1.20k", 7 is "7". For parameters, tokens and rates. */
export function formatCount(count: number): string {
  if (!Number.isFinite(count)) return String(count);
  const magnitude = Math.abs(count);
  if (magnitude < 999.5) return String(Math.round(count));
  for (const [scale, suffix] of units) {
    // 999 600 reads as 1.00M, never as 1000k.
    if (magnitude >= scale * 0.9995) return `${threeDigits(count / scale)}${suffix}`;
  }
  return String(Math.round(count));
}

/** A loss in nats: four decimals, or exponents where those would say nothing. */
export function formatLoss(loss: number): string {
  if (!Number.isFinite(loss)) return String(loss);
  return Math.abs(loss) >= 1e4 ? loss.toExponential(2) : loss.toFixed(4);
}

/** A small number such as a learning rate: "3.00e-4". */
export function formatSmall(value: number): string {
  return value === 0 ? "0" : value.toExponential(2);
}

/** Seconds as "4s", "1m 05s", "2h 03m" or "3d 04h". */
export function formatDuration(seconds: number): string {
  if (!Number.isFinite(seconds)) return "?";
  const whole = Math.max(0, Math.round(seconds));
  const twoDigits = (value: number): string => String(value).padStart(2, "0");
  if (whole < 60) return `${whole}s`;
  if (whole < 3600) return `${Math.floor(whole / 60)}m ${twoDigits(whole % 60)}s`;
  if (whole < 86_400) return `${Math.floor(whole / 3600)}h ${twoDigits(Math.floor((whole % 3600) / 60))}m`;
  return `${Math.floor(whole / 86_400)}d ${twoDigits(Math.floor((whole % 86_400) / 3600))}h`;
}

function threeDigits(value: number): string {
  const magnitude = Math.abs(value);
  return value.toFixed(magnitude >= 99.95 ? 0 : magnitude >= 9.995 ? 1 : 2);
}
