// The logarithm of the multivariate gamma function, for the constant of the Wishart prior:
//   log Gamma_p(a) = p (p - 1) / 4 log pi + sum over j from 1 to p of log Gamma(a + (1 - j) / 2).
// The gamma function itself is by Stirling's series, after its argument was raised to where that has float64's digits.

/** Where the first term that is left out is below 1e-17 of the sum. */
const SERIES_FROM = 16;
const SERIES = [1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188];

/** log Gamma(x) for x above 0. */
function logGammaOf(x: number): number {
  let shift = 0;
  let raised = x;
  for (; raised < SERIES_FROM; raised++) shift += Math.log(raised);
  const tail = SERIES.reduceRight((sum, coefficient) => sum / (raised * raised) + coefficient, 0) / raised;
  return (raised - 0.5) * Math.log(raised) - raised + Math.log(2 * Math.PI) / 2 + tail - shift;
}

/** log Gamma_p(a), for a above (p - 1) / 2. */
export function logGamma(a: number, p: number): number {
  let sum = ((p * (p - 1)) / 4) * Math.log(Math.PI);
  for (let j = 1; j <= p; j++) sum += logGammaOf(a + (1 - j) / 2);
  return sum;
}
