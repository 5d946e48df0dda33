// What can go wrong between a model hub and the store of models on this machine.

import { FidelityError } from "@fidelity/units";

/** The hub has no such model, refuses it, or answers with something else than its protocol. */
export class HubError extends FidelityError {}

/** The hub could not be reached, was busy, or the connection ended early; another attempt may succeed. */
export class TransientHubError extends HubError {}

/** The bytes that arrived are not those that the hub announced. */
export class ChecksumError extends HubError {}

/** The store has no such model, or cannot take this name. */
export class ModelStoreError extends FidelityError {}
