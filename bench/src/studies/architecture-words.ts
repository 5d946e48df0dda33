// What the page of the study of architectures says in words. What follows from numbers was written when they were
// there.

import { MQAR, parameterRange, RECALL, settingOf } from "./architecture-arms.ts";
import type { Budget, Mixer, Weights } from "./architecture-arms.ts";
import { differences, find, groupsOf, signed, stateBytes } from "./architecture-tables.ts";
import type { Study } from "./architecture-pages.ts";

export function setup({ texts, budget, vocabularies }: Study): string {
  const { layerCount, batchSize, contextLength } = settingOf(texts[0]);
  const { low, high } = parameterRange(texts[0], vocabularies[0]);
  const spread = (100 * (high / low - 1)).toFixed(1);
  const characters = (budget.textSteps * batchSize * contextLength).toLocaleString("en");
  return `Five ways to mix tokens, each with dense and with ternary weights, at equal parameters (within ${spread} %),
on equal batches of equal text: ${layerCount} layers of width 64, a context of ${contextLength} characters, batches of
${batchSize}, ${budget.textSteps} steps, which are ${characters} characters.

- **transformer**: rotary attention with 2 heads, and SwiGLU, in every layer;
- **MLGRU**: the MatMul-free language model, whose state is one vector a layer;
- **Mamba-2**: twice as many layers, no channel mixers, as published; 4 heads of 28 channels with a state of 32 each;
- **Gated DeltaNet**: 2 heads with a state of 32 x 32 each, a short convolution, and SwiGLU;
- **hybrid**: three layers of Gated DeltaNet and one of attention ("DDDA", as in Qwen3-Next).

All but MLGRU are one frame of residual layers whose mixers differ. Ternary models have ternary projections with int8
activations; embedding, head, convolutions and what makes gates and decays of a few numbers a head stay float32. AdamW
with decay 0.1, a warm-up over a twentieth of the steps, a cosine down to a tenth, ReSTE gradients for ternary weights,
and for each contender a peak rate from a sweep with another seed.`;
}

export function recallSetup({ recallSteps }: Budget): string {
  const { layerCount, batchSize, contextLength } = settingOf(RECALL);
  const { low, high } = parameterRange(RECALL, MQAR.vocabSize);
  const [least, most] = [low, high].map((count) => count.toLocaleString("en"));
  const counted = `${MQAR.pairs.slice(0, -1).join(", ")} or ${MQAR.pairs.at(-1)}`;
  return `Multi-query associative recall (MQAR; Arora et al. 2023, arXiv 2312.04927): a sequence of ${contextLength}
tokens starts with ${counted} pairs of a key and a value (drawn for each sequence) and asks for every value once, at
distances by a power law. Vocabulary ${MQAR.vocabSize}, ${layerCount} layers of width 64 (Mamba-2: ${2 * layerCount}),
one head of attention, the hybrid "DA"; ${least} to ${most} parameters, ${recallSteps} steps of ${batchSize} sequences.
Only answers count for the loss. The size of the task and the rates to try were settled beforehand by short trainings,
so that a dense transformer learns it in this budget; with a peak of 3e-3 it does not. \`fidelity train --task mqar\`
and \`fidelity eval --task mqar\` are the same task.`;
}

/** Differences of two contenders on all texts, such as `+0.049 ± 0.008 and +0.048 ± 0.003`. */
function onTexts({ outcomes, texts }: Study, one: Kind, other: Kind): string {
  const groups = texts.map((text) => groupsOf(outcomes, text));
  return groups.map((of) => signed(differences(find(of, ...one), find(of, ...other)))).join(" and ");
}

type Kind = readonly [mixer: Mixer, weights: Weights];

export function findings(study: Study): string {
  const ternaryCost = (mixer: Mixer): string => onTexts(study, [mixer, "ternary"], [mixer, "dense"]);
  const overTransformer = (mixer: Mixer): string => onTexts(study, [mixer, "dense"], ["transformer", "dense"]);
  const state = (mixer: Mixer, tokens: number): string =>
    (stateBytes({ task: study.texts[0], mixer, weights: "dense" }, 1, tokens) / 1024).toFixed(0);
  return `**Ternary weights cost 0.05 to 0.11 nats a character.** MLGRU, which was made for them, pays
${ternaryCost("MLGRU")} on the two texts, the transformer
${ternaryCost("transformer")}, Mamba-2 ${ternaryCost("Mamba-2")},
and Gated DeltaNet most: ${ternaryCost("Gated DeltaNet")}. The ternary Mamba-2 is below the dense
MLGRU and the dense transformer, and within 0.02 of the other dense ones, in a file a seventh of their size (embedding
and head, which stay dense, are a large part at this width). On recall they cost the transformer everything in this
budget: dense it answers all queries, ternary it picks any of the values that it has seen. Gated DeltaNet and the hybrid
lose nothing.

**Recurrence costs nothing on text at this budget: the transformer is last.** Beside it, with dense weights, MLGRU ends
at ${overTransformer("MLGRU")}, Gated DeltaNet at ${overTransformer("Gated DeltaNet")}, and
Mamba-2 lowest, at ${overTransformer("Mamba-2")}. With ternary weights Mamba-2 stays ahead, and the
medians of MLGRU, Gated DeltaNet and the hybrid are within 0.02 of each other.

**On recall the kind of recurrence decides.** Gated DeltaNet, whose state unlearns what it overwrites, answers all
queries up to ${MQAR.pairs.at(-1)} pairs, and learns to in fewer steps than attention. MLGRU, with one number a channel,
learns which values there were and not whose: one in n of n pairs. Mamba-2 is there as well, but for one seed of the
dense model that has begun to tell them apart; what is a matter of the architecture here, and what of the budget, stays
open.

**A hybrid has nothing to give back here.** One layer of attention in four moves the loss on text by
${onTexts(study, ["hybrid", "dense"], ["Gated DeltaNet", "dense"])} with dense weights and
${onTexts(study, ["hybrid", "ternary"], ["Gated DeltaNet", "ternary"])} with ternary ones, and on recall its recurrent
half leaves nothing to mend. The gift goes the other way: with ternary weights the layers of Gated DeltaNet recall what
attention does not.

**State.** A transformer of this size keeps ${state("transformer", 8192)} KiB after 8192 tokens, the hybrid
${state("hybrid", 8192)}, and the others the same after any number: Mamba-2 ${state("Mamba-2", 1)} KiB, Gated DeltaNet
${state("Gated DeltaNet", 1)}, MLGRU ${state("MLGRU", 1)}.`;
}

/** What decided which model `fidelity quickstart` trains; measured by hand, with the sizes and the text of that. */
export function quickstart(): string {
  return `## The quickstart's model

Mamba-2 is the best ternary model above, for equal tokens. \`fidelity quickstart\` has a budget of time, so that the
ternary models were also trained at its setting: width 128, batches of 16 x 64 bytes of TypeScript declarations, a file
of 456 to 476 KiB, seed 0, native code on one thread:

| model | parameters | peak rate | steps | processor seconds | validation loss |
| --- | --- | --- | --- | --- | --- |
| MLGRU, 3 layers (the quickstart's) | 853,632 | 4e-3 | 1000 | 27 | 1.3358 |
| Mamba-2, 6 layers | 719,688 | 4e-3 | 1000 | 49 | 1.2855 |
| Mamba-2, 6 layers | 719,688 | 8e-3 | 1000 | 48 | 1.2603 |
| Gated DeltaNet, 3 layers | 848,460 | 4e-3 | 1000 | 41 | 1.3566 |
| MLGRU, 3 layers | 853,632 | 4e-3 | 1800 | 50 | **1.2306** |

For equal tokens Mamba-2 is ahead here too, by 0.05 to 0.08. Its step takes 1.8 times as long (on WebAssembly 99 ms of
one processor beside 55), and with that time the MatMul-free model gets further, by 0.03. It also decodes with a state
of 1.5 KiB where Mamba-2 has 215. **The quickstart keeps the MatMul-free model.**`;
}

export function limits(): string {
  return `## What it does not say

One width, one budget of less than one pass over the smaller text, three seeds, three rates, the highest of which is the
best for the ternary Mamba-2, Gated DeltaNet and hybrid. Such a budget favours models that predict from the last few
characters early: a transformer has to learn where to look first, which the recurrent models and their convolutions have
built in. How the order is after a hundred times the tokens, or with contexts of thousands, this page does not know: at
1.3 billion parameters Yang et al. (2024, arXiv 2412.06464) have hybrids ahead of their recurrent halves and of
transformers. Zoology's recall has 8,192 symbols, up to 64 pairs in training and over a hundred times the sequences:
who does not recall here may do so there.`;
}
