// The public face of `run`: errors. What opens files is in `@fidelity/run/node`.

export { ModelFileError, OutOfRoomError } from "./errors.ts";
export { ChecksumError, HubError, ModelStoreError, TransientHubError } from "./hub/errors.ts";
export { isStoreName, parseModelName } from "./hub/model-name.ts";
export type { ModelName } from "./hub/model-name.ts";
