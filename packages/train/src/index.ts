// The public face of train: data, the loop, checkpoints, run folders, model files, and how a run shows itself.

export * from "./data/index.ts";
