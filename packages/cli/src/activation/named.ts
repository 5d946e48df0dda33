// Activation functions that have a name, as one would write them in TypeScript.

export const ACTIVATIONS: Readonly<Record<string, string>> = {
  elu: "(x) => x < 0 ? Math.exp(x) - 1 : x",
  gelu: "(x) => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)))",
  "hard-sigmoid": "(x) => Math.min(Math.max(x / 6 + 0.5, 0), 1)",
  "hard-swish": "(x) => x * Math.min(Math.max(x / 6 + 0.5, 0), 1)",
  "leaky-relu": "(x) => x < 0 ? 0.01 * x : x",
  mish: "(x) => x * Math.tanh(Math.log(1 + Math.exp(x)))",
  relu: "(x) => Math.max(x, 0)",
  "relu-squared": "(x) => Math.max(x, 0) ** 2",
  sigmoid: "(x) => 1 / (1 + Math.exp(-x))",
  silu: "(x) => x / (1 + Math.exp(-x))",
  softplus: "(x) => Math.log(1 + Math.exp(x))",
  swish: "(x) => x / (1 + Math.exp(-x))",
  softsign: "(x) => x / (1 + Math.abs(x))",
  tanh: "(x) => Math.tanh(x)",
  ternary: "(x) => x < -0.5 ? -1 : x > 0.5 ? 1 : 0",
};
