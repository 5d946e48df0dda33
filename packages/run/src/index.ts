// The public face of `run`: errors. What opens files is in `@fidelity/run/node`.

export { ModelFileError, OutOfRoomError } from "./errors.ts";
