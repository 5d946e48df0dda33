// Which files of a repository make one model: a GGUF file, the parts of a split one, or config.json with safetensors
// and what their tokenizer needs. Repositories of GGUF files hold the same model in many quantisations.

import { HubError } from "./errors.ts";

/** A file of a repository, by its path in it. */
export interface ListedFile {
  readonly path: string;
  readonly sizeBytes: number;
}

export interface FileChoice<F extends ListedFile> {
  readonly files: readonly F[];
  /** What is opened, in the repository: the path of a GGUF file, or "" for the folder with config.json. */
  readonly opened: string;
}

/** Where nobody says which: what others take, then what is nearest to it in size. */
const PREFERRED = [
  "Q4_K_M",
  "Q4_K_S",
  "Q4_0",
  "Q5_K_M",
  "Q6_K",
  "Q8_0",
  "TQ2_0",
  "I2_S",
  "TQ1_0",
  "BF16",
  "F16",
  "F32",
];
/** GGUF files that are no language model of their own. */
const COMPANION = /(^|[-_./])(mmproj|imatrix|vocab)([-_.]|$)/i;
const PART = /-(\d{5})-of-(\d{5})\.gguf$/i;
const QUANTISATION = /(?:^|[-._/])((?:UD-)?(?:I?Q\d\w*|TQ\d_\d\w*|I2_S|MXFP4\w*|BF16|F16|F32))(?=[-._/]|$)/i;
const SAFETENSORS = /^model(-\d{5}-of-\d{5})?\.safetensors$/;
const BESIDE_SAFETENSORS = new Set([
  "config.json",
  "generation_config.json",
  "tokenizer.json",
  "tokenizer_config.json",
  "chat_template.jinja",
  "model.safetensors.index.json",
]);

/**
 * Chooses the files of one model.
 * @param choice a quantisation or the path of a file; without it safetensors are taken, or the usual quantisation
 * Throws `HubError`, with what the repository has, where nothing fits.
 */
export function chooseFiles<F extends ListedFile>(
  repository: string,
  listed: readonly F[],
  choice?: string,
): FileChoice<F> {
  const models = ggufModels(listed);
  if (choice === undefined) {
    const folder = safetensorsFolder(listed);
    if (folder !== undefined) return folder;
    const best = preferred(models);
    if (best !== undefined) return asChoice(best);
    throw nothingFits(repository, listed, "a GGUF file, or config.json with model.safetensors", models);
  }
  const wanted = choice.toLowerCase();
  const byPath = models.filter((model) => model.some(({ path }) => isCalled(path, wanted)));
  const found =
    byPath.length > 0 ? byPath : models.filter(([{ path }]) => quantisationOf(path)?.toLowerCase() === wanted);
  if (found.length === 1) return asChoice(found[0]);
  if (found.length > 1)
    throw nothingFits(repository, listed, `one model that is called ${choice}: give its file`, found);
  throw nothingFits(repository, listed, `a GGUF file of the quantisation or the name ${choice}`, models);
}

function isCalled(path: string, wanted: string): boolean {
  const whole = path.toLowerCase();
  const name = whole.slice(whole.lastIndexOf("/") + 1);
  return [whole, name, name.replace(/\.gguf$/, "")].includes(wanted);
}

/** GGUF models, each with its parts in order. */
function ggufModels<F extends ListedFile>(listed: readonly F[]): F[][] {
  const files = listed.filter(({ path }) => path.toLowerCase().endsWith(".gguf") && !COMPANION.test(path));
  const groups = Map.groupBy(files, ({ path }) => path.replace(PART, "-of-$2.gguf"));
  return [...groups.values()]
    .map((parts) => parts.toSorted((a, b) => (a.path < b.path ? -1 : 1)))
    .filter((parts) => parts.length === Number(PART.exec(parts[0].path)?.[2] ?? 1));
}

/** `Q4_K_M` of `model-Q4_K_M.gguf` and of `Q4_K_M/model-00001-of-00002.gguf`; undefined where there is none. */
export function quantisationOf(path: string): string | undefined {
  const name = path.replace(PART, ".gguf").replace(/\.gguf$/i, "");
  const own = QUANTISATION.exec(name.slice(name.lastIndexOf("/") + 1)) ?? QUANTISATION.exec(name);
  return own?.[1].toUpperCase();
}

function preferred<F extends ListedFile>(models: readonly F[][]): F[] | undefined {
  for (const quantisation of PREFERRED) {
    const found = models.find(([{ path }]) => quantisationOf(path) === quantisation);
    if (found !== undefined) return found;
  }
  const size = (model: readonly F[]): number => model.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  return models.toSorted((a, b) => size(a) - size(b)).at(0);
}

const asChoice = <F extends ListedFile>(files: readonly F[]): FileChoice<F> => ({ files, opened: files[0].path });

function safetensorsFolder<F extends ListedFile>(listed: readonly F[]): FileChoice<F> | undefined {
  const weights = listed.filter(({ path }) => SAFETENSORS.test(path));
  const beside = listed.filter(({ path }) => BESIDE_SAFETENSORS.has(path));
  const has = (name: string): boolean => listed.some(({ path }) => path === name);
  if (weights.length === 0 || !has("config.json")) return undefined;
  // A repository may hold the weights in one file and in parts as well.
  const isSplit = has("model.safetensors.index.json");
  const taken = weights.filter(({ path }) => isSplit === (path !== "model.safetensors"));
  return { files: [...beside, ...(taken.length > 0 ? taken : weights)], opened: "" };
}

function nothingFits(
  repository: string,
  listed: readonly ListedFile[],
  expected: string,
  models: readonly (readonly ListedFile[])[],
): HubError {
  const names =
    models.length > 0 ? models.map(([{ path }]) => quantisationOf(path) ?? path) : listed.map(({ path }) => path);
  const shown = names.slice(0, 24).join(", ");
  return new HubError("the repository has no such model file", {
    where: repository,
    expected,
    got: names.length === 0 ? "an empty repository" : `${shown}${names.length > 24 ? ", ..." : ""}`,
    hint:
      models.length > 0
        ? `fidelity pull ${repository}:${names[0]}`
        : "look for a repository of the same model with GGUF or safetensors files",
  });
}
